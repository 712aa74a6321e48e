"""Files that are no tables, or whose columns nobody names."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.foreign.sheet import read_sheet


def read(
    folder: Path, data: str | bytes, columns: str | None = None
) -> tuple[list[tuple[int, tuple[str, ...]]], list[str]]:
    path = folder / "list.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    sheet = read_sheet(path, None if columns is None else columns.split(","), str.isdigit)
    return [(line.number, line.cells) for line in sheet.rows], list(sheet.notes)


def test_comments_blank_lines_and_spaces(tmp_path: Path) -> None:
    rows, notes = read(tmp_path, "# drawn by us\n#class, query, support\n\n7, a, b\n\n8,c,d\n")
    assert rows == [(4, ("7", "a", "b")), (6, ("8", "c", "d"))]
    assert notes == ["left out the comments at the beginning (1 in number)"]


def test_line_numbers_behind_cells_of_several_lines(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, 'class,query,support\n7,"a\nb",c\n8,d,e\n')
    assert rows == [(3, ("7", "a\nb", "c")), (4, ("8", "d", "e"))]


@pytest.mark.parametrize("sign", [",", "\t", ";"])
def test_a_file_without_names(tmp_path: Path, sign: str) -> None:
    text = f"7{sign}a{sign}b\n"
    with pytest.raises(UserError, match=r"line 1: '7,a,b' seems to be an episode, .*name the columns .* --columns"):
        read(tmp_path, text)
    assert read(tmp_path, text, "class,query,support")[0] == [(1, ("7", "a", "b"))]
    assert read(tmp_path, f"x{sign}y{sign}z\n" + text, "class,query,support")[0] == [(2, ("7", "a", "b"))]
    with pytest.raises(UserError, match="--columns names 2 columns, the file has 3"):
        read(tmp_path, text, "class,query")
    with pytest.raises(UserError, match="line 1: no column seems to be the support"):
        read(tmp_path, text, "class,query,colour")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "holds no episodes"),
        (b"\n\n", "holds no episodes"),
        (b"class,query,support\n", "holds no episodes, only the names of its columns"),
        (b'{"class": 1}\n', "is JSON"),
        (b' [{"class": 1}]', "is JSON"),
        (b"\x89PNG\r\n", "is not CSV text in UTF-8"),
        ("class,query,support".encode("utf-16"), "is not CSV text in UTF-8"),
        (b"class,query,support\n7," + b"x" * 200_000 + b",b\n", "line 2: is not CSV text: field larger"),
        (b"class query support\n7 a b\n", "line 1: no column seems to be the class or the query or the support"),
    ],
)
def test_files_that_are_no_lists(tmp_path: Path, data: bytes, told: str) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, data)
    assert str(error.value).startswith(f"{tmp_path / 'list.csv'}: {told}")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such episode file"):
        read_sheet(tmp_path / "none.csv", None, str.isdigit)
