from pathlib import Path

import pytest

from extract.errors import InputError, MissingFileError
from extract.tables import read_lines, read_table

TEXT = "path,labels,split\nä.mp4,fire|riot,train\n"
COLUMNS = ("path", "labels", "split")


def read(tmp_path: Path, content: bytes | str, optional: tuple[str, ...] = ()) -> list[tuple[int, list[str]]]:
    """Line and values of each row of a file with this content."""
    path = tmp_path / "videos.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    rows = read_table(path, COLUMNS, optional)
    return [(row.line, [row[column] for column in (*COLUMNS, *optional)]) for row in rows]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_the_bytes_name_are_read(tmp_path: Path, encoding: str) -> None:
    assert read(tmp_path, TEXT.encode(encoding)) == [(2, ["ä.mp4", "fire|riot", "train"])]
    big_endian = ("\ufeff" + TEXT).encode("utf-16-be")
    assert read(tmp_path, big_endian) == [(2, ["ä.mp4", "fire|riot", "train"])]


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace(",", ";"),
        TEXT.replace(",", "\t"),
        "sep=;\n" + TEXT.replace(",", ";"),
        "Path, LABELS ,Split\nä.mp4, fire|riot, train \n",
        '"path","labels","split"\n"ä.mp4","fire|riot","train"\n',
        '"path";"labels";"split"\n"ä.mp4";"fire|riot";"train"\n',
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", "\r"),
        TEXT + "\n\n,,\n  \n",
        "path,labels,split,,\nä.mp4,fire|riot,train,,\n,,,,\n",
        "note,split,labels,path\nbright,train,fire|riot,ä.mp4\n",
        TEXT.rstrip(),
    ],
)
def test_what_editors_and_spreadsheets_write_is_read(tmp_path: Path, text: str) -> None:
    line = 3 if text.startswith("sep=") else 2
    assert read(tmp_path, text) == [(line, ["ä.mp4", "fire|riot", "train"])]


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    text = 'path,labels,split,note\r\n\r\na,b,train,"two\r\nlines"\r\n,,,\r\nc,d,test,\r\n'
    assert read(tmp_path, text) == [(3, ["a", "b", "train"]), (6, ["c", "d", "test"])]


def test_missing_values_of_optional_columns_are_empty(tmp_path: Path) -> None:
    text = "path,labels,split,name\na,b,train\nc,d,test,e\n"
    assert read(tmp_path, text, ("name", "fps")) == [
        (2, ["a", "b", "train", "", ""]),
        (3, ["c", "d", "test", "e", ""]),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "videos.csv is empty; expected the columns path, labels, split"),
        (b"\r\n\r\n", "videos.csv is empty; expected the columns path, labels, split"),
        (b"path,label\na,b\n", "no column labels, split among 'path, label'; expected the columns"),
        (b"path|labels|split\na|b|c\n", "no column path, labels, split among .*, separated by commas"),
        (b"path,labels,split,Labels\na,b,c,d\n", "line 1: the column labels is there twice"),
        (TEXT.encode("cp1252"), r"line 2: not UTF-8 \(byte 0xE4\); save the file as UTF-8"),
        (b"\xef\xbb\xbfpath,labels,split\r\n\r\n\xe4,b,c\r\n", r"line 3: not UTF-8 \(byte 0xE4\); save"),
        (TEXT.encode("utf-16") + b"\n", r"line 3: not UTF-16 .*; save the file as UTF-8"),
        (TEXT.encode("utf-16-le"), "line 1: a NUL byte, so this is no text in UTF-8; save the file as UTF-8"),
        (TEXT.encode() + b"a\0,b,c\n", "line 3: a NUL byte"),
        (("\ufeff" + TEXT + "\0").encode("utf-16-le"), "line 3: a NUL byte"),
        (TEXT.encode() + b"\n\na,b\n", "line 5: expected 3 values separated by `,` .* found 2"),
        (
            TEXT.encode() + b"a,fire,riot,train\n",
            "line 3: expected 3 values .* found 4; put a value that has",
        ),
        (TEXT.encode() + b"a;fire;train\n", "line 3: expected 3 values separated by `,` .* found 1"),
        (
            TEXT.encode() + b'\n"a,fire,train\nb,fire,train\n',
            "line 4: the quotes of the row that begins here",
        ),
        (
            TEXT.encode() + b'"a,fire,train\n"b",fire,train\n',
            "line 3: the quotes of the row that begins here",
        ),
        (TEXT.encode() + b'"' + b"a,fire,train\n" * 20_000, "line 3: the quotes of the row that begins here"),
        (b'"path,labels,split\na,fire,train\n', "line 1: the quotes of the row that begins here"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "videos.csv") in str(caught.value)


def test_paths_that_are_no_readable_file_are_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(MissingFileError, match=f"no file {path}"):
            read_table(path, COLUMNS)


def test_lists_are_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("Abuse/a.mp4\r\n\r\n Über/b\x1c.mp4 \r\n".encode("utf-16"))
    assert read_lines(path) == [(f"{path}, line 1", "Abuse/a.mp4"), (f"{path}, line 3", "Über/b\x1c.mp4")]


def test_values_of_our_own_files_keep_their_spaces(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text('name,reason,A b\r\n cam ,"two\nlines",1\r\n"a;b", ,\r\n')
    rows = read_table(path, ("name", "reason"), exact=True)
    assert [row["A b"] for row in rows] == ["1", ""]
    assert [(row.line, row["name"], row["reason"]) for row in rows] == [
        (2, " cam ", "two\nlines"),
        (4, "a;b", " "),
    ]
