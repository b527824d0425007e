"""The conventions of `imagefolder`: JSON lines or CSV, in the folder or in its sub-folders; several captions."""

import json
import os

import pytest
from PIL import Image

from imagen.data.image_folder import ImageFolderSource
from imagen.data.reading.problems import BadExampleError
from imagen.errors import UserError


@pytest.fixture
def pictures(tmp_path):
    """pictures({name of a metadata file: content}) with 1.png … 3.png in the folder, in a/ and in a/b/."""

    def make(files: dict[str, bytes | str]):
        for number, place in enumerate(["1.png", "2.png", "3.png", "a/1.png", "a/2.png", "a/b/1.png"]):
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(tmp_path / place)
        for name, content in files.items():
            (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path

    return make


def rows(folder) -> list[tuple[str, tuple[str, ...], str, int]]:
    return [(row.file_name, row.captions.texts, row.metadata, row.line) for row in ImageFolderSource(folder).rows]


def test_a_table_is_read_as_spreadsheets_write_it(pictures):
    table = (
        '\ufefffile_name,text,source\r\n1.png,"a circle, red",x\r\n\r\n2.png,"two\r\nlines ""quoted""",\r\n3.png,,z\r\n'
    )
    folder = pictures({"metadata.csv": table})
    assert rows(folder) == [
        ("1.png", ("a circle, red",), "metadata.csv", 2),
        ("2.png", ('two\r\nlines "quoted"',), "metadata.csv", 4),
        ("3.png", ("",), "metadata.csv", 6),
    ]
    source = ImageFolderSource(folder)
    assert source[1].image[0, 0, 0] == 40
    assert source.where(1) == f"{folder}/2.png (metadata.csv line 4)"


def test_names_are_relative_to_the_file_that_lists_them(pictures):
    line = '{"file_name": "%s", "text": "%s"}\n'
    folder = pictures(
        {
            "metadata.jsonl": line % ("2.png", "here") + line % ("a/2.png", "from above"),
            "a/metadata.csv": "text,file_name\ntable,1.png\n",
            "a/b/metadata.jsonl": line % ("1.png", "deep"),
        }
    )
    assert rows(folder) == [
        ("2.png", ("here",), "metadata.jsonl", 1),
        ("a/2.png", ("from above",), "metadata.jsonl", 2),
        ("a/1.png", ("table",), "a/metadata.csv", 2),
        ("a/b/1.png", ("deep",), "a/b/metadata.jsonl", 1),
    ]
    source = ImageFolderSource(folder)
    assert [source[i].image[0, 0, 0] for i in range(4)] == [40, 160, 120, 200]
    assert source.where(3) == f"{folder}/a/b/1.png (a/b/metadata.jsonl line 1)"
    assert list(source.problems(min_side=8)) == []


def test_a_list_holds_several_captions(pictures):
    folder = pictures({"metadata.jsonl": '{"file_name": "1.png", "text": ["one", "other", ""]}\n'})
    assert rows(folder)[0][1] == ("one", "other", "")
    assert list(ImageFolderSource(folder).captions()) == ["one", "other", ""]
    assert ImageFolderSource(folder)[0].caption == "one"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"metadata.csv": "file_name,text\n1.png,a, b\n"}, r"metadata\.csv line 2: 3 cells under 2 column names; put"),
        ({"metadata.csv": "file_name;text\n1.png;a\n"}, r"line 2: no 'file_name' among .*separate columns by commas"),
        ({"metadata.csv": 'file_name,text\n1.png,"a" b\n'}, r"metadata\.csv line 2: not a row of a table separated by"),
        ({"metadata.csv": b"file_name,text\n1.png,caf\xe9\n"}, r"metadata\.csv line 2: not UTF-8 \(byte 0xe9 at 9\)"),
        ({"metadata.csv": "file_name,text\n"}, r"metadata\.csv lists no pictures"),
        ({"metadata.csv": ""}, r"metadata\.csv lists no pictures"),
        ({"metadata.csv": "file_name,text\n../x.png,a\n"}, r"line 2: '\.\./x\.png' leads out of the folder"),
        ({"a/metadata.csv": "file_name,text\n../1.png,a\n"}, r"line 2: '\.\./1\.png' leads out of the folder"),
        ({"metadata.csv": "file_name,text\n1.png,a\n", "metadata.jsonl": ""}, r"has both metadata"),
        (
            {"metadata.csv": "file_name,text\na/1.png,a\n", "a/metadata.csv": "file_name,text\n1.png,a\n"},
            r"a/metadata\.csv line 2: 'a/1\.png' is already listed in line 2 of metadata\.csv; keep one row",
        ),
        ({"metadata.jsonl": '{"file_name": "1.png", "text": []}'}, r"line 1: the list of captions is empty"),
        ({"metadata.jsonl": '{"file_name": "1.png", "text": {}}'}, r"line 1: the caption is a dict, not text"),
        ({"metadata.jsonl": '{"file_name": "1.png", "text": "a", "n": %s}' % ("9" * 5000)}, r"line 1: not JSON"),
        ({"metadata.jsonl": b'{"file_name": "1.png", "text": "' + b"a" * (1 << 20) + b'"}'}, r"line 1: more than 104"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named_with_its_file(pictures, files, message):
    with pytest.raises(UserError, match=message) as caught:
        ImageFolderSource(pictures(files))
    assert "\n" not in str(caught.value)


def test_what_python_writes_for_no_number_costs_nothing(pictures):
    line = json.dumps({"file_name": "1.png", "text": "a", "score": float("nan")})
    assert "NaN" in line
    assert rows(pictures({"metadata.jsonl": "\ufeff" + line + "\n\ufeff" + line.replace("1.png", "2.png")}))


def test_a_pipe_is_not_waited_for(pictures, tmp_path):
    folder = pictures({"metadata.jsonl": '{"file_name": "pipe.png", "text": "a"}\n'})
    os.mkfifo(tmp_path / "pipe.png")
    source = ImageFolderSource(folder)
    with pytest.raises(BadExampleError, match=r"pipe\.png \(metadata\.jsonl line 1\): a pipe, socket or device"):
        source[0]
    assert "a pipe, socket or device" in next(source.problems(1)).text
    (tmp_path / "metadata.jsonl").unlink()
    os.mkfifo(tmp_path / "metadata.jsonl")
    with pytest.raises(UserError, match=r"metadata\.jsonl is not a regular file"):
        ImageFolderSource(folder)


def test_a_table_with_two_columns_of_one_name_is_refused(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name,text,text\n1.png,a,b\n")
    with pytest.raises(UserError, match="two columns are called 'text'"):
        ImageFolderSource(tmp_path)


def test_a_cell_may_be_as_long_as_a_line_of_json(tmp_path):
    (tmp_path / "metadata.csv").write_text(f"file_name,text\n1.png,{'a' * 200_000}\n")
    assert len(next(iter(ImageFolderSource(tmp_path).captions()))) == 200_000
