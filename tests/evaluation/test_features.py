import json
import shutil

import pytest
import torch
from PIL import Image

from imagen.clip.preprocessing import ClipPreprocessing
from imagen.data.pixels import as_pixels
from imagen.errors import UserError
from imagen.evaluation.judges.clip import ClipJudge
from imagen.evaluation.judges.extractor import cosines

from .stand_ins import clip_folder

SENTENCE = "a red circle to the left of a blue square"


@pytest.mark.parametrize(("height", "width"), [(32, 32), (16, 16), (100, 100), (40, 64), (75, 33)])
def test_preprocessing_equals_the_hugging_face_processor(clip, height, width):
    from transformers import CLIPImageProcessor

    generator = torch.Generator().manual_seed(height)
    pixels = torch.randint(0, 256, (3, height, width, 3), generator=generator, dtype=torch.uint8)
    theirs = CLIPImageProcessor.from_pretrained(clip)(list(pixels.numpy()), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ClipPreprocessing.from_folder(clip)(pixels), theirs, atol=1e-5, rtol=0)


def test_the_crop_may_be_smaller_than_the_resize(tmp_path, random_pixels):
    from transformers import CLIPImageProcessor

    folder = clip_folder(tmp_path, image_size=32, shortest_edge=40)
    theirs = CLIPImageProcessor.from_pretrained(folder)(list(random_pixels.numpy()), return_tensors="pt")
    ours = ClipPreprocessing.from_folder(folder)(random_pixels)
    torch.testing.assert_close(ours, theirs["pixel_values"], atol=1e-5, rtol=0)


def test_features_and_cosines_equal_those_of_the_hugging_face_pipeline(clip, judge, random_pixels):
    from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel, CLIPProcessor

    captions = [f"{SENTENCE} {number}" for number in range(len(random_pixels))]
    processor = CLIPProcessor(CLIPImageProcessor.from_pretrained(clip), AutoTokenizer.from_pretrained(clip))
    pictures = [Image.fromarray(picture.numpy()) for picture in random_pixels]
    with torch.inference_mode():
        output = CLIPModel.from_pretrained(clip)(
            **processor(text=captions, images=pictures, return_tensors="pt", padding=True)
        )
    images, texts = judge.image_features(random_pixels), judge.text_features(captions)
    torch.testing.assert_close(torch.nn.functional.normalize(images), output.image_embeds, atol=1e-5, rtol=0)
    expected = (output.image_embeds * output.text_embeds).sum(dim=1)
    torch.testing.assert_close(cosines(images, texts), expected.double(), atol=1e-5, rtol=0)


def test_features_are_not_normalised_and_do_not_depend_on_the_batch(judge, random_pixels):
    whole = judge.image_features(random_pixels)
    alone = torch.cat([judge.image_features(picture[None]) for picture in random_pixels])
    torch.testing.assert_close(whole, alone, atol=1e-5, rtol=1e-4)
    assert whole.norm(dim=1).std() > 1e-4


def test_two_long_captions_with_different_beginnings_have_different_features(judge):
    # Without the end-of-text token, CLIP pools at position 0 and all long captions are one (torchmetrics #2883).
    one, other = judge.text_features(["abc " * 60, "xyz " * 60])
    assert (one - other).abs().max() > 1e-2


def test_a_long_caption_is_cut_before_the_end_of_text_token(judge):
    letters = "abcdefgh" * 20
    torch.testing.assert_close(judge.text_features([letters]), judge.text_features([letters + "zzzz"]))
    kept = judge.tokenizer(letters, truncation=True, max_length=judge.max_tokens)["input_ids"]
    assert len(kept) == judge.max_tokens
    assert kept[-1] == judge.tokenizer.eos_token_id


def test_captions_that_are_too_long_are_known(judge):
    assert judge.too_long(["short", "long " * 40, "a", "short"]) == [False, True, False, False]
    assert judge.too_long(["a" * 75, "a" * 76]) == [False, True]  # 75 letters and two special tokens just fit
    assert judge.too_long([]) == []


def test_captions_are_encoded_once(clip):
    judge = ClipJudge(clip, "tiny", device="cpu")
    calls = []
    encode = judge.model.get_text_features
    judge.model.get_text_features = lambda *args, **kwargs: calls.append(len(args[0])) or encode(*args, **kwargs)
    first = judge.text_features(["a", "b", "a"])
    again = judge.text_features(["b", "c"])
    assert calls == [2, 1]
    torch.testing.assert_close(first[0], first[2])
    torch.testing.assert_close(first[1], again[0])


def test_a_folder_that_is_no_judge_is_refused(tmp_path, clip):
    with pytest.raises(UserError, match="does not exist"):
        ClipJudge(tmp_path / "nowhere", "x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds none of model\.safetensors"):
        ClipJudge(tmp_path / "empty", "x")
    shutil.copytree(clip, tmp_path / "other")
    (tmp_path / "other/preprocessor_config.json").write_text(json.dumps({"resample": 2}))
    with pytest.raises(UserError, match="only bicubic"):
        ClipJudge(tmp_path / "other", "x")


def test_pictures_that_are_not_uint8_are_refused():
    with pytest.raises(UserError, match="uint8"):
        as_pixels(torch.zeros(2, 8, 8, 3))
    with pytest.raises(UserError, match="uint8"):
        as_pixels(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
