"""The CLIP of unCLIP: its vectors are a judge's, of one length; its files are those of the training."""

import shutil

import pytest
import torch
from embedded import CLIP, FEATURES, make_clip, shapes_batch

from imagen.data.pixels import as_pixels, to_uint8
from imagen.errors import UserError
from imagen.evaluation.judges.clip import ClipJudge


@pytest.fixture(scope="module")
def batch():
    return shapes_batch()


def unit(vectors):
    return torch.nn.functional.normalize(vectors, dim=1)


def test_vectors_are_those_of_a_judge_of_the_same_folder_scaled_to_a_mean_square_of_one(batch):
    judge, clip = ClipJudge(CLIP["path"], "any"), make_clip()
    pictures = judge.image_features(as_pixels(to_uint8(batch.large)))
    torch.testing.assert_close(unit(clip.pictures(batch.large).values), unit(pictures))
    torch.testing.assert_close(unit(clip.captions(batch.captions).values), unit(judge.text_features(batch.captions)))
    for signal in (clip.pictures(batch.large), clip.captions(batch.captions)):
        torch.testing.assert_close(signal.values.square().mean(dim=1), torch.ones(len(batch.images)))
        assert signal.present.all()


def test_autocast_changes_nothing(batch):
    clip = make_clip()
    with torch.autocast("cpu", torch.bfloat16):
        inside = clip.pictures(batch.large).values, clip.captions(batch.captions).values
    assert torch.equal(inside[0], clip.pictures(batch.large).values)
    assert torch.equal(inside[1], clip.captions(batch.captions).values)


def test_a_caption_without_text_has_no_vector(batch):
    signal = make_clip().captions([batch.captions[0], "", " "])
    assert signal.present.tolist() == [True, False, False]
    assert torch.equal(signal.values[1:], torch.zeros(2, FEATURES))


def test_a_vector_goes_with_its_picture_whatever_else_is_looked_at(batch):
    clip = make_clip()
    torch.testing.assert_close(clip.pictures(batch.large[2:3]).values, clip.pictures(batch.large).values[2:3])


def test_the_files_are_those_of_the_training(tmp_path, batch):
    folder = tmp_path / "judge_a"  # the name of one in assets/
    shutil.copytree(CLIP["path"], folder)
    sha256 = make_clip(path=str(folder)).sha256
    assert sha256 == make_clip().sha256
    card = folder / "config.json"
    card.write_text(card.read_text() + "\n")
    with pytest.raises(UserError, match=r"judge_a: its files have the fingerprint .*, and the stage was trained with"):
        make_clip(path=str(folder), sha256=sha256).pictures(batch.large)
    shutil.rmtree(folder)
    moved = make_clip(path=str(folder), sha256=sha256)  # found by its name
    assert torch.equal(moved.pictures(batch.large).values, make_clip().pictures(batch.large).values)


def test_a_folder_that_is_nowhere_or_of_other_vectors_is_refused(tmp_path, batch):
    with pytest.raises(UserError, match=r"CLIP folder .*nowhere"):
        make_clip(path=str(tmp_path / "nowhere")).pictures(batch.large)
    with pytest.raises(UserError, match=r"judge_a gives vectors of 64 features, and features=32"):
        make_clip(features=32).captions(["a red circle"])
    with pytest.raises(UserError, match=r"gives vectors of 64 features"):  # in the rehearsal, before pictures are read
        make_clip(features=32).pictures(batch.large.to("meta"))
    assert make_clip().captions(["", ""], "meta").values.shape == (2, FEATURES)


def test_weights_that_are_pickled_are_refused(tmp_path, batch):
    folder = tmp_path / "pickled"
    shutil.copytree(CLIP["path"], folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"has its weights in pytorch_model\.bin, and only safetensors are read"):
        make_clip(path=str(folder)).pictures(batch.large)
