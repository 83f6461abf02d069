"""Tables in CSV and JSON lines files."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from dtrak_stream.data.text_tables import TextTable, open_csv, open_json_lines
from dtrak_stream.errors import InputError


def write(path: Path, text: str, mark: bytes = b"") -> Path:
    path.write_bytes(mark + text.encode())
    return path


def columns(table: TextTable) -> dict[str, list[object]]:
    return {name: table.values(name, 0, len(table)) for name in table.columns}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_with_quotes_line_feeds_and_blank_lines(tmp_path, mark, end):
    rows = ["path, caption", 'a.png,"a cat, ""sitting""', 'on a mat"', "", "ü.png,ä", "c.png,"]
    table = open_csv(write(tmp_path / "a.csv", end.join(rows), mark))
    assert columns(table) == {
        "path": ["a.png", "ü.png", "c.png"],
        "caption": [f'a cat, "sitting"{end}on a mat', "ä", None],
    }
    assert [table.values("path", row, row + 1) for row in range(3)] == [
        ["a.png"],
        ["ü.png"],
        ["c.png"],
    ]
    assert table.values("path", 1, 3) == ["ü.png", "c.png"]
    assert table.values("path", 2, 2) == []


def test_json_lines_have_the_columns_of_any_row(tmp_path):
    rows = [{"path": "a", "label": 3}, {"path": "b\u2028c", "style": "ü"}]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    table = open_json_lines(write(tmp_path / "a.jsonl", "\n\n".join(lines), b"\xef\xbb\xbf"))
    assert columns(table) == {
        "path": ["a", "b\u2028c"],
        "label": [3, None],
        "style": [None, "ü"],
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("path,path\na,b\n", "two columns called path"),
        ("path,\na,b\n", "column without a name"),
        ("path,x\na,b\nc\n", "line 3 has 1 fields, the first one has 2"),
        ('path,x\na,"b\n', "not a table in UTF-8"),
        (",".join(map(str, range(1025))), "more than 1,024 columns"),
    ],
)
def test_what_is_no_csv_is_refused(tmp_path, text, problem):
    with pytest.raises(InputError, match=problem):
        open_csv(write(tmp_path / "a.csv", text))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ('{"path": "a"}\n[1]\n', "line 2"),
        ('{"path": "a"}\n{"p\n', "line 2"),
        ("[" * 99_999, "line 1"),
    ],
)
def test_what_is_no_json_lines_is_refused(tmp_path, text, problem):
    with pytest.raises(InputError, match=problem):
        open_json_lines(write(tmp_path / "a.jsonl", text))


@pytest.mark.parametrize("opened", [open_csv, open_json_lines])
def test_what_cannot_be_read_is_refused(tmp_path, opened):
    with pytest.raises(InputError, match="does not exist"):
        opened(tmp_path / "none")
    (tmp_path / "a").write_bytes(b"path\n\xff\xfe\n")
    with pytest.raises(InputError, match=r"UTF-8|JSON"):
        opened(tmp_path / "a")


def test_a_file_that_changes_meanwhile_is_refused(tmp_path):
    path = write(tmp_path / "a.csv", "path\naa\nbb\n")
    table = open_csv(path)
    write(path, "path\naabb\n\n")
    with pytest.raises(InputError, match="changed while"):
        table.values("path", 0, 2)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_row_takes_a_few_bytes(tmp_path, suffix):
    count, caption = 20_000, "a cat " * 20
    path = tmp_path / f"a{suffix}"
    with path.open("w") as file:
        file.write("path,caption\n" * (suffix == ".csv"))
        for row in range(count):
            cells = {"path": f"{row}.png", "caption": caption}
            text = json.dumps(cells) if suffix == ".jsonl" else ",".join(cells.values())
            file.write(text + "\n")
    tracemalloc.start()
    table = (open_csv if suffix == ".csv" else open_json_lines)(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert table.values("path", count - 1, count) == [f"{count - 1}.png"]
    assert peak < 20 * count + 2**17
