"""Settings and images shared by the tests of image sources."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# `datasets` reads these when it is first imported, which must not happen before.
_CACHE = tempfile.TemporaryDirectory(prefix="dtrak-stream-test-")
os.environ["HF_HOME"] = _CACHE.name
os.environ["HF_DATASETS_CACHE"] = f"{_CACHE.name}/datasets"
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from PIL import Image  # noqa: E402

NOBODY = 65534


def pytest_unconfigure() -> None:
    _CACHE.cleanup()


@pytest.fixture
def pixels() -> np.ndarray:
    """Twelve 6x8 RGB images; (12, 6, 8, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (12, 6, 8, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path, pixels: np.ndarray) -> Path:
    """The same images as 0.png to 11.png."""
    path = tmp_path / "images"
    path.mkdir()
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(path / f"{index}.png")
    return path


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder of one's own, in a test that runs without the rights of root."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        root = os.geteuid() == 0
        if root:
            os.chown(path, NOBODY, -1)
            os.seteuid(NOBODY)
        try:
            yield path
        finally:
            if root:
                os.seteuid(0)


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Everything that Pillow has been asked to open since the test began."""
    calls: list[object] = []
    honest = Image.open

    def counting(file, *arguments, **options):
        calls.append(file)
        return honest(file, *arguments, **options)

    monkeypatch.setattr(Image, "open", counting)
    return calls
