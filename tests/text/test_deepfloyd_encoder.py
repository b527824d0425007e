"""T5 as DeepFloyd IF reads it, against diffusers' own pipeline."""

import pytest
import torch

from benchmarks.deepfloyd.tiny import save_if_base
from imagen.errors import UserError
from imagen.text.deepfloyd import cleaning
from imagen.text.deepfloyd.cleaning import cleaned
from imagen.text.deepfloyd.encoder import DeepFloydEncoder
from imagen.text.model_files import MissingModelError

diffusers = pytest.importorskip("diffusers")

CAPTIONS = ["a red circle", "  A Blue SQUARE and a green circle ", "the " * 90]
DIRTY = [
    "  A <b>RED</b> circle &amp; https://example.com/x.png #123456 @somebody ",
    "“Quoted” — 12345678 photo.jpg  click on this  jc6640vc 漢字 １２",
    "this_is_my_cute-cat-photo: ***SALE*** free shipping 1024x768 &lt;i&gt;",
    "&amp;quot;twice&amp;quot; escaped, 10.0.0.1 worldwide",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_if_base(tmp_path_factory.mktemp("models") / "IF-I")


@pytest.fixture(scope="module")
def pipeline(folder):
    from transformers import AutoTokenizer, T5EncoderModel

    return diffusers.IFPipeline(
        tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer"),
        text_encoder=T5EncoderModel.from_pretrained(folder / "text_encoder"),
        unet=diffusers.UNet2DConditionModel.from_pretrained(folder / "unet"),
        scheduler=diffusers.DDPMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )


@pytest.mark.parametrize("cleans", [False, True])
def test_vectors_are_those_of_diffusers_pipeline_the_padding_included(folder, pipeline, cleans):
    encoder, captions = DeepFloydEncoder(folder, cleaning=cleans), [*CAPTIONS, *DIRTY]
    vectors = torch.stack(encoder(captions).rows())
    theirs, empty = pipeline.encode_prompt(captions, clean_caption=cleans)
    assert vectors.shape == (len(captions), 77, 16)
    torch.testing.assert_close(vectors, theirs, rtol=0, atol=1e-5)
    torch.testing.assert_close(encoder.empty_prompt()[0], empty[0].bfloat16().float(), rtol=0, atol=1e-2)
    assert encoder.take_counts().truncated == 1


def test_captions_are_cleaned_as_by_diffusers(pipeline):
    assert [cleaned(caption) for caption in DIRTY] == pipeline._text_preprocessing(DIRTY, clean_caption=True)
    assert cleaned(" A <b>RED</b> circle ") == "a red circle"


def test_an_empty_caption_is_the_null_text_as_everywhere(folder):
    assert DeepFloydEncoder(folder)(["", "a red circle", "  "]).lengths == (0, 77, 0)


def test_padding_and_cleaning_are_part_of_the_fingerprint(folder):
    plain, cleans = (DeepFloydEncoder(folder, cleaning=cleaning).fingerprint for cleaning in (False, True))
    assert {name for name in plain if plain[name] != cleans[name]} == {"captions"}
    assert plain["padding"] == "kept"
    shorter = DeepFloydEncoder(folder, max_length=20)
    assert shorter(["a red circle"]).lengths == (20,)
    assert shorter.fingerprint != plain


def test_cleaning_without_its_packages_is_refused(monkeypatch):
    monkeypatch.setattr(cleaning, "find_spec", lambda name: None if name == "ftfy" else object())
    with pytest.raises(UserError, match=r"cleaning=true needs ftfy: pip install -e '.\[deepfloyd\]'"):
        cleaned("a")


def test_a_folder_without_an_encoder_is_refused(tmp_path):
    (tmp_path / "text_encoder").mkdir()
    with pytest.raises(MissingModelError, match=r"text_encoder.*config.json is missing"):
        _ = DeepFloydEncoder(tmp_path).features
