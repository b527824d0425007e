"""The shipped lock file, and the messages for missing weights."""

import re

import pytest

from imagen.app.fetch import table
from imagen.evaluation.judges.names import CLIP_L14, CLIP_L14_WEIGHTS, DINOV2_L14, INCEPTION_SHA256
from imagen.fetching.absent import fetched_folder, how_to_fetch
from imagen.fetching.lock import in_units, read_lock


@pytest.fixture(scope="module")
def published():
    return read_lock()


def test_what_the_issue_asks_for_is_in_the_lock(published):
    assert set(published) == {
        "inception", "clip-vit-large-patch14", "dinov2-large",
        *(f"t5-v1_1-{size}" for size in ("small", "base", "large", "xl", "xxl")),
        "if-i-m", "if-i-l", "if-i-xl", "if-ii-m", "if-ii-l",
    }  # fmt: skip


def test_every_file_has_a_place_a_revision_a_licence_and_a_hash_or_none(published):
    for file in (file for model in published.values() for file in model.files):
        assert file.url.startswith("https://")
        assert f"/{file.revision}/" in file.url
        assert file.url.endswith(f"/{file.name}")
        assert file.licence
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert (file.sha256 is None) == (file.bytes is None)
        # A branch moves, so a hash of it would not hold.
        assert file.sha256 is None or file.revision != "main"


def test_published_names_are_given_to_the_weights_that_fetch_verifies(published):
    assert {file.sha256 for file in published["inception"].files} == {INCEPTION_SHA256}
    for model, loaded in (("dinov2-large", DINOV2_L14), ("clip-vit-large-patch14", CLIP_L14 | CLIP_L14_WEIGHTS)):
        fetched = {file.name: file.sha256 for file in published[model].files}
        preprocessing = fetched.pop("preprocessor_config.json")  # read by us, and compared as numbers
        assert preprocessing
        assert fetched.items() <= loaded.items()
        assert loaded.keys() - fetched.keys() <= {"pytorch_model.bin"}  # the same weights, not fetched


def test_sizes_are_those_of_the_files_where_they_are_known(published):
    for model in published.values():
        sizes = [file.bytes for file in model.files]
        if None not in sizes:
            assert model.approximate_bytes == pytest.approx(sum(sizes), rel=0.01)
    assert published["t5-v1_1-xxl"].size == "about 44.5 GB"
    assert [in_units(count) for count in (999, 1_234, 95_628_359)] == ["999 bytes", "1.23 kB", "95.6 MB"]


def test_a_model_is_found_by_its_hub_name_once_all_of_its_files_are_there(published, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEN_MODELS", str(tmp_path))
    folder = tmp_path / "dinov2-large"
    folder.mkdir()
    for file in published["dinov2-large"].files:
        assert fetched_folder("facebook/dinov2-large") is None
        (folder / file.name).touch()
    assert fetched_folder("facebook/dinov2-large") == folder
    assert fetched_folder("somebody/else") is None
    assert "yes" in table(published, tmp_path)


def test_stages_of_deepfloyd_hold_what_the_cascade_reads_and_say_that_they_are_gated(published, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEN_MODELS", str(tmp_path))
    gated = {name: model for name, model in published.items() if model.gated}
    assert list(gated) == ["if-i-m", "if-i-l", "if-i-xl", "if-ii-m", "if-ii-l"]
    for name, model in gated.items():
        files = [file.name for file in model.files]
        assert {"unet/config.json", "unet/diffusion_pytorch_model.safetensors", "model_index.json"} <= set(files)
        assert ("text_encoder/config.json" in files) == ("tokenizer/spiece.model" in files) == ("-ii-" not in name)
        assert ("image_noising_scheduler/scheduler_config.json" in files) == ("-ii-" in name)
        said = model.way_in(tmp_path)
        assert said.startswith("accept the DeepFloyd IF licence on the model's page, then `hf download DeepFloyd/IF-")
        assert f"{' '.join(files)} --local-dir {tmp_path}/{name}` with your token" in said
        assert f"`imagen fetch {name} --from FOLDER" in said
        assert "gated: first accept the DeepFloyd IF licence" in how_to_fetch(name)
        for file in model.files:
            (tmp_path / name / file.name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file.name).touch()
        assert fetched_folder(model.repository) == tmp_path / name
    assert all(len(line) < 145 for line in table(published, tmp_path).splitlines() if line.startswith("if-"))
    assert "DeepFloyd-IF-License (gated)" in table(published, tmp_path)


def test_the_way_to_fetch_names_command_size_and_place(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEN_MODELS", str(tmp_path))
    assert how_to_fetch("inception") == f"`imagen fetch inception` (95.6 MB, into {tmp_path}/inception)"
    assert "fetch t5-v1_1-xl --trust-on-first-use` (about 11.4 GB" in how_to_fetch("google/t5-v1_1-xl")
    assert how_to_fetch("somebody/else") == "`hf download somebody/else`"
