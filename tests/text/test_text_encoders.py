import json
import os
import re
import shutil
import socket
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tiny_models import WORDS, save_bert, save_clip, save_t5, save_tokenizer

from imagen.errors import UserError
from imagen.text.encoders import HuggingFaceEncoder
from imagen.text.model_files import MissingModelError, hash_files
from imagen.text.tokens import tokenise

ROOT = Path(__file__).parents[2]
INDEX = "model.safetensors.index.json"
CAPTIONS = ["a red circle", "a blue square left of a green circle", "the circle"]


def test_encoding_leaves_the_settings_of_the_process_as_they_were(t5_folder, monkeypatch):
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils import logging

    def settings():
        bars = (logging.is_progress_bar_enabled(), not are_progress_bars_disabled())
        return os.environ.get("TOKENIZERS_PARALLELISM"), logging.get_verbosity(), *bars

    def observed(*arguments):
        during.append(settings())
        return tokenise(*arguments)

    during = []
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    monkeypatch.setattr("imagen.text.encoders.tokenise", observed)
    level = logging.get_verbosity()
    logging.enable_progress_bar()
    logging.set_verbosity_info()
    try:
        HuggingFaceEncoder(t5_folder)(CAPTIONS)
        assert during == [("false", logging.ERROR, False, False)]
        assert settings() == (None, logging.INFO, True, True)
    finally:
        logging.set_verbosity(level)


def test_vectors_are_those_of_transformers_for_each_caption_alone(t5_folder):
    from transformers import AutoTokenizer, T5EncoderModel

    model, tokenizer = T5EncoderModel.from_pretrained(t5_folder).eval(), AutoTokenizer.from_pretrained(t5_folder)
    encoder = HuggingFaceEncoder(t5_folder, batch_size=2)
    embeddings = encoder(CAPTIONS)
    assert embeddings.lengths == (4, 9, 3)
    assert encoder.features == embeddings.features == 16
    for caption, vectors in zip(CAPTIONS, embeddings.rows(), strict=True):
        with torch.no_grad():
            alone = model(**tokenizer([caption], return_tensors="pt")).last_hidden_state[0]
        torch.testing.assert_close(vectors, alone, atol=1e-5, rtol=1e-5)
    assert not embeddings.values.requires_grad


def test_bfloat16_runs_the_model_in_bfloat16(t5_folder):
    assert HuggingFaceEncoder(t5_folder, dtype="bfloat16")(CAPTIONS).values.dtype == torch.bfloat16


def test_clip_text_gives_its_penultimate_layer_and_bert_comes_without_its_head(tmp_path):
    from transformers import CLIPModel

    clip = save_clip(tmp_path / "clip")
    vectors = HuggingFaceEncoder(clip, max_length=12, layer=-2)(["a red circle"]).values
    ids = torch.tensor([[3, 5, 8, 1]])
    with torch.no_grad():
        states = CLIPModel.from_pretrained(clip).text_model(input_ids=ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(vectors, states[-2][0])
    bert = HuggingFaceEncoder(save_bert(tmp_path / "bert"), max_length=20)
    assert bert(CAPTIONS).values.shape == (16, 16)


def test_cut_empty_and_unknown_captions_are_counted(t5_folder):
    encoder = HuggingFaceEncoder(t5_folder, max_length=5)
    embeddings = encoder(["a red circle left of a square", "", " \n", "a 🦊 on the square"])
    assert embeddings.lengths == (5, 0, 0, 5)
    assert encoder.take_counts().warnings() == [
        "2 of 4 captions are longer than 5 tokens and were cut",
        "2 of 4 captions are empty: they are encoded as no text at all",
        "1 of 4 captions hold words that the tokenizer does not know (20.0% of all tokens), "
        "for example 'a 🦊 on the square'",
    ]
    assert encoder.take_counts().warnings() == []


def test_what_is_not_unicode_is_refused_by_its_number(t5_folder):
    with pytest.raises(UserError, match=r"caption 1, .* not Unicode text"):
        HuggingFaceEncoder(t5_folder)(["a red circle", "\ud800"])


def test_odd_text_is_text(t5_folder):
    odd = ["nul \0 inside", "\ufeffa red circle", "שלום עולם", "赤い円", "circle " * 10_000]
    assert min(HuggingFaceEncoder(t5_folder)(odd).lengths) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "float16"}, "float16.*float32 or bfloat16"),
        ({"max_length": 0}, "max_length 0"),
        ({"batch_size": -1}, "batch_size -1"),
        ({"layer": 3}, "layer 3"),
    ],
)
def test_settings_out_of_range_are_refused(t5_folder, arguments, message):
    with pytest.raises(UserError, match=message):
        HuggingFaceEncoder(t5_folder, **arguments)


def test_captions_longer_than_the_model_reads_are_refused_before_it_runs(tmp_path):
    with pytest.raises(UserError, match=r"reads at most 20 tokens; set text\.encoder.max_length=20"):
        HuggingFaceEncoder(save_bert(tmp_path), max_length=21)(["a"])


@pytest.mark.parametrize("path", ["google/t5-v1_1-xxl", "/no/such/folder", "no_such_folder"])
def test_an_absent_model_is_named_at_once_without_a_connection(path, monkeypatch, tmp_path):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    encoder, begun = HuggingFaceEncoder(path), time.monotonic()
    for ask in (lambda: encoder(["a"]), lambda: encoder.fingerprint, lambda: encoder.features):
        with pytest.raises(MissingModelError, match=f"{path}.*text.encoder.path"):
            ask()
    assert time.monotonic() - begun < 60


def test_the_fingerprint_survives_a_move_and_tells_everything_else_apart(t5_folder, tmp_path):
    base = HuggingFaceEncoder(t5_folder).fingerprint
    moved = shutil.copytree(t5_folder, tmp_path / "moved")
    assert HuggingFaceEncoder(moved, batch_size=3, device="cpu").fingerprint == base
    other_words = shutil.copytree(t5_folder, tmp_path / "words")
    save_tokenizer(other_words, [*reversed(WORDS)])
    changed = {
        "max_length": HuggingFaceEncoder(t5_folder, max_length=64),
        "dtype": HuggingFaceEncoder(t5_folder, dtype="bfloat16"),
        "layer": HuggingFaceEncoder(t5_folder, layer=-2),
        "revision": HuggingFaceEncoder(t5_folder, revision="0123abc"),
        "model": HuggingFaceEncoder(save_t5(tmp_path / "weights", seed=1)),
        "tokenizer": HuggingFaceEncoder(other_words),
    }
    for name, encoder in changed.items():
        assert {key for key in base if base[key] != encoder.fingerprint[key]} == {name}


def test_the_fingerprint_is_of_the_files_that_are_loaded(t5_folder, tmp_path):
    folder = shutil.copytree(t5_folder, tmp_path / "t5")
    whole, shard, index = (folder / f"{name}" for name in ("model.safetensors", "a.safetensors", INDEX))
    shutil.copy(whole, shard)
    weight_map = {"shared.weight": "a.safetensors"}
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    both = HuggingFaceEncoder(folder)
    assert both.fingerprint == HuggingFaceEncoder(t5_folder).fingerprint  # transformers takes the whole file
    shutil.copy(save_t5(tmp_path / "other", seed=1) / "model.safetensors", whole)
    other = HuggingFaceEncoder(folder)
    assert not torch.equal(other(CAPTIONS).values, HuggingFaceEncoder(t5_folder)(CAPTIONS).values)
    assert other.fingerprint != both.fingerprint
    whole.unlink()
    sharded = HuggingFaceEncoder(folder)
    torch.testing.assert_close(sharded(CAPTIONS).values, HuggingFaceEncoder(t5_folder)(CAPTIONS).values)
    assert sharded.fingerprint["model"] == hash_files([folder / "config.json", shard])
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(UserError, match="metadata"):
        HuggingFaceEncoder(folder)(CAPTIONS)
    for name in ("../a.safetensors", str(shard)):
        index.write_text(json.dumps({"weight_map": {"shared.weight": name}}))
        with pytest.raises(UserError, match="is not the name of a file in this folder"):
            _ = HuggingFaceEncoder(folder).fingerprint
    for strange in ([], "x", None, {"a": 5}, {"a": ["x"]}):
        index.write_text(json.dumps({"weight_map": strange}))
        with pytest.raises(UserError, match="weight_map must name a file for each tensor; restore the index"):
            _ = HuggingFaceEncoder(folder).fingerprint


def test_every_file_of_a_tokenizer_that_transformers_knows_is_in_the_fingerprint(t5_folder, tmp_path):
    models = Path(find_spec("transformers").origin).parent / "models"
    names = set()
    for path in models.glob("*/tokenization_*.py"):
        for table in re.findall(r"VOCAB_FILES_NAMES = (\{.*?\})", path.read_text(encoding="utf-8"), re.DOTALL):
            names |= set(re.findall(r':\s*"([^"]+)"', table))
    assert {"spiece.model", "spm.model", "vocab.txt", "bpe.codes"} <= names
    for name in sorted(names | {"tokenizer.4.0.json", "special_tokens_map.json", "tokenizer_config.json"}):
        folder = shutil.copytree(t5_folder, tmp_path / name)
        (folder / name).write_text("another")
        assert HuggingFaceEncoder(folder).fingerprint != HuggingFaceEncoder(t5_folder).fingerprint, name


def test_the_shipped_encoder_keeps_the_fingerprint_that_caches_and_stages_hold():
    shipped = HuggingFaceEncoder(ROOT / "assets" / "shapes_t5").fingerprint
    for stage in ("base", "sr1"):
        assert json.loads((ROOT / "assets" / "cascade" / stage / "config.json").read_text())["text"] == shipped


def test_damaged_weights_are_refused(t5_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    cut = shutil.copytree(t5_folder, tmp_path / "cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"cut: .*Model does not load"):
        HuggingFaceEncoder(cut.parent)(["a"])
    partial = shutil.copytree(t5_folder, tmp_path / "partial") / "model.safetensors"
    weights = load_file(partial)
    save_file({name: weights[name] for name in list(weights)[1:]}, partial, metadata={"format": "pt"})
    with pytest.raises(UserError, match="1 weights are missing"):
        HuggingFaceEncoder(partial.parent)(["a"])
    (partial.parent / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: not JSON"):
        HuggingFaceEncoder(partial.parent)(["a"])
    partial.rename(partial.with_name("pytorch_model.bin"))
    with pytest.raises(MissingModelError, match="only safetensors"):
        _ = HuggingFaceEncoder(partial.parent).fingerprint


def test_vectors_that_are_not_finite_are_refused(t5_folder):
    encoder = HuggingFaceEncoder(t5_folder)
    encoder._model.get_input_embeddings().weight.data[5] = torch.nan
    with pytest.raises(UserError, match="not finite in float32"):
        encoder(["a red circle"])
