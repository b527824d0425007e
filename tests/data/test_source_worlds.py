"""The world of a source: the same for all its parts and copies, another for other pictures."""

import json
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from imagen.data.buckets.survey import without
from imagen.data.hugging_face import HuggingFaceSource
from imagen.data.image_folder import ImageFolderSource
from imagen.data.openmoji.source import OpenMojiSource
from imagen.data.shapes_source import SHAPES, ShapesSource
from imagen.data.source import AllButEveryNth, EveryNth, First, Source
from imagen.data.web_dataset import WebDatasetSource


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "pictures"
    place.mkdir()
    rows = [{"file_name": f"{i}.png", "text": f"picture {i}"} for i in range(6)]
    for row in rows:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(place / row["file_name"])
    (place / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return place


def test_a_folder_is_known_wherever_it_lies_by_its_names_and_captions(folder, tmp_path):
    world = ImageFolderSource(folder).world
    assert str(world) == "the pictures in pictures"
    moved = ImageFolderSource(shutil.move(folder, tmp_path / "moved")).world
    assert moved.is_same(world) is True
    metadata = tmp_path / "moved" / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace("picture 3", "a cat"))
    assert ImageFolderSource(tmp_path / "moved").world.is_same(world) is False


def test_parts_of_a_source_have_its_world(folder):
    source = ImageFolderSource(folder)
    parts = [AllButEveryNth(source, 3), EveryNth(source, 3), First(source, 2), without(source, {1})]
    assert {part.world for part in parts} == {source.world}


def test_all_splits_seeds_and_sizes_of_the_shapes_world_are_one():
    assert ShapesSource(0, 4, "train", 16).world == ShapesSource(1, 9, "held_out", 32).at(8).world == SHAPES


def test_all_splits_of_openmoji_are_one_world(tmp_path):
    train, held_out = (OpenMojiSource(split, 64, tmp_path) for split in ("train", "held_out"))
    assert train.world == held_out.world
    assert train.world.is_same(SHAPES) is False


def test_shards_are_known_by_the_names_in_them(folder, tmp_path):
    def packed(name: str, rows: range) -> WebDatasetSource:
        place = tmp_path / name
        place.mkdir()
        with tarfile.open(place / "00000.tar", "w") as archive:
            for i in rows:
                (folder / f"{i}.txt").write_text(f"picture {i}")
                archive.add(folder / f"{i}.png", f"{i}.png")
                archive.add(folder / f"{i}.txt", f"{i}.txt")
        return WebDatasetSource(place, tmp_path / "index")

    one = packed("one", range(4))
    assert packed("copy", range(4)).world.is_same(one.world) is True
    assert packed("more", range(6)).world.is_same(one.world) is False


def test_all_splits_of_a_data_set_on_this_disk_are_one_world(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})

    def table(count: int) -> "datasets.Dataset":
        pictures = [Image.new("RGB", (6, 4), (60 * i, 0, 0)) for i in range(count)]
        return datasets.Dataset.from_dict({"image": pictures, "text": ["a"] * count}, features)

    for name, sizes in (("one", (3, 2)), ("other", (4, 2))):
        splits = dict(zip(("train", "validation"), map(table, sizes), strict=True))
        datasets.DatasetDict(splits).save_to_disk(str(tmp_path / name))
    train, validation = (HuggingFaceSource(str(tmp_path / "one"), split) for split in ("train", "validation"))
    assert train.world == validation.world
    moved = HuggingFaceSource(str(shutil.copytree(tmp_path / "one", tmp_path / "copy")), "train")
    assert moved.world.is_same(train.world) is True
    assert HuggingFaceSource(str(tmp_path / "other"), "train").world.is_same(train.world) is False


def test_a_source_of_somebody_else_is_known_by_its_identity():
    class Mine(Source):
        name = "mine"

        def __init__(self, seed: int) -> None:
            self.seed = seed

        @property
        def identity(self):
            return {"name": self.name, "seed": self.seed}

        def __len__(self):
            return 1

        def __getitem__(self, index):
            raise IndexError

        def captions_by_row(self):
            return [("a",)]

    assert Mine(1).world == Mine(1).world
    assert Mine(1).world.is_same(Mine(2).world) is False
