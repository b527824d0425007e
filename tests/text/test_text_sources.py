import hashlib
import re
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from fake_encoder import FEATURES, FakeEncoder, expected
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from imagen.errors import UserError
from imagen.text.encoders import HuggingFaceEncoder
from imagen.text.sources import CachedText, NoText, OnlineText, RememberedText, make_text_source

ROOT = Path(__file__).parents[2]
SHAPES_T5 = ROOT / "assets" / "shapes_t5"
CONFIGURATIONS = [path for path in sorted((ROOT / "conf" / "text").glob("*.yaml")) if path.stem != "stage"]


def test_cached_and_online_give_the_same_vectors(t5_folder, tmp_path):
    captions = ["a red circle", "", "a blue square left of the red circle", "a red circle"]
    encoder = HuggingFaceEncoder(t5_folder)
    cached, online = CachedText(encoder, tmp_path), OnlineText(encoder)
    cached.prepare(captions)
    one, other = cached.embed(captions), online.embed(captions)
    assert one.lengths == other.lengths == (4, 0, 9, 4)
    assert one.values.dtype == other.values.dtype == torch.float32
    torch.testing.assert_close(one.values, other.values, atol=0, rtol=2**-7)  # one unit of bfloat16
    assert torch.equal(one.values, one.values.bfloat16().float())
    assert cached.fingerprint == online.fingerprint == encoder.fingerprint


def test_online_encodes_a_repeated_caption_once():
    encoder = FakeEncoder()
    found = OnlineText(encoder).embed(["a b", "c", "a b"])
    assert encoder.calls == [["a b", "c"]]
    assert torch.equal(found.values, expected(["a b", "c", "a b"]).values)


def test_online_text_is_refused_in_loader_workers():
    loader = DataLoader(
        ["a"], num_workers=1, collate_fn=OnlineText(FakeEncoder()).embed, multiprocessing_context="fork"
    )
    with pytest.raises(UserError, match=r"data\.num_workers=0"):
        list(loader)


def test_no_text_is_no_tokens():
    source = NoText(features=5)
    source.prepare(["a"])
    embeddings = source.embed(["a", "b c"])
    assert embeddings.lengths == (0, 0)
    assert embeddings.features == source.features == 5


def test_the_mode_chooses_the_source_and_the_width_is_checked(tmp_path):
    arguments = {"encoder": FakeEncoder(), "folder": tmp_path}
    assert isinstance(make_text_source("cached", features=FEATURES, **arguments), CachedText)
    assert isinstance(make_text_source("online", features=FEATURES, **arguments), OnlineText)
    with pytest.raises(UserError, match="choose cached, online or shards"):
        make_text_source("offline", features=FEATURES, **arguments)
    for mode in ("cached", "online"):
        with pytest.raises(UserError, match=f"text.features=512, .* have {FEATURES}: set text.features={FEATURES}"):
            make_text_source(mode, features=512, **arguments)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_every_configuration_makes_a_source_without_writing_or_encoding(path, tmp_path):
    paths = {"assets": str(ROOT / "assets"), "cache": str(tmp_path / "cache")}
    config = OmegaConf.create({"paths": paths, "text": OmegaConf.load(path)})
    source = instantiate(config.text)
    if path.stem != "none":
        assert isinstance(source, CachedText)
        config.text.mode = "online"
        assert isinstance(instantiate(config.text), OnlineText)
    assert not (tmp_path / "cache").exists()


def test_the_shipped_encoder_is_the_one_of_its_card():
    said = re.search(r"sha256:\*\* `([0-9a-f]{64})`", (SHAPES_T5 / "MODEL_CARD.md").read_text())
    assert said.group(1) == hashlib.sha256((SHAPES_T5 / "model.safetensors").read_bytes()).hexdigest()


def test_the_shipped_encoder_puts_its_own_colour_into_every_noun():
    encoder = HuggingFaceEncoder(SHAPES_T5)
    captions = [
        "a red circle to the left of a blue square on a white background",
        "a blue circle to the left of a red square on a white background",
        "a Red circle to the left of a BLUE square on a white background",
    ]
    one, swapped, loud = encoder(captions).rows()
    assert encoder.take_counts().warnings() == []
    assert torch.equal(one, loud)
    # "circle" (2) and "square" (9) move when the colours are swapped, and more than the distant "background" (13) does.
    moved = (one - swapped).norm(dim=-1) / one.norm(dim=-1)
    assert moved[[2, 9]].min() > 0.2
    assert moved[[2, 9]].min() > moved[13]


def test_a_remembered_source_is_asked_once_for_each_caption_and_gives_the_same():
    class Counting(OnlineText):
        asked: ClassVar[list] = []

        def embed(self, captions):
            self.asked.extend(captions)
            return super().embed(captions)

    source = Counting(FakeEncoder())
    remembered = RememberedText(source)
    for _ in range(2):
        found = remembered.embed(["red", "", "a blue cat", "red"])
    assert Counting.asked == ["red", "", "a blue cat"]
    expected = OnlineText(FakeEncoder()).embed(["red", "", "a blue cat", "red"])
    assert found.lengths == expected.lengths
    assert torch.equal(found.values, expected.values)
    assert remembered.fingerprint == source.fingerprint
