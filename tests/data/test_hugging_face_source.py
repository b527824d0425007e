import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from imagen.data.hugging_face import HuggingFaceSource
from imagen.data.reading.problems import BadExampleError, Fault
from imagen.errors import UserError

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def table():
    """Three pictures of one colour each."""
    pictures = [Image.new("RGB", (6, 4), (60 * i, 0, 0)) for i in range(3)]
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    return datasets.Dataset.from_dict({"image": pictures, "text": [f"picture {i}" for i in range(3)]}, features)


def check(source: HuggingFaceSource) -> None:
    assert len(source) == 3
    assert list(source.captions()) == ["picture 0", "picture 1", "picture 2"]
    example = source[2]
    assert (example.caption, example.id, example.image.shape) == ("picture 2", 2, (4, 6, 3))
    assert example.image[0, 0].tolist() == [120, 0, 0]
    assert list(source.problems(min_side=4)) == []
    assert len(list(source.problems(min_side=5))) == 3


def test_a_parquet_file_is_read(table, tmp_path):
    table.to_parquet(tmp_path / "any.parquet")
    check(HuggingFaceSource(str(tmp_path / "any.parquet"), "train"))


def test_the_split_of_a_folder_of_parquet_files_is_found_by_name(table, tmp_path):
    table.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    table.select([0]).to_parquet(tmp_path / "validation-00000-of-00001.parquet")
    check(HuggingFaceSource(str(tmp_path), "train"))
    assert len(HuggingFaceSource(str(tmp_path), "validation")) == 1
    with pytest.raises(UserError, match="named after the split 'test'"):
        HuggingFaceSource(str(tmp_path), "test")


def test_what_datasets_saved_is_read(table, tmp_path):
    table.save_to_disk(str(tmp_path / "one"))
    check(HuggingFaceSource(str(tmp_path / "one"), "train"))
    datasets.DatasetDict(train=table).save_to_disk(str(tmp_path / "several"))
    check(HuggingFaceSource(str(tmp_path / "several"), "train"))
    with pytest.raises(UserError, match=r"no split 'val', but \['train'\]"):
        HuggingFaceSource(str(tmp_path / "several"), "val")


def test_bytes_that_were_never_declared_a_picture_are_decoded_here(encoded, tmp_path):
    data = encoded(Image.fromarray(np.array([[0, 65535]], np.uint16)))
    datasets.Dataset.from_dict({"jpg": [data], "caption": [""]}).to_parquet(tmp_path / "a.parquet")
    example = HuggingFaceSource(str(tmp_path / "a.parquet"), "train", "jpg", "caption")[0]
    assert example.image[0, :, 0].tolist() == [0, 255]
    assert example.caption == ""


def test_a_bad_row_is_named_by_its_number(encoded, tmp_path):
    rows = {"image": [encoded(Image.new("RGB", (3, 3))), b"<html>", None], "text": ["a", "b", None]}
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "a.parquet")
    source = HuggingFaceSource(str(tmp_path / "a.parquet"), "train")
    with pytest.raises(BadExampleError, match="row 1: a web page"):
        source[1]
    with pytest.raises(UserError, match="row 2: the caption is null"):
        list(source.captions())
    assert [" row 1: " in line.text or " row 2: no picture" in line.text for line in source.problems(1)] == [True, True]


def test_columns_that_are_missing_or_hold_no_pictures_are_named(table, tmp_path):
    path = str(tmp_path / "a.parquet")
    table.add_column("number", [1, 2, 3]).to_parquet(path)
    with pytest.raises(UserError, match=r"no column 'img' among \['image', 'number', 'text'\]; name it with data\."):
        HuggingFaceSource(path, "train", image_column="img")
    with pytest.raises(UserError, match=r"column 'number' holds .*, not pictures"):
        HuggingFaceSource(path, "train", image_column="number")
    with pytest.raises(UserError, match="'text' is given as the column of pictures and of captions"):
        HuggingFaceSource(path, "train", image_column="text")


def test_the_network_is_only_used_when_asked_for(tmp_path):
    with pytest.raises(UserError, match=r"no file or folder someone/pictures; .*download=true"):
        HuggingFaceSource("someone/pictures", "train")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="holds no parquet files"):
        HuggingFaceSource(str(tmp_path / "folder"), "train")


def test_a_damaged_parquet_file_is_one_line(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(UserError, match="cannot be read as parquet") as caught:
        HuggingFaceSource(str(tmp_path / "a.parquet"), "train")
    assert "\n" not in str(caught.value)


def test_a_row_names_pictures_within_the_folder_only(encoded, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    secret = tmp_path / "secret.png"
    for file in (secret, folder / "inside.png"):
        file.write_bytes(encoded(Image.new("RGB", (4, 4), "teal")))
    paths = [
        "inside.png",
        str(folder / "inside.png"),
        str(secret),
        "../secret.png",
        "https://example.org/a.png",
        "a\0b",
    ]
    cells = [{"bytes": None, "path": path} for path in paths]
    # Not by `datasets`, which would put the bytes of the files into the table.
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(cells, kind), "text": ["a"] * 6}), folder / "a.parquet")
    for path in (folder, folder / "a.parquet"):
        source = HuggingFaceSource(str(path), "train")
        assert [source[row].image.shape for row in (0, 1)] == [(4, 4, 3)] * 2
        for row in range(2, 6):
            with pytest.raises(BadExampleError, match=rf"row {row}: the picture is .* not within {folder}"):
                source[row]
        problems = list(source.problems(1))
        assert [problem.row for problem in problems] == [2, 3, 4, 5]
        assert {problem.fault for problem in problems} == {Fault.OUTSIDE}


def test_a_pipe_among_parquet_files_is_not_waited_for(table, tmp_path):
    table.to_parquet(tmp_path / "a.parquet")
    os.mkfifo(tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b\.parquet is not a file; remove it"):
        HuggingFaceSource(str(tmp_path), "train")


def test_a_column_of_lists_holds_several_captions(encoded, tmp_path):
    rows = {"image": [encoded(Image.new("RGB", (3, 3)))] * 2, "text": [["one", "other"], ["alone"]]}
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "a.parquet")
    source = HuggingFaceSource(str(tmp_path / "a.parquet"), "train")
    assert list(source.captions_by_row()) == [("one", "other"), ("alone",)]
    assert source[0].captions == ("one", "other")


def test_pictures_to_condition_on_are_a_column_of_their_own(table, tmp_path):
    outlines = [*(Image.new("RGB", (6, 4), (0, 0, 50 * i)) for i in range(2)), None]
    columns = {"outline": outlines, "image": table["image"][:], "text": table["text"][:]}
    features = datasets.Features({"outline": datasets.Image(), **table.features})
    datasets.Dataset.from_dict(columns, features).to_parquet(tmp_path / "any.parquet")
    path = str(tmp_path / "any.parquet")
    source = HuggingFaceSource(path, "train", condition_column="outline")
    assert source.has_conditions
    assert source[1].image[0, 0].tolist() == [60, 0, 0]
    assert source[1].condition[0, 0].tolist() == [0, 0, 50]
    with pytest.raises(BadExampleError, match="row 2, outline: no picture"):
        source[2]
    (problem,) = source.problems(min_side=4)
    assert (problem.row, problem.fault) == (2, Fault.MISSING)
    check(HuggingFaceSource(path, "train"))
    with pytest.raises(UserError, match=r"no column 'depth' among .* data\.train\.source\.condition_column"):
        HuggingFaceSource(path, "train", condition_column="depth")
    with pytest.raises(
        UserError, match=r"'text' .*, not pictures|'text' is given as the column of pictures and of capt"
    ):
        HuggingFaceSource(path, "train", condition_column="text")
