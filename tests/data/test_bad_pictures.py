"""Unusable files in a user's folder of pictures: counted, listed, skipped."""

import json
import logging

import pytest
from PIL import Image

from imagen.data.image_folder import ImageFolderSource
from imagen.data.module import BadPictures, ImagenDataModule
from imagen.data.reading.problems import Fault, Problem, refusal, write_list
from imagen.data.source import AllButEveryNth, EveryNth
from imagen.data.transforms import Geometry
from imagen.errors import UserError

SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.fixture
def stamps(tmp_path):
    """20 pictures: every third is an SVG, every fourth of the others has 10 pixels a side, the others 20 × 30."""
    folder = tmp_path / "my stamps"
    folder.mkdir()
    names = []
    for i in range(20):
        name = f"{i}.svg" if i % 3 == 0 else f"{i}.png"
        names.append(name)
        if i % 3 == 0:
            (folder / name).write_bytes(SVG)
        else:
            Image.new("RGB", (10, 10) if i % 4 == 0 else (20, 30), (i, 0, 0)).save(folder / name)
    (folder / "metadata.jsonl").write_text(
        "".join(json.dumps({"file_name": name, "text": f"stamp {name}"}) + "\n" for name in names)
    )
    return folder


@pytest.fixture
def module(text, tmp_path):
    def make(folder, source_resolution: int = 20, geometry: Geometry | None = None, **options) -> ImagenDataModule:
        source = ImageFolderSource(folder)
        parts = AllButEveryNth(source, 5), EveryNth(source, 5)
        bad = BadPictures(lists=tmp_path / "lists", **options)
        return ImagenDataModule(
            *parts, text, 8, source_resolution, None, 4, num_workers=0, seed=0, geometry=geometry, bad_pictures=bad
        )

    return make


def without_drawings(folder) -> None:
    lines = (folder / "metadata.jsonl").read_text().splitlines(keepends=True)
    (folder / "metadata.jsonl").write_text("".join(line for line in lines if ".svg" not in line))


def test_all_bad_pictures_are_counted_by_reason_and_listed(module, stamps, tmp_path):
    with pytest.raises(UserError) as caught:
        module(stamps).prepare_data()
    (file,) = (tmp_path / "lists").iterdir()
    assert str(caught.value) == (
        f"{stamps}: 10 of 20 pictures (7 SVG or other drawings, 3 too small) are unusable, first {stamps}/0.svg "
        "(metadata.jsonl line 1): an SVG drawing, which has no pixels; SVG or other drawings: convert them to PNG; too "
        "small: data.bad_pictures.skip_small=true leaves them out, data.geometry.upscale=true enlarges them; "
        f"all are listed in {file}"
    )
    assert file.name.startswith("my-stamps-")
    listed = file.read_text().splitlines()
    assert [line.split("\t")[0] for line in listed].count("too small") == 3
    assert sorted(int(line.split(" line ")[1].split(")")[0]) - 1 for line in listed) == [
        0,
        3,
        4,
        6,
        8,
        9,
        12,
        15,
        16,
        18,
    ]


def test_small_pictures_are_left_out_the_same_ones_every_time(module, stamps, caplog, text):
    without_drawings(stamps)
    whole = module(stamps, source_resolution=10)
    whole.prepare_data()
    with caplog.at_level(logging.WARNING):
        data = module(stamps, skip_small=True)
        data.prepare_data()
    assert "13 pictures (3 too small) are not used; all are listed in " in caplog.text
    # A row that is held out stays held out.
    for part in ("train", "validation"):
        ids = [getattr(data, part)[i].id for i in range(len(getattr(data, part)))]
        every = [getattr(whole, part)[i].id for i in range(len(getattr(whole, part)))]
        assert ids == [row for row in every if min(whole.train.origin[row].image.shape[:2]) >= 20]
        assert len(ids) < len(every)
    assert not any("stamp 4." in caption or "stamp 8." in caption for caption in text.prepared)
    batch = next(iter(data.train_dataloader()))
    assert batch.captions == tuple(data.train.origin[row].caption for row in batch.ids.tolist())
    # Another process only calls setup, and finds the same rows.
    other = module(stamps, skip_small=True, check_first=False)
    other.setup("fit")
    assert [other.train.row(i) for i in range(len(other.train))] == [data.train.row(i) for i in range(len(data.train))]
    other.setup("fit")
    assert len(other.train) == len(data.train)


def test_where_small_pictures_are_enlarged_none_is_left_out(module, stamps):
    without_drawings(stamps)
    data = module(stamps, skip_small=True, geometry=Geometry(upscale=True))
    data.prepare_data()
    assert len(data.train) + len(data.validation) == 13


def test_when_nothing_is_large_enough_that_is_said(module, stamps):
    without_drawings(stamps)
    with pytest.raises(UserError, match=r"no picture for training has 64 × 64 pixels; choose smaller resolutions"):
        module(stamps, source_resolution=64, skip_small=True).prepare_data()


def test_other_bad_pictures_are_not_left_out_with_the_small_ones(module, stamps):
    with pytest.raises(
        UserError, match=r"7 of 20 pictures \(7 SVG or other drawings\) .*; convert them to PNG; all are listed in"
    ):
        module(stamps, skip_small=True).prepare_data()


def test_a_share_is_only_offered_where_it_would_be_enough():
    one = [Problem(3, Fault.DAMAGED, "row 3: damaged")]
    assert refusal("name", one, 1000, 0) == (
        "row 3: damaged; repair or remove it, or allow a few to be skipped with data.bad_pictures.max_share=0.001"
    )
    assert refusal("name", one, 999, 0) == "row 3: damaged; repair or remove it"
    assert "max_share" not in refusal("name", one * 300, 931, 0)


def test_a_list_holds_one_line_for_each_whatever_the_names(tmp_path):
    problems = [Problem(0, Fault.MISSING, "a\nb\x1b[2J.png: missing"), Problem(1, Fault.DAMAGED, "c: damaged")]
    assert write_list(problems, "/x/päth", tmp_path).read_text() == (
        "missing\ta\\nb\\x1b[2J.png: missing\ndamaged\tc: damaged\n"
    )
    assert write_list(problems, "/x/y", tmp_path) != write_list(problems, "/z/y", tmp_path)
