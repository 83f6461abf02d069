"""Damaged inputs by the thousand: every reader says what is wrong, in an exception of our own.

`bash tools/fuzz.sh --inputs 10000` takes its time, tells how many inputs of each kind were
refused, passed over or read, and lists what ended otherwise with how to make it again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import h5py
import numpy as np
from PIL import Image

from dtrak_stream.attribution.configuration import AttributeConfig
from dtrak_stream.data.images import open_images
from dtrak_stream.data.samples import ConditionKind
from dtrak_stream.errors import BadImageError, DtrakStreamError
from dtrak_stream.gram.file import Gram
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.store.quarantine import QuarantinedSample, append_quarantine
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.configuration import parse
from dtrak_stream.support.progress import untold
from dtrak_stream.verification.options import VerifyConfig
from dtrak_stream.verification.run import verify
from tests.scoring.conftest import attribution_of, whole_numbers

SECONDS = 60
TOKENS = (b"NaN", b"-1", b"1e999", b"99999999999999999999", b"null", b"[" * 3000, b'"', b"\0", b"")


@dataclass(frozen=True)
class Target:
    """Something that reads files.

    Attributes
    ----------
    files
        What may be damaged.
    read
        Reads all of it.
    """

    files: tuple[Path, ...]
    read: Callable[[], object]


def damaged(content: bytes, source: random.Random) -> bytes:
    """Return some bytes, damaged in one of several ways."""
    data, at = bytearray(content), source.randrange(len(content) + 1)
    until = min(len(data), at + source.randrange(1, 40))
    way = source.randrange(6)
    if way == 0:
        del data[at:]
    elif way == 1:
        data[at:until] = source.randbytes(until - at)
    elif way == 2:
        data[at:until] = source.choice(TOKENS)
    elif way == 3:
        data[at:at] = data[at:until] * source.randrange(1, 4)
    else:
        for _ in range(source.choice((1, 1, 1, 4))):
            if data:
                data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    return bytes(data)


def outcome(target: Target, number: int) -> str:
    """Damage one file of a target, read it, put the file back; return how that ended."""
    source = random.Random(number)
    path = source.choice(target.files)
    before = path.read_bytes()
    path.write_bytes(damaged(before, source))
    try:
        with quiet():
            target.read()
        return "read"
    except DtrakStreamError:
        return "refused"
    except BadImageError:
        return "passed over"
    except Exception as error:
        return f"{path.name}: {type(error).__name__}: {str(error)[:200]}"
    finally:
        path.write_bytes(before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Say nothing, and wait no longer than a minute."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"took more than {SECONDS} s")

    handler = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        with (
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
            untold(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)


def targets(folder: Path) -> dict[str, Target]:
    """Make all that is read, in a folder."""
    return {**of_a_run(folder), **of_images(folder / "images"), "configuration": options(folder)}


def of_a_run(folder: Path) -> dict[str, Target]:
    """Make a store, a Gram matrix and scores."""
    checked = VerifyConfig(folder / "run", quiet=True)
    train, query = whole_numbers(12, 64), whole_numbers(4, 64, 1)
    train[4] = np.nan
    run = attribution_of(folder / "run", train, query)
    append_quarantine(run.train.layout.quarantine_path, [QuarantinedSample(4, "train-4", "bad")])
    run.score(top_k=5, damping="0.1")
    store, out = run.train.layout.root, run.out
    files = tuple(path for path in sorted(store.rglob("*")) if path.is_file())

    def read_store() -> None:
        opened = FeatureStore.open(store)
        opened.rows(range(len(opened)))

    def read_scores() -> None:
        with ScoresFile(out) as scores:
            for query in range(scores.query_count):
                scores.top(query, 3), scores.bottom(query, 3), scores.query_id(query)

    return {
        "store": Target(files, read_store),
        "Gram matrix": Target((run.gram,), lambda: Gram.open(run.gram).matrix()),
        "scores": Target((out,), read_scores),
        "verify": Target((*files, run.gram, out), lambda: verify(checked)),
    }


def of_images(folder: Path) -> dict[str, Target]:
    """Make every kind of source of images that lies in a file."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)
    names = [f"{row}.png" for row in range(4)]
    for name, image in zip(names, pixels, strict=True):
        Image.fromarray(image).save(folder / name)
    np.save(folder / "a.npy", pixels)
    np.savez(folder / "a.npz", images=pixels)
    with h5py.File(folder / "a.h5", "w") as file:
        file["images"] = pixels
    with tarfile.open(folder / "a.tar", "w") as tar, zipfile.ZipFile(folder / "a.zip", "w") as pack:
        for name in names:
            tar.add(folder / name, name)
            pack.write(folder / name, name)
    (folder / "a.csv").write_text("path,label\n" + "".join(f"{name},1\n" for name in names))
    described = folder / "described"
    described.mkdir()
    for name in names:
        shutil.copy(folder / name, described / name)
    lines = [json.dumps({"file_name": name, "text": f"a {name}"}) for name in names]
    (described / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    sources = {
        "npy": ("a.npy", "a.npy"),
        "npz": ("a.npz", "a.npz:images"),
        "HDF5": ("a.h5", "a.h5:images"),
        "tar": ("a.tar", "a.tar"),
        "zip": ("a.zip", "a.zip"),
        "list": ("a.csv", f"list:{folder / 'a.csv'}"),
        "metadata": ("described/metadata.jsonl", "described"),
        "PNG": ("described/0.png", "described"),
    }
    return {
        name: Target((folder / file,), reading(source if ":/" in source else f"{folder}/{source}"))
        for name, (file, source) in sources.items()
    }


def reading(source: str) -> Callable[[], object]:
    """Return what opens a source and decodes all that is in it."""

    def read() -> None:
        captions: ConditionKind = "caption" if source.endswith("described") else "nothing"
        images = open_images(source, visible=False, conditioned_on=captions)
        images.identity()
        images.conditions(0, len(images))
        for row in range(min(len(images), 20)):
            images.sample_id(row)
            with contextlib.suppress(BadImageError):
                images.image(row)

    return read


def options(folder: Path) -> Target:
    """Make a file of options."""
    path = folder / "options.yaml"
    path.write_text(
        "train: a\nquery: b\nrun: c\nmethod: trak\nproj-dim: 64\ntimesteps: '10'\nquiet: true\n"
        "damping: 0.1\nlayers: x\nwhere: [a=b]\nmemory-limit: 1GiB\n"
    )
    path.write_text(path.read_text().replace("layers: x\n", ""))
    return Target((path,), lambda: parse(AttributeConfig, ["--config", str(path)]))


def in_a_child(work: Callable[[], list[str]]) -> list[str]:
    """Do the work in a forked child, since a damaged file may kill HDF5's library; return lines."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        with os.fdopen(write, "w") as pipe:
            pipe.writelines(f"{line!r}\n" for line in work())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        told = [line.strip("'\"\n") for line in pipe]
    _, status = os.waitpid(child, 0)
    return [*told, f"the process died with {status}"] if status else told


def failures(target: Target, numbers: range, counts: Counter[str]) -> list[str]:
    """Try some inputs, and count how they ended; return what should not have been."""
    ended = in_a_child(lambda: [outcome(target, number) for number in numbers])
    known = {"read", "refused", "passed over"}
    counts.update(each for each in ended if each in known)
    return [
        f"input {number}: {each}"
        for number, each in zip(numbers, [*ended, *[""] * len(numbers)], strict=False)
        if each and each not in known
    ]


def main() -> None:
    """Try as many inputs as are asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    given = parser.parse_args()
    found: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fuzzing-") as folder:
        with quiet():
            made = targets(Path(folder))
        each = -(-given.inputs // len(made))
        print("| what is read | read | passed over | refused | otherwise |")
        print("| :-- | --: | --: | --: | --: |")
        for name, target in made.items():
            counts: Counter[str] = Counter()
            bad: list[str] = []
            for start in range(given.first, given.first + each, 100):
                stop = min(start + 100, given.first + each)
                bad += failures(target, range(start, stop), counts)
            kinds = " | ".join(str(counts[kind]) for kind in ("read", "passed over", "refused"))
            print(f"| {name} | {kinds} | {len(bad)} |", flush=True)
            found += [f"{name}, {line}" for line in bad]
    print(*found, sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
