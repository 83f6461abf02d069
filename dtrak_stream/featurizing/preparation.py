"""Featurizing before it begins: what can be refused is refused, and nothing is computed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dtrak_stream.data.equal_images import EQUAL_IMAGES_NAME
from dtrak_stream.data.images import Images
from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import Samples
from dtrak_stream.data.source_stamp import SourceStamps
from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.features.kinds import number_of_stores
from dtrak_stream.features.maker import FeatureMaker
from dtrak_stream.features.names import RESIDUALS
from dtrak_stream.features.options import FeatureOptions, used_options
from dtrak_stream.features.path_features import is_trajectory
from dtrak_stream.featurizing.appending import grown
from dtrak_stream.featurizing.checked import (
    Inputs,
    inputs_of,
    keep_checked,
)
from dtrak_stream.featurizing.execution import refuse_useless_engine
from dtrak_stream.featurizing.opening import Identities, KnownImages, Opening
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.other_images import with_what_differs
from dtrak_stream.featurizing.trusted import finished_stores, is_trusted
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.given import name_of_given, refuse_to_share_given
from dtrak_stream.store.layout import read_layout
from dtrak_stream.store.room import refuse_what_cannot_fit, shard_memory
from dtrak_stream.store.store_set import StoreSet, store_folders
from dtrak_stream.store.taking_up import refuse_other_run
from dtrak_stream.store.writer import StoreWriter
from dtrak_stream.support.destinations import require_folder
from dtrak_stream.support.device import require_devices
from dtrak_stream.support.progress import say

_BAD_GRADIENT = "its gradient holds NaN or inf"
_BAD_RESIDUAL = "the model's error on it is NaN or inf"


@dataclass
class Prepared:
    """A featurizing job that nothing speaks against.

    Attributes
    ----------
    config
        What was asked for.
    writer
        What writes the stores.
    missing
        Shards to compute; none if the stores are finished.
    inputs
        What they are made from; None where a change of it would not show.
    opened
        What computes features, and of what; None where nothing is missing, or once it was let go.
    class_names
        Names of the classes in the order of their labels, where labels stand for names.
    images
        The images, where they were opened.
    """

    config: FeaturizeConfig
    writer: StoreWriter
    missing: list[int]
    inputs: Inputs | None
    opened: tuple[FeatureMaker, Samples] | None
    class_names: tuple[str, ...] | None = None
    images: Images | None = None

    @property
    def stores(self) -> StoreSet:
        """Return the stores as they will be."""
        return self.writer.stores

    def holds(self) -> bool:
        """Return whether all that it was made of is certainly what it was, and it is not let go.

        A finished store is of nothing that could have changed.
        """
        if not self.missing:
            return True
        is_open, inputs = self.opened is not None, self.inputs
        return is_open and inputs is not None and inputs_of(self.config) == inputs

    def new_writer(self) -> StoreWriter:
        """Return another writer of the stores, for a part of the work."""
        return _writer(self.config, self.stores)

    @property
    def bandwidth(self) -> float | None:
        """Return that of random Fourier features; None for others."""
        return self.stores.layouts[0].fingerprint.bandwidth

    def images_identity(self) -> str | None:
        """Return the hash of the images if none of their files changed since it was found out."""
        along_a_path = is_trajectory(self.config.features.output_function)
        if along_a_path or self.inputs is None or inputs_of(self.config) != self.inputs:
            return None
        layout = self.stores.layouts[0]
        return layout.images_alone() or layout.fingerprint.images

    def close(self) -> None:
        """Let go of the model."""
        if self.opened is not None:
            self.opened[0].close()
            self.opened = None

    def list_equal(self) -> None:
        """List in the store which images are equal to earlier ones, if they were hashed now."""
        found = None if self.images is None else self.images.equal_if_hashed()
        if found:
            assert self.images is not None
            path = self.stores.layouts[0].root / EQUAL_IMAGES_NAME
            found.write(path, self.images.sample_id)
            say(f"{path} lists which images are equal")

    def note(self) -> None:
        """Keep with the stores what they are made from and that their shards are whole."""
        if self.inputs is not None:
            for layout in self.stores.layouts:
                keep_checked(layout, self.inputs)


def prepare(
    config: FeaturizeConfig,
    *,
    like: ImageShape | None = None,
    identities: Identities | None = None,
    stamps: SourceStamps | None = None,
    beside: Prepared | None = None,
    denoiser: Denoiser | None = None,
) -> Prepared:
    """Open and check everything, and write nothing but what is kept with stores that are there.

    A finished store is taken as it is if no file changed since it was checked: no image and no
    model is opened for it.

    Parameters
    ----------
    config
        The job.
    like
        The shape of images whose features are compared with these, where no model says it.
    identities
        What is known of the images, and what will be known.
    stamps
        What sources look like now, if others ask for it as well.
    beside
        Another job that is open still: its model is taken if it is the one that is wanted.
    denoiser
        The model, where it is given instead of named. No file tells whether it has changed, so
        that everything is checked anew.

    Raises
    ------
    DtrakStreamError
        Whatever `featurize` is refused with before it computes anything.
    """
    config = replace(config, features=_used_features(config))
    refuse_to_share_given(denoiser, config.cluster)
    if denoiser is None:
        inputs = inputs_of(config, stamps)
    else:
        config, inputs = replace(config, model=name_of_given(denoiser, config.model)), None
    finished = None if config.rehash else finished_stores(config, inputs)
    if finished is not None:
        names = finished.layouts[0].class_names()
        return Prepared(config, _writer(config, finished), [], inputs, None, names)
    if not (config.store / "store.json").exists():
        require_folder(config.store, flag="--store")
    if inputs is not None and not inputs.settle():
        inputs = None
    opening = Opening(config, like, {} if identities is None else identities, inputs, denoiser)
    maker, samples = opening.features(_maker_of(beside, config, inputs))
    refuse_useless_engine(config.execution, maker)
    features = config.features
    fingerprints = maker.fingerprints(samples, features.dtype, features.rows_per_shard)
    stores = StoreSet.of(config.store, fingerprints)
    if config.append:
        stores = grown(stores, opening.first_images)
    prepared = Prepared(
        config,
        _writer(config, stores),
        [],
        opening.inputs_found(),
        (maker, samples),
        opening.images[-1][1].class_names,
        opening.images[-1][1],
    )
    _take_up(prepared)
    return prepared


def join(config: FeaturizeConfig) -> Prepared:
    """Open what computes shards of stores that another process has prepared and begun.

    What the images are is taken from there; model and options are held against it.

    Parameters
    ----------
    config
        The job, as it was prepared.

    Raises
    ------
    InputError
        If the stores are not to be seen from here.
    FingerprintMismatchError
        If the model or the images are others than where the stores were begun.
    DtrakStreamError
        Whatever else opening them is refused with.
    """
    begun = read_layout(store_folders(config.store, number_of_stores(config.features))[0])
    like = ImageShape.of_text(begun.fingerprint.image_shape)
    known = None
    if not is_trajectory(config.features.output_function):
        known = KnownImages(begun.fingerprint.images, begun.images_alone() or None)
    opening = Opening(config, like, {}, None, trusted=known)
    maker, samples = opening.features(None)
    features = config.features
    fingerprints = maker.fingerprints(samples, features.dtype, features.rows_per_shard)
    stores = StoreSet.of(config.store, fingerprints)
    for layout in stores.layouts:
        refuse_other_run(layout)
    return Prepared(config, _writer(config, stores), [], None, (maker, samples))


def _used_features(config: FeaturizeConfig) -> FeatureOptions:
    """Return the options that matter; what is checked here runs on the first of `--devices`."""
    require_devices(config.cluster.device_names())
    features = used_options(config.features)
    return replace(features, device=config.cluster.device_here(features.device))


def _maker_of(
    beside: Prepared | None, config: FeaturizeConfig, inputs: Inputs | None
) -> FeatureMaker | None:
    """Return what computes another job's features if these are made alike, by the same files."""
    if beside is None or beside.opened is None or beside.inputs is None or inputs is None:
        return None
    ours, theirs = (
        (each.model, replace(each.features, bandwidth=None), each.trajectory)
        for each in (config, beside.config)
    )
    alike = ours == theirs and inputs.others == beside.inputs.others
    return beside.opened[0] if alike else None


def _writer(config: FeaturizeConfig, stores: StoreSet) -> StoreWriter:
    of_residuals = config.features.output_function == RESIDUALS
    return StoreWriter(
        stores,
        redo_corrupt=config.redo_corrupt,
        visible=not config.quiet,
        bad_row=_BAD_RESIDUAL if of_residuals else _BAD_GRADIENT,
    )


def _take_up(prepared: Prepared) -> None:
    """Refuse what was begun otherwise, is damaged, is no store, or has no room."""
    config, stores = prepared.config, prepared.stores
    try:
        prepared.missing = prepared.writer.take_up(
            lambda layout: not config.rehash and is_trusted(layout, config, prepared.inputs)
        )
    except FingerprintMismatchError as refusal:
        raise _with_what_differs(refusal, prepared) from refusal
    if prepared.missing:
        require_folder(config.store, flag="--store")
        needed = shard_memory(stores.layouts[0].fingerprint, len(stores.layouts))
        refuse_what_cannot_fit(stores.layouts, config.store, shard_bytes=needed)
    begun = [layout for layout in stores.layouts if layout.plan_path.exists()]
    if len(begun) == len(stores.layouts):
        prepared.note()


def _with_what_differs(
    refusal: FingerprintMismatchError, prepared: Prepared
) -> FingerprintMismatchError:
    if prepared.opened is None:
        return refusal
    return with_what_differs(refusal, prepared.stores.layouts[0].root, prepared.opened[1])
