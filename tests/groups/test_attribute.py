"""Groups in the main job, and through the tools."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.attribution.configuration import AttributeConfig
from dtrak_stream.attribution.run import attribute
from dtrak_stream.cli.command_line import EXIT_DONE, EXIT_REFUSED
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.query_options import QueryImageOptions
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.groups.options import GroupOptions
from dtrak_stream.scoring.options import ScoreOptions
from tests.report.conftest import read_page
from tests.scoring.conftest import read
from tests.small_jobs import ALIKE, random_pixels, run_tool, save_images, small_features


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training images in two folders, of which the first query is one."""
    root = tmp_path_factory.mktemp("images")
    pixels = random_pixels(8)
    save_images(root / "train" / "cats", pixels[:3])
    save_images(root / "train" / "dogs", pixels[3:])
    save_images(root / "query", pixels[5:7])
    return root


def job(model: str, images: Path, run: Path, groups: GroupOptions) -> AttributeConfig:
    return AttributeConfig(
        model=model,
        train=str(images / "train"),
        query=str(images / "query"),
        run=run,
        features=small_features(),
        execution=ALIKE,
        score_options=ScoreOptions(damping="0.1"),
        group_options=groups,
        quiet=True,
    )


def test_groups_are_summed_and_shown_in_one_command(model_folder, images, tmp_path, capsys):
    config = job(model_folder, images, tmp_path / "run", GroupOptions(group_column="folder"))
    result = attribute(config)
    scores = read(result.scores)
    assert scores["group_name"].tolist() == [b"cats", b"dogs"]
    assert scores["group_count"].tolist() == [3, 5]
    sums = [scores["scores"][:, part].sum(axis=1) for part in (slice(3), slice(3, 8))]
    assert np.allclose(scores["group_score"].T, sums, rtol=1e-5)
    page = read_page(result.path)
    names = [cell.words for cell in page.all("td", "group-name")]
    assert sorted(names) == ["cats", "cats", "dogs", "dogs"]

    run = tmp_path / "run"
    options = ["--train", str(run / "train"), "--query", str(run / "query"), "--damping", "0.1"]
    options += ["--gram", str(run / "gram.h5"), "--out", str(tmp_path / "scores.h5"), "--quiet"]
    options += ["--group-column", "folder", "--group-source", str(images / "train")]
    assert run_tool("score", options, capsys)[0] == EXIT_DONE
    again = read(tmp_path / "scores.h5")
    assert np.array_equal(again["group_score"], scores["group_score"])


def test_wrong_groups_are_refused_before_any_feature_is_computed(images, tmp_path):
    (tmp_path / "g.csv").write_text("cats/000.png,x\nmice/000.png,x\n")
    groups = GroupOptions(groups=tmp_path / "g.csv")
    with pytest.raises(InputError, match=r"no training samples \(mice/000\.png\)"):
        attribute(job("no model", images, tmp_path / "run", groups))
    with pytest.raises(InputError, match="has no columns"):
        attribute(job("no model", images, tmp_path / "run", GroupOptions(group_column="artist")))
    both = GroupOptions(groups=tmp_path / "g.csv", group_column="folder")
    with pytest.raises(ConfigurationError, match="given twice"):
        attribute(job("no model", images, tmp_path / "run", both))
    assert not (tmp_path / "run").exists()


def test_the_tool_refuses_in_one_line(images, tmp_path, capsys):
    (tmp_path / "g.csv").write_text("mice/000.png,x\n")
    options = ["--train", str(images / "train"), "--groups", str(tmp_path / "g.csv"), "--quiet"]
    code, _, errors = run_tool("attribute", [*options, "--run", str(tmp_path / "run")], capsys)
    assert (code, errors.count("\n")) == (EXIT_REFUSED, 1)
    assert "mice/000.png" in errors


def test_groups_and_split_come_from_the_columns_of_a_list(model_folder, images, tmp_path):
    """Training images and queries are two splits of one list; rows are picked from the former."""
    names = sorted(path.relative_to(images) for path in images.rglob("*.png"))
    splits = ["test" if name.parts[0] == "query" else "train" for name in names]
    lines = [f"{name},{name.stem},{split}" for name, split in zip(names, splits, strict=True)]
    table = images / "all.csv"
    table.write_text("\n".join(["file_name,artist,split", *lines]))
    rows = tmp_path / "rows.json"
    rows.write_text("[6, 0, 7, 3]")
    config = dataclasses.replace(
        job(model_folder, images, tmp_path / "run", GroupOptions(group_column="artist")),
        train=f"list:{table}",
        query=f"list:{table}",
        image_options=ImageOptions(where=("split=train",), rows=rows),
        query_image_options=QueryImageOptions(query_where=("split=test",)),
    )
    scores = read(attribute(config).scores)
    train = [str(name) for name, split in zip(names, splits, strict=True) if split == "train"]
    picked = [train[row] for row in (6, 0, 7, 3)]
    assert scores["train_id"].astype(str).tolist() == picked
    assert scores["query_id"].astype(str).tolist() == [n for n in map(str, names) if "query" in n]
    artists = [Path(name).stem for name in picked]
    sums = [
        scores["scores"][:, [place for place in range(4) if artists[place] == artist]].sum(axis=1)
        for artist in scores["group_name"].astype(str)
    ]
    assert np.allclose(scores["group_score"].T, sums, rtol=1e-5)
