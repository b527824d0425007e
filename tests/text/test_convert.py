"""Pickled weights of a text encoder become safetensors, once."""

import os

import pytest
import torch
from tiny_models import save_t5, save_tokenizer

from imagen.app.convert import convert
from imagen.errors import UserError
from imagen.fetching.absent import how_to_fetch
from imagen.fetching.lock import read_lock
from imagen.text.encoders import HuggingFaceEncoder


class Evil:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.fixture
def pickled(tmp_path):
    """A T5 of the kind that T5 v1.1 repositories hold: encoder and decoder, in pytorch_model.bin."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config).eval()
    folder = tmp_path / "t5-v1_1-base"
    config.save_pretrained(folder)
    save_tokenizer(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder, model


def test_the_converted_encoder_gives_the_vectors_of_the_pickled_one(pickled, monkeypatch, capsys):
    folder, model = pickled
    with pytest.raises(UserError, match=rf"imagen convert {folder}"):
        HuggingFaceEncoder(folder)(["a"])
    monkeypatch.setenv("IMAGEN_MODELS", str(folder.parent))
    convert("t5-v1_1-base")
    assert f"{folder / 'model.safetensors'}; pytorch_model.bin beside it is no longer needed" in capsys.readouterr().out
    found = HuggingFaceEncoder(folder, device="cpu")(["a red circle"])
    ids = torch.tensor([HuggingFaceEncoder(folder)._tokenizer("a red circle").input_ids])
    with torch.no_grad():
        expected = model.encoder(ids).last_hidden_state[0]
    torch.testing.assert_close(found.values, expected)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    with pytest.raises(UserError, match="has safetensors already"):
        convert(str(folder))


def test_what_cannot_be_converted_is_one_line_and_runs_nothing(pickled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, _ = pickled
    torch.save({"encoder.weight": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="T5EncoderModel does not load"):
        convert(str(folder))
    assert not (tmp_path / "ran").exists()
    with pytest.raises(UserError, match=r"no pytorch_model\.bin: there is nothing to convert"):
        convert(str(save_t5(tmp_path / "other")))


def test_every_way_to_fetch_ends_in_weights_that_are_read():
    for model in read_lock().values():
        said = how_to_fetch(model.id)
        assert f"imagen fetch {model.id}" in said
        read = any(file.name.endswith((".safetensors", ".pth")) for file in model.files)
        assert (f"imagen convert {model.id}" in said) != read
        assert ("imagen convert" in model.use) != read
