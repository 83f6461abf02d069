"""A small scores file with its images, and a reader of the page made from it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from dtrak_stream.report.options import ReportConfig, ReportOptions
from dtrak_stream.report.write import write_report

VOID = {"img", "meta", "br", "hr", "input", "link"}


@dataclass
class Node:
    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    def all(self, tag: str = "", css_class: str = "") -> list[Node]:
        found = []
        for child in self.children:
            if isinstance(child, Node):
                classes = child.attributes.get("class", "").split()
                if tag in ("", child.tag) and (not css_class or css_class in classes):
                    found.append(child)
                found += child.all(tag, css_class)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Node("document")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Node(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse_html(text: str) -> Node:
    """Read a page and insist that its tags are balanced."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert len(reader.open) == 1, f"<{reader.open[-1].tag}> is never closed"
    return reader.open[0]


def read_page(path: Path) -> Node:
    return parse_html(path.read_text(encoding="utf-8"))


def decode_uri(uri: str) -> Image.Image:
    kind, _, content = uri.partition(",")
    assert kind == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
    picture.load()
    return picture


def save_images(folder: Path, names: list[str], size: tuple[int, int], *, colour: bool) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        generator = np.random.default_rng(number)
        shape = (size[1], size[0], 3) if colour else (size[1], size[0])
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(folder / name)


def write_scores(
    path: Path,
    scores: np.ndarray,
    train_ids: list[str],
    query_ids: list[str],
    *,
    top_k: int = 10,
    with_scores: bool = True,
    **attributes: Any,
) -> None:
    """Write a scores file; NaN columns and rows are quarantined samples."""
    Q, N = scores.shape
    stored = {
        "method": "d-trak",
        "transform": "none",
        "output_function": "square",
        "timesteps": "0,100,200,300,400,500,600,700,800,900",
        "damping": "auto",
        "damping_absolute": 123.0,
        "damping_relative": 0.0456,
        "effective_dimension": 78.9,
        "gram_form": "dual",
        "train_fingerprint": "train-fingerprint",
        "query_fingerprint": "query-fingerprint",
        "image_shape": "1x8x8",
        "sign_convention": "positive = proponent",
        "train_samples": N,
        "quarantined_train": int(np.isnan(scores).all(axis=0).sum()),
        "quarantined_query": int(np.isnan(scores).all(axis=1).sum()),
    }
    with h5py.File(path, "w") as file:
        if with_scores:
            file["scores"] = scores.astype(np.float32)
        for end, direction in (("top", -1), ("bottom", 1)):
            index = np.full((Q, top_k), -1, np.int64)
            ranked = np.full((Q, top_k), np.nan, np.float32)
            for q, row in enumerate(scores):
                usable = np.flatnonzero(np.isfinite(row))
                order = usable[np.argsort(direction * row[usable], kind="stable")][:top_k]
                index[q, : len(order)] = order
                ranked[q, : len(order)] = row[order]
            file[f"{end}_index"], file[f"{end}_score"] = index, ranked
        file["train_id"] = np.array([name.encode() for name in train_ids], np.bytes_)
        file["query_id"] = np.array([name.encode() for name in query_ids], np.bytes_)
        file.attrs.update(stored | attributes)


@dataclass
class Run:
    """A folder with scores.h5, train/ and query/."""

    folder: Path
    scores: np.ndarray
    train_ids: list[str]
    query_ids: list[str]

    @property
    def config(self) -> ReportConfig:
        return ReportConfig(
            scores=self.folder / "scores.h5",
            train=str(self.folder / "train"),
            query=str(self.folder / "query"),
            out=self.folder / "report",
            quiet=True,
        )

    def write_scores(self, **options: Any) -> None:
        ids = (self.train_ids, self.query_ids)
        write_scores(self.config.scores, self.scores, *ids, **options)

    def report(self, **options: Any) -> Node:
        write_report(replace(self.config, report=ReportOptions(**options)))
        return read_page(self.config.out / "index.html")


def make_run(
    folder: Path, N: int, Q: int, *, size: tuple[int, int] = (8, 8), colour: bool = False
) -> Run:
    scores = np.random.default_rng(7).normal(size=(Q, N)).astype(np.float32)
    train_ids = [f"training-image-{row:03d}.png" for row in range(N)]
    query_ids = [f"query{row}.png" for row in range(Q)]
    save_images(folder / "train", train_ids, size, colour=colour)
    save_images(folder / "query", query_ids, size, colour=colour)
    run = Run(folder, scores, train_ids, query_ids)
    run.write_scores(image_shape=f"{3 if colour else 1}x{size[1]}x{size[0]}")
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", N=30, Q=3)
