"""The real pictures that a Fréchet distance is taken to."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from imagen.data.image_folder import ImageFolderSource
from imagen.data.source import AllButEveryNth
from imagen.errors import UserError
from imagen.evaluation.reference import SourceReference, reference_features

from .test_processes import MeanColour


def write(folder, value, when):
    """Three grey pictures, changed at `when` seconds; uncompressed, so that their files have the same size."""
    folder.mkdir(exist_ok=True)
    names = [f"{i}.bmp" for i in range(3)]
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


def test_small_pictures_can_be_left_out_of_a_reference(tmp_path):
    folder = tmp_path / "real"
    write(folder, 10, 1000)
    Image.fromarray(np.full((8, 30, 3), 10, dtype=np.uint8)).save(folder / "1.bmp")
    source = ImageFolderSource(folder)
    with pytest.raises(UserError, match=r"1\.bmp .*30 × 8 pixels are fewer .*metrics\.reference\.min_side=16 leaves"):
        list(SourceReference(source).batches(16))
    reference = SourceReference(source, min_side=16)
    assert (reference.count, reference.source.row(1)) == (2, 2)
    assert [len(pixels) for pixels in reference.batches(16)] == [2]
    assert reference.identity != SourceReference(source, 2).identity
    with pytest.raises(UserError, match=r"no picture of .* has metrics\.reference\.min_side=21 pixels a side"):
        SourceReference(source, min_side=21)
