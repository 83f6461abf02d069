"""What a store was made from and found to hold, kept with it: what did not change is trusted.

STORE/checked.json holds a hash of the options, the stamp of the files that were read for them
(images, model, sampling paths, this package itself), the fingerprint this led to, and the stamp
of the shards that were found whole. It saves reading all of them again, and decides nothing:
where it is missing, or anything differs, everything is read as if it had never been there.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import xxhash

from dtrak_stream.data.class_labels import listed_file
from dtrak_stream.data.source_stamp import SourceStamps
from dtrak_stream.errors import DiskFullError
from dtrak_stream.features.kinds import stamp_features
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.support.device import choose_device
from dtrak_stream.support.durable import write_json
from dtrak_stream.support.provenance import flat_options
from dtrak_stream.support.stamps import Stamp, Stamping, stamp_files, stamp_package

FILE_NAME = "checked.json"


@dataclass(frozen=True)
class Inputs:
    """What features are made from, as far as it shows without reading any of it.

    Attributes
    ----------
    options
        Hash of everything the user chose.
    source
        Stamp of the images' files.
    others
        Stamp of the files of model, sampling paths, names of classes and this package.
    """

    options: str
    source: Stamp
    others: Stamp

    def settle(self) -> bool:
        """Wait until any change would show; return whether that can be had. See `Stamp`."""
        return self.source.settle() and self.others.settle()


@dataclass(frozen=True)
class Checked:
    """What was found out about one store.

    Attributes
    ----------
    inputs
        What it was made from.
    fingerprint
        Hash of its fingerprint.
    shards
        Stamp of the shards that were whole.
    """

    inputs: Inputs
    fingerprint: str
    shards: Stamp

    def is_of(self, inputs: Inputs, layout: StoreLayout) -> bool:
        """Return whether it was found out about this store, made from `inputs`."""
        return self.inputs == inputs and self.fingerprint == layout.fingerprint.hash()


def inputs_of(config: FeaturizeConfig, stamps: SourceStamps | None = None) -> Inputs | None:
    """Return what a store would be made from; None if there is something that does not show.

    Parameters
    ----------
    config
        The job.
    stamps
        What sources looked like at the moment that is meant; left out, it is now.

    Raises
    ------
    InputError
        If there is no such source of images.
    ConfigurationError
        If there is no such device, or no such function along a path.
    """
    others = Stamping()
    model, features, trajectory = config.model, config.features, config.trajectory
    try:
        stamp_package(others, ".py")
        shows = stamp_features(model, features, trajectory, others)
        names = listed_file(config.condition_options.class_names)
        if names is not None:
            others.file(names)
        source = (stamps or SourceStamps()).of(config.images, config.image_options)
    except OSError:
        return None  # whoever opens it says what is wrong with it
    if source is None or not shows:
        return None
    return Inputs(_hash_of_options(config), source, others.stamp())


def read_checked(root: Path) -> Checked | None:
    """Return what is kept with a store; None if there is nothing that can be read."""
    try:
        record = json.loads((root / FILE_NAME).read_text())
        source, others, shards = (
            Stamp.from_record(record[name]) for name in ("source", "others", "shards")
        )
        options, fingerprint = record["options"], record["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if source is None or others is None or shards is None:
        return None
    return Checked(Inputs(options, source, others), fingerprint, shards)


def keep_checked(layout: StoreLayout, inputs: Inputs) -> None:
    """Note that a store is made from `inputs` and that the shards it has are whole.

    That it cannot be noted is no failure: it costs the next run some time.
    """
    shards = stamp_shards(layout)
    if shards is None:
        return
    found = Checked(inputs, layout.fingerprint.hash(), shards)
    if read_checked(layout.root) == found:
        return
    record = {
        "options": inputs.options,
        "source": inputs.source.record(),
        "others": inputs.others.record(),
        "fingerprint": found.fingerprint,
        "shards": shards.record(),
    }
    with contextlib.suppress(OSError, DiskFullError):
        write_json(layout.root / FILE_NAME, record)


def stamp_shards(layout: StoreLayout) -> Stamp | None:
    """Return the stamp of the shards that a store has; None if one vanishes meanwhile."""
    paths = map(layout.shard_path, range(layout.num_shards))
    return stamp_files(path for path in paths if path.exists())


def _hash_of_options(config: FeaturizeConfig) -> str:
    chosen = {
        "images": config.images,
        "limit": config.limit,
        "model": config.model,
        "trajectory": str(config.trajectory),
        "features": {**asdict(config.features), "device": None},
        "image options": flat_options(config.image_options),
        "condition options": asdict(config.condition_options),
        "device": choose_device(config.features.device).type,
    }
    return xxhash.xxh3_128_hexdigest(json.dumps(chosen, sort_keys=True).encode())
