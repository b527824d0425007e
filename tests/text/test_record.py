"""What an export records of the text source."""

from contextlib import suppress
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from imagen.errors import UserError
from imagen.places import ROOT
from imagen.text.bag_of_words import BagOfWords
from imagen.text.record import build_source, differences, for_sampling, name_of, places_of, record_of
from imagen.text.sources import OnlineText


def section(compose_config, *overrides: str) -> dict:
    return OmegaConf.to_container(compose_config("train", *overrides).text, resolve=True)


def test_the_cache_and_how_a_data_set_was_encoded_are_not_recorded(compose_config):
    record = record_of(section(compose_config, "text=minilm", "text.encoder.device=cuda:3"))
    assert record == {
        "_target_": "imagen.text.sources.make_text_source",
        "mode": "online",
        "features": 384,
        "encoder": {
            "_target_": "imagen.text.encoders.HuggingFaceEncoder",
            "path": "sentence-transformers/all-MiniLM-L6-v2",
            "revision": None,
            "dtype": "float32",
            "max_length": 128,
            "layer": -1,
            "batch_size": 1,
            "device": "auto",
            "local_files_only": True,
        },
    }
    assert for_sampling(record) == record_of(record) == record
    beside_pictures = section(compose_config, "text=minilm", "text.encoder.device=cuda:3", "text.mode=shards")
    assert record_of(beside_pictures) == record


def test_a_folder_of_the_project_is_recorded_so_that_a_clone_finds_its_own(compose_config, tmp_path, monkeypatch):
    shipped = record_of(section(compose_config))
    assert shipped["encoder"]["path"] == "./assets/shapes_t5"
    assert places_of("./assets/shapes_t5") == [str(ROOT / "assets" / "shapes_t5")]
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    for given in ("mine", f"{tmp_path}/other/../mine"):
        record = record_of(section(compose_config, f"text.encoder.path={given}"))
        assert record["encoder"]["path"] == str(tmp_path / "mine")


def test_sources_without_files_are_recorded_whole_and_called_by_their_class(compose_config):
    none, bag = (record_of(section(compose_config, f"text={choice}")) for choice in ("none", "bag_of_words"))
    assert none == section(compose_config, "text=none")
    assert (name_of(none), name_of(bag)) == ("NoText", "BagOfWords")
    assert isinstance(build_source(bag, "here"), OnlineText)
    assert build_source(bag, "here").fingerprint == BagOfWords(256, 128, 0).fingerprint


def test_a_model_of_the_hub_may_lie_in_models_too(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEN_MODELS", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert places_of("someone/model") == ["someone/model", str(tmp_path / "model")]
    assert places_of("/gone/model") == [str(tmp_path / "model")]


@pytest.mark.parametrize("path", ["/..", "/gone/..", "./", "/gone/.git"])
def test_no_name_leads_out_of_models(path, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEN_MODELS", str(tmp_path / "models"))
    (tmp_path / ".git").mkdir()
    (tmp_path / "models").mkdir()
    with suppress(UserError):
        assert all(Path(place).parent not in (tmp_path, tmp_path / "models") for place in places_of(path))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"model": "a" * 64, "layer": -1}, {"model": "b" * 64, "layer": -1}, f"model: {'a' * 12}…, here {'b' * 12}…"),
        ({"model": "a", "layer": -1}, {"model": "none", "features": 8}, "model: a, here none"),
        ({"layer": -1}, {"layer": -1, "dtype": "float32"}, "dtype: None, here float32"),
        (None, {"model": "none"}, "model: None, here none"),
    ],
)
def test_two_text_sources_are_told_apart_in_a_few_words(one, other, expected):
    assert differences(one, other) == expected
