"""Captions and labels of images, wherever they lie, or a refusal that names them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import datasets
import h5py
import numpy as np
import pytest

from dtrak_stream.data import remarks
from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.conditions import used_conditions
from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.samples import Condition, ConditionKind, read_batch
from dtrak_stream.errors import ConfigurationError, InputError
from tests.data.test_hugging_face import cells, made, png, write_tar
from tests.small_jobs import random_pixels, save_images

TEXTS = ["a cat", "a dog", "a fish"]


@pytest.fixture(scope="module")
def encoded() -> list[bytes]:
    return [png(image) for image in random_pixels(3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_images(tmp_path / "images", random_pixels(3))
    return tmp_path / "images"


def write_metadata(folder: Path, *rows: dict[str, Any]) -> None:
    named = ({"file_name": f"{number:03}.png", **row} for number, row in enumerate(rows))
    (folder / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in named))


def opened(spec: object, kind: ConditionKind, **options: Any) -> Images:
    conditions = ConditionOptions(**options)
    return open_images(str(spec), conditioned_on=kind, conditions=conditions, visible=False)


def captions(spec: object, **options: Any) -> list[Condition] | None:
    images = opened(spec, "caption", **options)
    return images.conditions(0, len(images))


def labels(spec: object, **options: Any) -> list[Condition] | None:
    images = opened(spec, "class label", **options)
    return images.conditions(0, len(images))


def told(spec: object, kind: ConditionKind, capsys: Any, **options: Any) -> list[str]:
    """Return the line that opening says, without the source."""
    conditions = ConditionOptions(**options)
    capsys.readouterr()
    remarks._said.clear()
    open_images(str(spec), conditioned_on=kind, conditions=conditions, visible=False)
    lines = capsys.readouterr().err.splitlines()
    return [line.removeprefix(f"{spec}: ") for line in lines if line.startswith(f"{spec}: ")]


def test_captions_are_the_texts_beside_images(folder, capsys):
    for number, text in enumerate(TEXTS):
        (folder / f"{number:03}.txt").write_text(f"{text}\n")
    assert captions(folder) == TEXTS
    assert captions(f"{folder}[1:]") == TEXTS[1:]
    assert told(folder, "caption", capsys) == ["captions: sidecar .txt files (3)"]


def test_captions_and_labels_are_in_the_metadata_that_generating_writes(folder, capsys):
    write_metadata(folder, *({"text": text, "label": 2} for text in TEXTS))
    assert captions(folder) == TEXTS
    assert labels(folder) == [2, 2, 2]
    expected = ["captions: column text of metadata.jsonl (3)"]
    assert told(folder, "caption", capsys) == expected
    assert told(folder, "class label", capsys) == [
        "class labels: column label of metadata.jsonl (3)"
    ]


def test_captions_that_may_be_in_two_places_are_refused_with_both(folder):
    (folder / "000.txt").write_text("x")
    write_metadata(folder, *({"text": text} for text in TEXTS))
    both = r"\.txt \(sidecar \.txt files\), text \(column text of metadata\.jsonl\)"
    with pytest.raises(InputError, match=f"{both}; name one of them with --caption-column"):
        captions(folder)
    assert captions(folder, caption_column="text") == TEXTS


def test_captions_of_a_data_set_are_its_column_of_that_name_or_its_only_texts(tmp_path, encoded):
    made(cells(encoded), prompt=TEXTS, artist=TEXTS[::-1]).save_to_disk(tmp_path / "a")
    made(cells(encoded), artist=TEXTS, year=[1, 2, 3]).to_parquet(tmp_path / "b.parquet")
    made(cells(encoded), artist=TEXTS, style=TEXTS).to_parquet(tmp_path / "c.parquet")
    assert captions(tmp_path / "a") == TEXTS
    assert captions(tmp_path / "a", caption_column="artist") == TEXTS[::-1]
    assert captions(tmp_path / "b.parquet") == TEXTS
    with pytest.raises(InputError, match=r"artist \(column artist\), style \(column style\)"):
        captions(tmp_path / "c.parquet")


def test_captions_of_a_tar_file_are_its_texts_before_entries_of_its_json(tmp_path, encoded):
    both, alone = dict[str, bytes](), dict[str, bytes]()
    for number, (image, text) in enumerate(zip(encoded, TEXTS, strict=True)):
        entries = json.dumps({"caption": text, "url": "u", "sha256": "0"}).encode()
        members = {f"{number}.png": image, f"{number}.json": entries}
        alone |= members
        both |= members | {f"{number}.txt": f"{text}!".encode(), f"{number}.cls": b"4"}
    assert captions(write_tar(tmp_path / "both.tar", both)) == [f"{text}!" for text in TEXTS]
    assert captions(write_tar(tmp_path / "alone.tar", alone)) == TEXTS
    assert labels(tmp_path / "both.tar") == [4, 4, 4]


def test_captions_and_labels_lie_in_the_file_of_an_array(tmp_path):
    np.savez(tmp_path / "a.npz", images=random_pixels(3), captions=TEXTS, label=[0, 5, 1])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"], file["text"], file["labels"] = random_pixels(3), TEXTS, [0, 5, 1]
    for name in ("a.npz", "a.h5"):
        assert captions(f"{tmp_path / name}:images") == TEXTS
        assert labels(f"{tmp_path / name}:images") == [0, 5, 1]


def test_digits_are_labelled_with_what_they_show():
    assert labels("sklearn:digits[3:12]") == [3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert captions("sklearn:digits[3:5]", caption_template="a {label}") == ["a 3", "a 4"]


def test_class_folders_are_labels_in_the_order_of_their_names(tmp_path, capsys):
    for name in ("set/train/dog", "set/train/cat", "set/train/Owl", "set/test/cat"):
        save_images(tmp_path / name, random_pixels(1))
    images = open_images(f"{tmp_path}/set/train", conditioned_on="class label", visible=False)
    assert images.sample_ids(0, 3) == ["Owl/000.png", "cat/000.png", "dog/000.png"]
    assert images.conditions(0, 3) == [0, 1, 2]
    assert images.class_names == ("Owl", "cat", "dog")
    line = "class labels: class folders (Owl = 0, ..., dog = 2)"
    assert told(f"{tmp_path}/set/train", "class label", capsys) == [line]
    assert labels(f"{tmp_path}/set/train", class_names="dog,cat, Owl,eel") == [2, 1, 0]


def test_folders_that_are_no_classes_are_refused(tmp_path, folder):
    with pytest.raises(InputError, match="its images lie in no folders"):
        labels(folder)
    save_images(folder / "a" / "b", random_pixels(1))
    save_images(folder / "c", random_pixels(1))
    with pytest.raises(InputError, match=r"its folders lie in several others \(\., a\)"):
        labels(folder)
    with pytest.raises(InputError, match=r"3 images have no class label in class folders"):
        labels(folder, label_column="folder")
    assert labels(f"{folder}[3:5]", label_column="folder") == [0, 1]


def test_folders_called_by_numbers_are_not_quietly_called_by_others(tmp_path):
    for name in ("1", "2", "10"):
        save_images(tmp_path / "set" / name, random_pixels(1))
    with pytest.raises(InputError, match="sorted by name 1 is label 0"):
        labels(tmp_path / "set")
    assert labels(tmp_path / "set", label_column="folder") == [0, 2, 1]
    assert labels(tmp_path / "set", class_names="0,1,2,3,4,5,6,7,8,9,10") == [1, 2, 10]
    assert captions(tmp_path / "set", caption_template="{label}") == ["1", "2", "10"]
    for name in ("00", "01"):
        save_images(tmp_path / "padded" / name, random_pixels(1))
    assert labels(tmp_path / "padded") == [0, 1]


@pytest.mark.parametrize(
    ("values", "found"),
    [(["2", "none", "10"], "10 is label 0"), (["0", "-1", "1"], "-1 is label 0")],
)
def test_numbers_among_names_are_not_quietly_called_by_others(tmp_path, encoded, values, found):
    made(cells(encoded), label=values).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=f"called by numbers, and sorted by name {found}"):
        labels(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=f"{found}"):
        labels(tmp_path / "a.parquet", label_column="label")
    assert labels(tmp_path / "a.parquet", class_names=",".join(values)) == [0, 1, 2]
    assert captions(tmp_path / "a.parquet", caption_template="{label}") == values


def test_labels_of_a_data_set_are_numbers_classes_or_sorted_texts(tmp_path, encoded):
    rows = made(cells(encoded), label=[1, 0, 1], style=["b", "a", "c"], digits=["7", "10", "7"])
    rows = rows.cast_column("label", datasets.ClassLabel(names=["cat", "dog"]))
    rows.save_to_disk(tmp_path / "a")
    assert labels(tmp_path / "a") == [1, 0, 1]
    assert opened(tmp_path / "a", "class label").class_names == ("cat", "dog")
    assert labels(tmp_path / "a", label_column="style") == [1, 0, 2]
    assert labels(f"{tmp_path}/a[2:]", label_column="style") == [2]
    assert labels(tmp_path / "a", label_column="digits") == [7, 10, 7]
    assert opened(tmp_path / "a", "class label", label_column="digits").class_names is None


def test_two_columns_of_labels_are_refused_with_both(tmp_path, encoded):
    rows = made(cells(encoded), fine_label=[1, 0, 1], coarse_label=[0, 0, 0])
    rows.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"fine_label \(.*coarse_label .*--label-column"):
        labels(tmp_path / "a.parquet")
    assert labels(tmp_path / "a.parquet", label_column="fine_label") == [1, 0, 1]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([0, -1, 2], "row 1 holds '-1', which is no class label"),
        ([0.0, 1.5, 2.0], r"row 1 holds 1\.5, which is no class label"),
        ([0, None, 2], r"1 image has no class label in column label \(1\)"),
        ([[0], [1], [2]], "row 0 holds a list, which is no class label"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path, encoded, values, why):
    made(cells(encoded), label=values).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=why):
        labels(tmp_path / "a.parquet", label_column="label")


def test_classes_that_names_do_not_have_are_refused(tmp_path, encoded):
    made(cells(encoded), label=["a", "b", "c"]).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="row 2 holds 'c', which is none of the 2 classes"):
        labels(tmp_path / "a.parquet", class_names="b,a")
    with pytest.raises(ConfigurationError, match="two classes are called 'a'"):
        labels(tmp_path / "a.parquet", class_names="a,b,a")
    (tmp_path / "names.txt").write_text("c\nb\n\na\n")
    assert labels(tmp_path / "a.parquet", class_names=f"{tmp_path}/names.txt") == [2, 1, 0]


def test_a_template_is_filled_with_labels_and_columns(tmp_path, encoded, capsys):
    for name in ("ukiyo_e", "Baroque"):
        save_images(tmp_path / "set" / name, random_pixels(1))
    template = "a {label, _ as space, lower} painting"
    assert captions(tmp_path / "set", caption_template=template) == [
        "a baroque painting",
        "a ukiyo e painting",
    ]
    line = f'captions: "{template}" (2)'
    assert told(tmp_path / "set", "caption", capsys, caption_template=template) == [line]
    made(cells(encoded), who=["x", None, "y"], label=[3, 1, 2]).to_parquet(tmp_path / "a.parquet")
    numbers: dict[str, Any] = {"caption_template": "{label} by {who}", "missing_captions": ""}
    assert captions(tmp_path / "a.parquet", **numbers) == ["3 by x", "", "2 by y"]
    named = {**numbers, "class_names": "zero,one,two,three"}
    assert captions(tmp_path / "a.parquet", **named) == ["three by x", "", "two by y"]
    with pytest.raises(InputError, match="--caption-template artist: there is no such column"):
        captions(tmp_path / "a.parquet", caption_template="by {artist}")


def test_missing_captions_are_counted_and_the_first_are_named(folder, capsys):
    save_images(folder, random_pixels(3), ["003.png", "004.png", "005.png"])
    (folder / "002.txt").write_text("a fish")
    (folder / "004.txt").write_text(" \n")
    names = r"\(000\.png, 001\.png, 003\.png, \.\.\.\).*--missing-captions TEXT"
    with pytest.raises(InputError, match=f"5 images have no caption in sidecar .txt files {names}"):
        captions(folder)
    assert captions(folder, missing_captions="?") == ["?", "?", "a fish", "?", "?", "?"]
    line = "captions: sidecar .txt files (1), '?' for 5 without"
    assert told(folder, "caption", capsys, missing_captions="?") == [line]


def test_a_text_that_cannot_be_read_is_refused_by_its_name(folder):
    (folder / "000.txt").write_text("a")
    (folder / "002.txt").write_bytes(b"\xff")
    name = re.escape(str(folder / "002.txt"))
    with pytest.raises(InputError, match=f"^{name}: is not UTF-8"):
        captions(folder)
    with pytest.raises(InputError, match=f"^{name}: is not UTF-8"):
        open_images(str(folder), options=ImageOptions(where=(".txt=a",)), visible=False)
    with pytest.raises(InputError, match=r"^--caption-column style: there is no such column"):
        captions(folder, caption_column="style")


def test_dropped_captions_are_empty_and_need_not_be_there(folder, capsys):
    assert captions(folder, drop_captions=True) == ["", "", ""]
    assert told(folder, "caption", capsys, drop_captions=True) == ["captions: all dropped (3)"]


def test_a_text_model_without_captions_is_refused_with_what_there_is(folder, tmp_path, encoded):
    with pytest.raises(InputError, match=r"none are found \(it has folder\).*--caption-template"):
        captions(folder)
    made(cells(encoded), year=[1, 2, 3]).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"none are found \(it has year\)"):
        captions(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="--caption-column text: there is no such column"):
        captions(tmp_path / "a.parquet", caption_column="text")


def test_a_column_that_holds_several_captions_a_row_is_refused(tmp_path, encoded):
    made(cells(encoded), caption=[TEXTS] * 3).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="row 0 holds a list, which is no caption"):
        captions(tmp_path / "a.parquet", caption_column="caption")


def test_a_metadata_row_of_a_missing_file_is_refused(folder):
    write_metadata(folder, *({"text": text} for text in [*TEXTS, "a bird"]))
    with pytest.raises(InputError, match=r"1 of the files it names are not there \(003\.png\)"):
        captions(folder)


def test_the_identity_is_of_what_images_are_of_only_where_that_is_wanted(folder):
    alone = opened(folder, "nothing").identity()
    write_metadata(folder, *({"text": text, "label": 0} for text in TEXTS))
    assert opened(folder, "nothing").identity() == alone
    told = opened(folder, "caption")
    assert told.images_identity() == alone
    assert len({alone, told.identity(), opened(folder, "class label").identity()}) == 3
    assert opened(folder, "caption", caption_column="text").identity() == told.identity()
    write_metadata(folder, *({"text": text, "label": 0} for text in TEXTS[::-1]))
    assert opened(folder, "caption").identity() != told.identity()


def test_conditions_travel_with_their_images(folder):
    write_metadata(folder, *({"text": text} for text in TEXTS))
    (folder / "001.png").write_bytes(b"nonsense")
    batch, reasons = read_batch(opened(folder, "caption"), range(3))
    assert list(reasons) == [1]
    assert batch.conditions == ("a cat", "a fish")
    assert opened(folder, "nothing").conditions(0, 3) is None


def test_what_is_known_to_be_unchanged_is_not_read_again(folder):
    write_metadata(folder, *({"text": text} for text in TEXTS))
    known = opened(folder, "caption").identity()
    write_metadata(folder, *({"text": ""} for text in TEXTS))
    images = open_images(str(folder), conditioned_on="caption", identity=known, visible=False)
    assert images.identity() == known
    with pytest.raises(InputError, match="3 images have no caption"):
        images.conditions(0, 3)


def test_options_that_a_model_has_no_use_for_are_said(capsys):
    options = ConditionOptions(caption_column="text", label_column="style")
    assert used_conditions(options, "nothing") == ConditionOptions()
    assert used_conditions(options, "class label") == ConditionOptions(label_column="style")
    assert used_conditions(options, "caption") == ConditionOptions(caption_column="text")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "--caption-column, --label-column",
        "--caption-column",
        "--label-column",
    ]
    template = ConditionOptions(caption_template="a {label}", label_column="style")
    assert used_conditions(template, "caption") == template


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"caption_column": "a", "caption_template": "b"}, "--caption-column, --caption-template"),
        ({"caption_column": "a", "drop_captions": True}, "--caption-column, --drop-captions"),
        ({"drop_captions": True, "missing_captions": ""}, "--drop-captions, --missing-captions"),
        ({"caption_template": "{"}, "braces do not match"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, why):
    with pytest.raises(ConfigurationError, match=why):
        ConditionOptions(**options)
