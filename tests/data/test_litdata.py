"""LitData's chunks: the rows that were written, by one read each, and nothing that a stranger wrote is run."""

import json
import os
import pickle
import struct
import warnings
from functools import partial

import pytest
from litdata_files import in_arrow, index_of, one_by_one, picture_row, write_chunks
from test_data_conf import configured, serve
from test_resume_data import contents

from imagen.data.image_folder import ImageFolderSource
from imagen.data.litdata_chunks.layout import FOOTER
from imagen.data.litdata_chunks.source import LitDataSource
from imagen.data.module import ImagenDataModule
from imagen.data.transforms import Geometry
from imagen.errors import UserError

ROWS = [picture_row(number) for number in range(30)]
LAYOUTS = {"one by one": one_by_one, "arrow": partial(in_arrow, in_batch=7)}


@pytest.fixture
def opened(tmp_path):
    return lambda path, **options: LitDataSource(path, tmp_path / "index", **options)


def rows_of(source: LitDataSource) -> list[tuple]:
    return [(one.id, one.captions, one.image.tobytes()) for one in (source[row] for row in range(len(source)))]


def batches(source, text, workers: int = 0) -> list[tuple]:
    geometry = Geometry(random_crop=True, horizontal_flip=True)
    data = ImagenDataModule(source, source, text, 4, 8, 3, 4, workers, seed=0, geometry=geometry)
    data.prepare_data()
    loader = iter(data.train_dataloader())
    return contents([next(loader) for _ in range(10)])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_batches_are_those_of_a_folder_with_the_same_pictures(layout, opened, text, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    lines = []
    for number, row in enumerate(ROWS):
        (folder / f"{number}.png").write_bytes(row["image"])
        lines.append(json.dumps({"file_name": f"{number}.png", "text": row["caption"]}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    near, source = ImageFolderSource(folder), opened(write_chunks(tmp_path / "chunks", ROWS, 12, layout))
    assert rows_of(source) == rows_of(near)
    assert list(source.captions_by_row()) == list(near.captions_by_row())
    assert list(source.sizes()) == list(near.sizes())
    assert source.where(13) == f"{tmp_path / 'chunks' / 'chunk-0-1.bin'} sample 1"
    assert rows_of(pickle.loads(pickle.dumps(source))) == rows_of(near)
    assert batches(source, text, 2) == batches(near, text)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_in_object_storage_a_row_takes_one_request_of_the_bytes_of_its_picture(layout, opened, storage, tmp_path):
    near = write_chunks(tmp_path / "chunks", ROWS, 12, layout)
    for file in near.iterdir():
        storage.put(f"{tmp_path.name}/{file.name}", file)
    url = f"s3://pictures/{tmp_path.name}"
    source = opened(url)
    storage.asked()
    assert list(source.captions()) == [row["caption"] for row in ROWS]
    assert storage.asked() == []
    assert source[17].caption == "picture 17"
    assert storage.asked() == [("chunk-0-1.bin", len(ROWS[17]["image"]))]
    most = (near / "chunk-0-0.bin").stat().st_size
    source = opened(url, cache=tmp_path / "kept", cache_bytes=most)
    assert rows_of(source) == rows_of(opened(near))
    storage.asked()
    assert rows_of(source) == rows_of(opened(near))
    assert {name for name, _ in storage.asked()} == {"chunk-0-1.bin", "chunk-0-2.bin"}
    assert sum(file.stat().st_size for file in (tmp_path / "kept").rglob("*") if file.is_file()) == most
    assert source.world.fingerprint == opened(near).world.fingerprint
    with pytest.raises(UserError, match=r"there is no s3://pictures/.*/absent/index\.json; check bucket"):
        opened(f"{url}/absent")


def test_other_pictures_are_another_world(opened, tmp_path):
    one = opened(write_chunks(tmp_path / "a" / "set", ROWS, 12)).world
    assert opened(write_chunks(tmp_path / "b" / "set", ROWS, 12)).world == one
    changed = [*ROWS[:-1], ROWS[-1] | {"caption": "picture 92"}]
    assert opened(write_chunks(tmp_path / "c" / "set", changed, 12)).world.is_same(one) is False


def test_several_captions_and_a_picture_to_condition_on(opened, tmp_path):
    rows = [{"c": row["image"], "long": row["caption"], "p": row["image"], "short": "p"} for row in ROWS]
    kinds = ["image:png", "text", "jpeg", "str"]
    path = write_chunks(tmp_path / "chunks", rows, 12, columns=list(rows[0]), kinds=kinds)
    weights = {"long": 0.75, "short": 0.25}
    source = opened(path, image_column="p", caption_columns=weights, condition_column="c")
    assert (source[20].captions, source[20].weights) == (("picture 20", "p"), (0.75, 0.25))
    assert source.has_conditions
    assert (source[20].condition == source[20].image).all()
    lists = write_chunks(tmp_path / "lists", [row | {"caption": ["a", "b"]} for row in ROWS], 12, in_arrow)
    assert opened(lists)[3].captions == ("a", "b")


class Trap:
    def __reduce__(self):
        return os.mkdir, (os.environ["TRAP"],)


def test_what_is_pickled_is_passed_over_and_never_run(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    rows = [row | {"more": pickle.dumps(Trap())} for row in ROWS]
    names = {"columns": ["image", "caption", "more"], "kinds": ["bytes", "str", "pickle"]}
    path = write_chunks(tmp_path / "chunks", rows, 12, **names)
    assert opened(path)[3].caption == "picture 3"
    with pytest.raises(UserError, match=r"the column 'more' is stored as 'pickle'; only str, text are read"):
        opened(path, caption_column="more")
    with pytest.raises(UserError, match=r"the column 'more' is stored as 'pickle'; only bytes, jpeg, image are read"):
        opened(path, image_column="more")
    assert not (tmp_path / "sprung").exists()


SAME = {"image": b"a" * 5000, "caption": "a"}


def cut(content: bytes) -> bytes:
    return content[:-100]


def with_places(*numbers: int):
    return lambda content: struct.pack(f"<{len(numbers)}I", *numbers) + content[4 * len(numbers) :]


FAULTS = {
    "cut": (one_by_one, cut, "rows that do not follow each other"),
    "empty": (one_by_one, lambda content: b"", r"0 rows in 0 bytes"),
    "no chunk": (one_by_one, lambda content: b"\xff" * 4000, r"4294967295 rows in 4000 bytes"),
    "fewer rows": (one_by_one, lambda content: one_by_one(ROWS[:5]), r"5 rows, and index\.json says 12"),
    "backwards": (one_by_one, with_places(12, 56, 20), "rows that do not follow each other"),
    "short row": (one_by_one, with_places(12, 56, 60), "row 0 is not as long as its columns"),
    "sizes": (one_by_one, lambda content: content[:56] + b"\xff" * 4 + content[60:], "row 0 is not as long as its"),
    "arrow cut": (in_arrow, cut, "neither rows nor an Arrow file"),
    "arrow": (in_arrow, lambda content: content[:80] + bytes(900) + content[980:], "an Arrow file that cannot be read"),
    "arrow length": (in_arrow, lambda content: content[:-12] + b"\xff" * 4 + FOOTER, "neither rows nor an Arrow file"),
    "compressed": (
        lambda rows: in_arrow([SAME] * len(rows), compression="zstd"),
        bytes,
        "pictures are empty or compress",
    ),
    "null": (lambda rows: in_arrow([*rows[:-1], {"image": None, "caption": "a"}]), bytes, "binary with 1 nulls"),
    "numbers": (lambda rows: in_arrow([{"image": 3, "caption": "a"}] * len(rows)), bytes, "pictures are int64"),
}


@pytest.mark.parametrize(("layout", "change", "complaint"), FAULTS.values(), ids=FAULTS)
def test_a_damaged_chunk_is_refused_in_one_line(layout, change, complaint, opened, tmp_path):
    path = write_chunks(tmp_path / "chunks", ROWS, 12, layout)
    chunk = path / "chunk-0-0.bin"
    chunk.write_bytes(change(chunk.read_bytes()))
    with pytest.raises(UserError, match=rf"chunk-0-0\.bin: no whole LitData chunk \(.*{complaint}") as caught:
        opened(path)
    assert "\n" not in str(caught.value)


SPEC = {"type": "builtins.dict", "context": '["image", "caption"]', "children_spec": [{"type": "builtins.list"}] * 2}
INDEXES = {
    "no JSON": (lambda index: "{", "not JSON"),
    "no index": (lambda index: "[]", "no index of LitData chunks"),
    "compressed": (lambda index: index["config"].update(compression="zstd"), r"compression='zstd', so that no row"),
    "encrypted": (lambda index: index["config"].update(encryption={"a": 1}), "the chunks have encryption="),
    "tokens": (lambda index: index["config"].update(item_loader="TokensLoader"), "chunks for 'TokensLoader' are not"),
    "nested": (lambda index: index["config"].update(data_spec=json.dumps([1, SPEC])), "values are not nested"),
    "no columns": (lambda index: index["config"].update(data_spec="7"), "rows must be dictionaries"),
    "formats": (lambda index: index["config"].update(data_format=["bytes"]), "not one kind for each column"),
    "outside": (lambda index: index["chunks"][0].update(filename="../a.bin"), r"is no chunk with the name"),
    "no rows": (lambda index: index["chunks"][0].update(chunk_size=-1), r"is no chunk with the name"),
    "absent": (lambda index: index["chunks"][0].update(filename="a.bin"), r"a\.bin is not there"),
    "columns": (lambda index: index["config"].update(data_spec=json.dumps([1, {}])), "rows must be dictionaries"),
}


@pytest.mark.parametrize(("change", "complaint"), INDEXES.values(), ids=INDEXES)
def test_an_index_that_cannot_be_read_is_refused_in_one_line(change, complaint, opened, tmp_path):
    path, index = write_chunks(tmp_path / "chunks", ROWS, 12), index_of([12, 12, 6])
    (path / "index.json").write_text(change(index) or json.dumps(index))
    with pytest.raises(UserError, match=complaint) as caught:
        opened(path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_an_index_and_a_column_that_is_not_there(opened, tmp_path):
    with pytest.raises(UserError, match=r"there is no .*index\.json; give the folder that litdata\.optimize wrote"):
        opened(tmp_path)
    with pytest.raises(UserError, match="rows have no 'text', but image, caption; name it with"):
        opened(write_chunks(tmp_path / "chunks", ROWS, 12), caption_column="text")


def test_chunks_are_given_by_their_folder(tmp_path):
    path = write_chunks(tmp_path / "chunks", ROWS[:6], 4)
    serve(configured("litdata", f"data.path={path}", f"paths.cache={tmp_path}", "data.train.n=3"), 4, held_out=2)


def as_media(number: int) -> dict:
    from litdata import Image

    return picture_row(number) | {"image": Image(bytes=picture_row(number)["image"])}


@pytest.mark.parametrize(("make", "layout"), [(picture_row, in_arrow), (as_media, one_by_one)])
def test_what_litdata_writes_is_what_is_read_here(make, layout, opened, tmp_path):
    """Needs LitData, which is in no extra: skipped without it."""
    litdata = pytest.importorskip("litdata")
    write = partial(litdata.optimize, make, list(range(30)), num_workers=1, chunk_size=12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(str(tmp_path / "set"))
        write(str(tmp_path / "zstd"), compression="zstd")
    assert (tmp_path / "set" / "chunk-0-1.bin").read_bytes() == layout(ROWS[12:24])
    rows = rows_of(opened(write_chunks(tmp_path / "own", ROWS, 12, layout)))
    assert rows_of(opened(tmp_path / "set")) == rows
    if layout is in_arrow:  # which 0.2.76 does not compress
        assert rows_of(opened(tmp_path / "zstd")) == rows
    else:
        with pytest.raises(UserError, match=r"so that no row can be read by itself"):
            opened(tmp_path / "zstd")
