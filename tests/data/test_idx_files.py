"""IDX files, as MNIST comes."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.data.idx_files import map_idx
from dtrak_stream.data.images import open_images
from dtrak_stream.data.labels import open_labels
from dtrak_stream.data.opening import open_source
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.source import Source
from dtrak_stream.errors import DiskFullError, InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 7), dtype=np.uint8)
LABELS = np.array([3, 0, 9, 9, 1], np.uint8)


def encoded(array: np.ndarray, kind: int = 8) -> bytes:
    header = bytes((0, 0, kind, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def opened(path: Path) -> Source:
    return open_source(str(path), ImageOptions(), visible=False)


@pytest.fixture(params=["", ".gz"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"train-images-idx3-ubyte{request.param}"
    content = encoded(PIXELS)
    path.write_bytes(gzip.compress(content) if request.param else content)
    return path


def test_images_are_those_in_the_file(images):
    found = open_images(str(images), visible=False)
    assert found.sample_ids(0, 5) == ["0", "1", "2", "3", "4"]
    expected = PIXELS[2].astype(np.float32) / 127.5 - 1
    assert np.allclose(found.image(2)[0], expected, atol=1e-6)
    assert isinstance(map_idx(images), np.memmap)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_labels_beside_are_a_column(images, ending):
    content = encoded(LABELS)
    path = images.with_name(f"train-labels-idx1-ubyte{ending}")
    path.write_bytes(gzip.compress(content) if ending else content)
    found = open_labels(str(images), "label", ImageOptions(), visible=False)
    assert found.labels(0, 5) == ["3", "0", "9", "9", "1"]


def test_labels_of_another_number_of_images_are_refused(images):
    images.with_name("train-labels-idx1-ubyte").write_bytes(encoded(LABELS[:4]))
    with pytest.raises(InputError, match=r"shape \(4,\), and there are 5 images"):
        open_labels(str(images), "label", ImageOptions(), visible=False)


def test_without_labels_there_is_no_column(images):
    images.with_name("test-labels-idx1-ubyte").write_bytes(encoded(LABELS))
    assert not opened(images).columns()


def test_floats_are_read_in_their_order_of_bytes(tmp_path):
    path = tmp_path / "a-images.idx3-ubyte"
    numbers = np.linspace(-1, 1, 30, dtype=np.float32).reshape(2, 3, 5)
    path.write_bytes(encoded(numbers, 0x0D))
    assert np.allclose(open_images(str(path), visible=False).image(1)[0], numbers[1])


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_length_than_promised_is_refused(images, change):
    content = encoded(PIXELS)[:-1] if change < 0 else encoded(PIXELS) + b"\0" * 2**21
    images.write_bytes(gzip.compress(content) if images.suffix else content)
    problem = "truncated" if change < 0 else "more than its header promises"
    with pytest.raises(InputError, match=problem):
        opened(images)


def test_no_more_is_unpacked_than_the_header_promises(tmp_path, monkeypatch):
    path = tmp_path / "t-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(encoded(PIXELS) + b"\0" * 2**24))
    written = []
    honest = gzip.GzipFile.read

    def counting(self, size=-1):
        block = honest(self, size)
        written.append(len(block))
        return block

    monkeypatch.setattr(gzip.GzipFile, "read", counting)
    with pytest.raises(InputError, match="more than"):
        map_idx(path)
    assert sum(written) < 2 * len(encoded(PIXELS)) + 100


@pytest.mark.parametrize("content", [b"", b"\0\0\x08", b"PNG\3" + b"\0" * 99, b"\0\0\7\3" * 9])
def test_what_is_no_idx_file_is_refused(images, content):
    images.write_bytes(gzip.compress(content) if images.suffix else content)
    with pytest.raises(InputError, match="no IDX file"):
        opened(images)


def test_a_damaged_packed_file_is_refused(tmp_path):
    path = tmp_path / "t-images-idx3-ubyte.gz"
    content = gzip.compress(encoded(PIXELS))
    path.write_bytes(content[:-20])
    with pytest.raises(InputError, match="truncated or corrupt"):
        opened(path)
    path.write_bytes(content[:-6] + bytes(6))
    with pytest.raises(InputError, match="truncated or corrupt"):
        opened(path)


def test_a_full_disk_is_told_with_what_was_to_be_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "t-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(encoded(PIXELS)))

    class Full:
        def __init__(self, **_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", Full)
    with pytest.raises(DiskFullError, match="TMPDIR"):
        opened(path)
