"""The real pictures of a Fréchet distance."""

import json
import os
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from imagen.data.hugging_face import HuggingFaceSource
from imagen.data.image_folder import ImageFolderSource
from imagen.data.shapes_source import ShapesSource
from imagen.data.source import AllButEveryNth, EveryNth
from imagen.data.transforms import Geometry
from imagen.errors import UserError
from imagen.evaluation.sweep.reference import SourceReference, reference_features

from .test_processes import MeanColour


def write(folder, value, when, count=3):
    """Grey pictures, changed at `when` seconds; uncompressed, so that their files have the same size."""
    folder.mkdir(exist_ok=True)
    names = [f"{i}.bmp" for i in range(count)]
    for name in names:
        Image.fromarray(np.full((20, 20, 3), value, dtype=np.uint8)).save(folder / name)
        os.utime(folder / name, (when, when))
    lines = [json.dumps({"file_name": name, "text": "grey"}) for name in names]
    (folder / "metadata.jsonl").write_text("\n".join(lines))


def features(folder, out):
    reference = SourceReference(AllButEveryNth(ImageFolderSource(folder), 3))
    return reference_features(reference, [MeanColour()], 16, out)["colour"]


def test_pictures_that_were_replaced_are_looked_at_again(tmp_path):
    write(tmp_path / "real", 10, 1000)
    before = features(tmp_path / "real", tmp_path / "out")
    features(tmp_path / "real", tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 1
    write(tmp_path / "real", 200, 2000)
    after = features(tmp_path / "real", tmp_path / "out")
    assert (after > before + 0.5).all()


def test_pictures_that_were_replaced_with_the_size_and_time_of_the_old_are_looked_at_again(tmp_path):
    write(tmp_path / "real", 10, 1000)
    before = features(tmp_path / "real", tmp_path / "out")
    copied = SourceReference(ImageFolderSource(tmp_path / "real")).identity
    write(tmp_path / "real", 200, 1000)
    assert SourceReference(ImageFolderSource(tmp_path / "real")).identity == copied  # as after cp -p on another machine
    assert (features(tmp_path / "real", tmp_path / "out") > before + 0.5).all()


def saved_table(folder):
    """A parquet file with two columns of pictures, one dark and one light."""
    from datasets import Dataset

    columns = {"text": ["a"] * 4}
    for name, value in (("dark", 10), ("light", 200)):
        content = BytesIO()
        Image.fromarray(np.full((20, 20, 3), value, dtype=np.uint8)).save(content, "png")
        columns[name] = [{"bytes": content.getvalue(), "path": None}] * 4
    folder.mkdir()
    Dataset.from_dict(columns).to_parquet(folder / "train.parquet")
    return folder


def test_other_rows_or_columns_of_the_same_files_are_another_reference(tmp_path):
    write(tmp_path / "real", 10, 1000, count=6)
    table = saved_table(tmp_path / "table")
    of_folder = ImageFolderSource(tmp_path / "real")
    pairs = [
        (EveryNth(of_folder, 2), AllButEveryNth(of_folder, 2)),
        (ShapesSource(1, 4, "train", 16), ShapesSource(2, 4, "train", 16)),
        (ShapesSource(1, 4, "train", 16), ShapesSource(1, 4, "train", 32)),
        tuple(HuggingFaceSource(str(table), "train", image_column=name) for name in ("dark", "light")),
    ]
    for one, other in pairs:
        assert len(one) == len(other)
        assert SourceReference(one).identity != SourceReference(other).identity
        assert SourceReference(one).identity == SourceReference(one).identity
    dark, light = (
        reference_features(SourceReference(source), [MeanColour()], 16, tmp_path / "out")["colour"]
        for source in pairs[-1]
    )
    assert (light > dark + 0.5).all()


def test_small_pictures_can_be_left_out_of_a_reference(tmp_path):
    folder = tmp_path / "real"
    write(folder, 10, 1000)
    Image.fromarray(np.full((8, 30, 3), 10, dtype=np.uint8)).save(folder / "1.bmp")
    source = ImageFolderSource(folder)
    with pytest.raises(UserError, match=r"1\.bmp .*30 × 8 pixels are fewer .*metrics\.reference\.min_side=16 skips"):
        list(SourceReference(source).batches(16))
    reference = SourceReference(source, min_side=16)
    assert (reference.count, reference.source.row(1)) == (2, 2)
    assert [len(pixels) for pixels in reference.batches(16)] == [2]
    assert reference.identity != SourceReference(source, 2).identity
    with pytest.raises(UserError, match=r"no picture of .* has metrics\.reference\.min_side=21 pixels a side"):
        SourceReference(source, min_side=21)


def test_a_source_that_draws_its_pictures_draws_them_at_the_size_of_the_generated_ones():
    source = ShapesSource(1, 4, "train", 64)
    picture = SourceReference(source).picture(2, 24)
    assert np.array_equal(picture, ShapesSource(1, 4, "train", 24)[2].image)
    assert not np.array_equal(picture, Geometry()(source[2].image, 24, key=0)), "drawn large and made smaller"
