"""A small run, and plans for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dtrak_stream.attribution.configuration import AttributeConfig
from dtrak_stream.attribution.run import attribute
from dtrak_stream.gram.options import GramOptions
from dtrak_stream.planning.options import PlanConfig
from dtrak_stream.planning.run import PlanResult
from dtrak_stream.planning.stages import StagePlan
from dtrak_stream.scoring.options import ScoreOptions
from tests.features.conftest import save_clip
from tests.small_jobs import ALIKE, random_pixels, save_images, small_features

TRAIN, QUERIES = 12, 3


def config(model: str, run: Path, **changes: Any) -> PlanConfig:
    options = {
        "train_samples": TRAIN,
        "query_samples": QUERIES,
        "measured_images": 0,
        "features": small_features(rows_per_shard=5, proj_dim=4096, dtype="float32"),
        "execution": ALIKE,
        "score_options": ScoreOptions(top_k=4),
        "gram_options": GramOptions(memory_limit="1GiB"),
        "quiet": True,
    }
    return PlanConfig(model=model, run=run, **{**options, **changes})


def stages_of(result: PlanResult) -> dict[str, StagePlan]:
    return {stage.name: stage for stage in result.stages}


def size_of(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


@pytest.fixture(scope="session")
def finished(model_folder, tmp_path_factory) -> tuple[PlanConfig, Path]:
    """A run, and what would be planned for it."""
    root = tmp_path_factory.mktemp("finished")
    pixels = random_pixels(TRAIN + QUERIES)
    save_images(root / "train", pixels[:TRAIN])
    save_images(root / "query", pixels[TRAIN:])
    planned = config(model_folder, root / "run")
    attribute(
        AttributeConfig(
            model=model_folder,
            train=str(root / "train"),
            query=str(root / "query"),
            run=root / "run",
            features=planned.features,
            execution=ALIKE,
            score_options=planned.score_options,
            gram_options=planned.gram_options,
            quiet=True,
        )
    )
    return planned, root / "run"


@pytest.fixture(scope="session")
def clip_model(tmp_path_factory) -> str:
    """A CLIP whose embeddings have 12 numbers."""
    return save_clip(tmp_path_factory.mktemp("clip"))
