"""Probabilities of answers are those of the model itself, whatever the batch."""

import shutil

import pytest
import torch
from PIL import Image
from tiny_models import save_bert

from imagen.errors import UserError
from imagen.evaluation.judges.vlm.judge import VlmJudge
from imagen.evaluation.prompts.prompt_set import Question

from .conftest import CAPTIONS
from .tiny_vlms import save_llava


def by_hand(folder, picture, text, **decoder):
    """The probabilities of every token after `text`, from one pass of transformers over one picture."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = processor(text=text, images=Image.fromarray(picture.numpy()), return_tensors="pt", **decoder)
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.tensor([[model.config.text_config.decoder_start_token_id]])
    with torch.inference_mode():
        probabilities = model(**inputs).logits[0, -1].softmax(dim=-1)
    return lambda *words: float(probabilities[processor.tokenizer.convert_tokens_to_ids(list(words))].sum())


def chat(question):
    return f"<s>USER: <image> {question} ASSISTANT: "


def test_the_score_of_a_caption_is_the_probability_of_yes_after_the_question_of_vqascore(vlm, llava, pictures):
    scores = vlm.caption_scores(pictures, CAPTIONS)
    assert scores.dtype == torch.float64
    for picture, caption, score in zip(pictures, CAPTIONS, scores.tolist(), strict=True):
        text = chat(f'Does this figure show "{caption}"? Please answer yes or no.')
        probability = by_hand(llava, picture, text, add_special_tokens=False)
        assert score == pytest.approx(probability("Yes"), rel=1e-4)
    assert scores.std() / scores.mean() > 0.1


def test_the_picture_matters_and_the_batch_does_not(vlm, llava, pictures):
    alone = VlmJudge(llava, "tiny", device="cpu", batch_size=1)
    together = vlm.caption_scores(pictures, CAPTIONS)
    torch.testing.assert_close(alone.caption_scores(pictures, CAPTIONS), together, rtol=1e-4, atol=0)
    assert not torch.allclose(vlm.caption_scores(pictures.flip(0), CAPTIONS), together, rtol=0.1)
    assert vlm.caption_scores(pictures[:0], []).shape == (0,)


def test_the_first_position_of_a_decoder_is_taken_where_there_is_an_encoder(blip2, pictures):
    judge = VlmJudge(blip2, "encoder", prompt="Is there {caption}?", device="cpu", batch_size=4)
    assert judge.chat is False
    scores = judge.caption_scores(pictures, CAPTIONS)
    for picture, caption, score in zip(pictures, CAPTIONS, scores.tolist(), strict=True):
        assert score == pytest.approx(by_hand(blip2, picture, f"Is there {caption}?")("Yes"), rel=1e-4)


def test_a_question_gets_the_probability_of_every_form_of_its_answer(vlm, llava, pictures):
    questions = [Question("How many circles are in the image?", "two"), Question("Is there a circle?", "Yes")]
    found = vlm.answers(pictures[:2], [questions, []])
    asked = [chat(f"{question.text} Answer in one word.") for question in questions]
    many, there = (by_hand(llava, pictures[0], text, add_special_tokens=False) for text in asked)
    assert found[1] == []
    assert found[0] == pytest.approx([many("two", "Two", "2"), there("Yes", "yes")], rel=1e-4)


def test_texts_without_a_chat_hold_the_token_of_the_picture_themselves(llava, vlm, pictures):
    same = VlmJudge(
        llava, "tiny", prompt='USER: <image> Does this figure show "{caption}"? Please answer yes or no. ASSISTANT: ',
        chat=False, device="cpu",
    )  # fmt: skip
    text = 'USER: <image> Does this figure show "a circle"? Please answer yes or no. ASSISTANT: '
    expected = by_hand(llava, pictures[2], text)("Yes")
    assert float(same.caption_scores(pictures[2:3], CAPTIONS[2:3])) == pytest.approx(expected, rel=1e-4)
    bare = VlmJudge(llava, "tiny", chat=False, device="cpu")
    with pytest.raises(UserError, match=r"judge tiny: its processor does not take a picture with .*0 <image> tokens"):
        bare.caption_scores(pictures[:1], CAPTIONS[:1])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"answer": "Sure"}, r"answer='Sure' is 4 tokens of this model, \['S', '##u', '##r', '##e'\]"),
        ({"answer": "+"}, r"answer='\+' is 1 tokens of this model, \['<unk>'\]"),
        ({"model_class": "AutoTokenizer"}, "'AutoTokenizer' is no model class of transformers"),
        ({"model_class": "PreTrainedModel"}, "is no model class"),
        ({"model_class": "Trainer"}, "is no model class"),
        ({"model_class": "models.llava.LlavaForConditionalGeneration"}, "is no model class"),
        ({"model_class": "CLIPModel"}, "weights are missing, first"),
        ({"prompt": "Is it right?"}, r"prompt='Is it right\?' must hold \{caption\}"),
        ({"question_prompt": "?"}, r"must hold \{question\}"),
        ({"name": "a b"}, "is not a name"),
    ],
)
def test_what_cannot_judge_is_refused(llava, changes, complaint):
    with pytest.raises(UserError, match=complaint) as raised:
        VlmJudge(llava, **({"name": "tiny", "device": "cpu"} | changes))
    assert "\n" not in str(raised.value)


def test_a_folder_that_is_no_whole_model_is_refused(llava, tmp_path):
    with pytest.raises(UserError, match=r"VLM folder .*none does not exist: fetch it once with"):
        VlmJudge(tmp_path / "none", "tiny")
    folder = shutil.copytree(llava, tmp_path / "copy")
    (folder / "processor_config.json").rename(tmp_path / "processor_config.json")
    with pytest.raises(UserError, match="AutoProcessor does not load"):
        VlmJudge(folder, "tiny", device="cpu")
    with pytest.raises(UserError, match="does not take pictures with text"):
        VlmJudge(save_bert(tmp_path / "text"), "tiny", device="cpu")
    (tmp_path / "processor_config.json").rename(folder / "processor_config.json")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="has no chat template, and chat=true asks for it"):
        VlmJudge(folder, "tiny", chat=True, device="cpu")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"holds no model\.safetensors: only safetensors weights are read"):
        VlmJudge(folder, "tiny", device="cpu")


@pytest.mark.parametrize("changed", ["tokenizer_config.json", "processor_config.json", "chat_template.jinja"])
def test_every_file_is_part_of_the_identity(llava, vlm, tmp_path, changed):
    folder = shutil.copytree(llava, tmp_path / "copy")
    assert VlmJudge(folder, "tiny", device="cpu").identity == vlm.identity
    with (folder / changed).open("a") as file:
        file.write("\n")
    other = VlmJudge(folder, "tiny", device="cpu").identity
    assert {name for name in other["files"] if other["files"][name] != vlm.identity["files"][name]} == {changed}


@pytest.mark.parametrize(
    "changes", [{"answer": "No"}, {"prompt": "{caption}?"}, {"question_prompt": "{question}"}, {"dtype": "bfloat16"}]
)
def test_every_setting_of_the_answers_is_part_of_the_identity(llava, vlm, changes):
    assert VlmJudge(llava, "tiny", device="cpu", **changes).identity != vlm.identity


def test_settings_of_generation_that_the_folder_brings_change_nothing(llava, vlm, tmp_path, pictures):
    folder = shutil.copytree(llava, tmp_path / "copy")
    settings = '{"do_sample": true, "temperature": 9.0, "num_beams": 3, "bos_token_id": 1, "eos_token_id": 2}'
    (folder / "generation_config.json").write_text(settings)
    other = VlmJudge(folder, "tiny", device="cpu", batch_size=3)
    assert torch.equal(other.caption_scores(pictures, CAPTIONS), vlm.caption_scores(pictures, CAPTIONS))


def test_a_name_that_looks_published_gets_the_hash_of_the_files(llava):
    name = VlmJudge(llava, "vqascore", device="cpu").name
    assert name.startswith("vqascore:")
    assert len(name) == len("vqascore:") + 8


def test_broken_weights_give_no_number(tmp_path, pictures):
    from safetensors.torch import load_file, save_file

    folder = save_llava(tmp_path / "llava")
    tensors = load_file(folder / "model.safetensors")
    broken = {name: tensor * torch.nan if "norm" in name else tensor for name, tensor in tensors.items()}
    save_file(broken, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="contain nan or infinity: its weights are broken"):
        VlmJudge(folder, "tiny", device="cpu").caption_scores(pictures[:1], CAPTIONS[:1])
