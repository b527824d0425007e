"""Wrong input from a user, a broken disk or a stranger: one line, exit code 2 or 3, nothing run, nothing ignored.

The calls go through `run_reporting_errors`, the layer between the commands and the shell.
docs/reference/malformed.md lists the lines; the test compares them, and writes the page with IMAGEN_WRITE_MALFORMED=1.
"""

import os
import pickle
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from handed_in import (
    Evil,
    dangling_last,
    described,
    disk_full,
    encoder_at,
    evaluating,
    evaluating_by_a_judge,
    evaluating_stages_of_other_pictures,
    evil_checkpoint,
    evil_judge,
    evil_stage,
    max_steps_below_the_step_reached,
    of_another_network,
    other_tensors,
    out_of_memory,
    prompts_in,
    reading_text_by,
    runs_is_a_file,
    sampling,
    sampling_a_checkpoint,
    saved_configuration,
    training,
    two_runs_in_one_folder,
    with_checkpoint,
    without_average,
)
from handed_in_data import (
    CAPTIONS,
    by_another_encoder,
    caption,
    changed_manifest,
    embedding,
    empty_folder,
    encoded,
    flipped,
    judged,
    not_a_number,
    pictures,
    png_claiming,
    png_of,
    shard_of,
)
from hydra import compose, initialize_config_dir
from PIL import Image
from small_stages import export_readers_of_shapes_t5

from imagen.commandline.command import run_reporting_errors
from imagen.instantiation import instantiate
from imagen.places import ROOT


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Exports of a base and a super-resolution stage."""
    return Path(export_readers_of_shapes_t5(tmp_path_factory.mktemp("stages"))[0]).parent


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of CAPTIONS by the shapes T5."""
    folder = tmp_path_factory.mktemp("cache")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        instantiate(compose("train", overrides=[f"text.folder={folder}"]).text).prepare(CAPTIONS)
    return folder


@pytest.fixture
def place(tmp_path, compose_config, shipped, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_TOKEN", "hunter2")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setattr(sys, "argv", ["train.py"])
    return SimpleNamespace(path=tmp_path, compose=compose_config, shipped=shipped, cache=cache, patch=monkeypatch)


ALIAS_BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 25))

REFUSED = {
    "config: unknown key": (training("stage.optimizer.lrr=1"), r"lrr; did you mean .*\.lr\?"),
    "config: lr=abc": (training("stage.optimizer.lr=abc"), r"stage\.optimizer\.lr='abc' must be a finite number"),
    "config: seed 1.5": (training("seed=1.5"), r"seed=1\.5 must be a whole number"),
    "config: sizes no whole numbers": (training("resolutions=[8,16.0]"), r"resolutions=\[8, 16\.0\] must be a list"),
    "config: true for a number": (training("trainer.max_steps=true"), r"trainer\.max_steps=True must be a whole"),
    "config: resolved twice": (
        training(r"stage.optimizer.lr='\${oc.env:MY_SHELL}'"), r"stage\.optimizer\.lr='\$\{oc\.env:MY_SHELL\}' is an",
    ),
    "config: steps 0": (training("trainer.max_steps=0"), r"trainer\.max_steps=0 must be"),
    "config: max_steps below the step reached": (max_steps_below_the_step_reached, r"is finished: 2 of 1 steps; ask"),
    "config: batch 0": (training("data.batch_size=0"), r"data\.batch_size=0: at least 1"),
    "config: workers -1": (training("data.num_workers=-1"), r"data\.num_workers=-1: 0 or more"),
    "config: dropout 2.5": (training("stage.text_dropout=2.5"), r"stage\.text_dropout=2\.5 must be in"),
    "config: SR not larger": (training("stage=sr1", "resolutions=[16,16,32]"), r"16"),
    "config: SR no multiple": (training("stage=sr1", "resolutions=[8,12,32]"), r"12"),
    "config: os.system": (training("+data.train._args_=[x]", "data.train._target_=os.system"), r"'os\.system' is not"),
    "config: torch.load": (training("stage.conditioner._target_=torch.load"), r"'torch\.load' is not allowed"),
    "config: secret": (training("name=${oc.env:MY_TOKEN}"), r"MY_TOKEN.* looks like a secret"),
    "config: alias bomb": (saved_configuration(ALIAS_BOMB), r"config\.yaml: holds a YAML alias"),
    "config: nested": (saved_configuration("a: " + "[" * 20_000), r"config\.yaml: more than 40 levels"),
    "config: digits": (saved_configuration("a: " + "9" * 5_000), r"config\.yaml: not YAML \(Exceeds the limit"),
    "config: not YAML": (saved_configuration("a: [1"), r"config\.yaml: not YAML"),
    "config: a list": (saved_configuration("- a"), r"config\.yaml: a mapping is expected, found list"),
    "config: no GPU": (training("trainer.accelerator=gpu"), r"accelerator=gpu: this machine has no GPU"),
    "config: grids every 0 steps": (
        training("callbacks=default", "callbacks.samples.every_n_steps=0"), r"samples\.every_n_steps=0: at least 1",
    ),
    "config: saved every 0 steps": (
        training("callbacks.last.every_n_train_steps=0"), r"last\.every_n_train_steps=0: at least 1",
    ),
    "sample: runs no list": (sampling("cascade.stages=null", "cascade.runs=demo"), r"cascade\.runs=\[demo\]"),
    "sample: stages no list": (sampling("cascade.stages=runs/base/demo/export"), r"must be a list: cascade\.stages=\["),
    "evaluate: weights no list": (evaluating("guidance.weights=3"), r"must be a list: guidance\.weights=\[3\]"),
    "evaluate: strips no list": (evaluating("strips.weights=3"), r"must be a list: strips\.weights=\[3\]"),
    "evaluate: pictures per prompt": (
        evaluating("pictures_per_prompt=1.5"), r"pictures_per_prompt=1\.5 must be a whole number of at least 1",
    ),
    "evaluate: too few prompts to repeat": (
        evaluating("pictures_per_prompt=2"), r"=2 needs a multiple of 20 prompts, and there are 2: give",
    ),
    "evaluate: no such split": (
        evaluating("prompts=openmoji", "prompts.split=test"), r"split=test of OpenMoji is not one of train",
    ),
    "evaluate: more prompts than names": (
        evaluating("prompts=openmoji", "prompts.count=482"), r"\(held_out\) has 481 names; prompts\.count is 482",
    ),
    "evaluate: prompts about hair": (
        evaluating("prompts=openmoji", "prompts.about=hair"), r"prompts\.about=hair is not one of skin_tone, colour",
    ),
    "sample: guidance NaN": (sampling("guidance_weights=nan"), r"guidance_weights=nan must be a finite number"),
    "sample: guidance -1": (sampling("guidance_weights=-1"), r"guidance weight is -1"),
    "sample: guidance for no stage": (sampling("guidance_weights=[1,2,3]"), r"3 weights for 2 stages"),
    "sample: count true": (sampling("count=true"), r"count=True must be a whole number of at least 1"),
    "sample: prompt 7": (sampling("prompt=7"), r"prompt=7 is not text"),
    "sample: steps 0": (sampling("sampler.num_steps=0"), r"num_steps"),
    "sample: NUL in a prompt": (sampling('prompt="a\x00b"'), r"control character"),
    "sample: prompts not UTF-8": (prompts_in("p.txt", b"ok\ncaf\xe9\n"), r"p\.txt, line 2: byte 4 is not UTF-8"),
    "sample: no prompts": (prompts_in("p.txt", b"\n \n"), r"p\.txt holds no prompts; give at least one"),
    "sample: prompts in JSON": (prompts_in("p.json", b'["a"]'), r"p\.json: \.json is not read; write captions"),
    "sample: unknown column": (
        prompts_in("p.csv", b"promt,seed\na,1\n"), r"p\.csv, line 1: unknown column 'promt'; did you mean 'prompt'\?",
    ),
    "sample: semicolons": (prompts_in("p.csv", b"prompt;seed\na;1\n"), r"p\.csv, line 1: unknown column 'prompt;seed'"),
    "sample: column twice": (
        prompts_in("p.csv", b"prompt,seed,seed\na,1,2\n"), r"p\.csv, line 1: the column 'seed' is there twice",
    ),
    "sample: no column prompt": (prompts_in("p.csv", b"seed\n1\n"), r"p\.csv, line 1: no column 'prompt' among seed"),
    "sample: comma in a prompt": (
        prompts_in("p.csv", b"prompt,seed\na,b,1\n"), r"p\.csv, line 2: 3 cells under 2 columns \(prompt,seed\)",
    ),
    "sample: quotation never closed": (prompts_in("p.csv", b'prompt\n"a\n'), r"p\.csv, line 2: not CSV"),
    "sample: CSV not UTF-8": (prompts_in("p.csv", b"prompt\ncaf\xe9\n"), r"p\.csv, line 2: byte 4 is not UTF-8"),
    "sample: prompt empty": (prompts_in("p.csv", b"prompt,seed\n,1\n"), r"p\.csv, line 2: a prompt must be a text"),
    "sample: NUL in a row": (prompts_in("p.csv", b"prompt\na\0b\n"), r"p\.csv, line 2: the caption holds the control"),
    "sample: seed of a row 1.5": (
        prompts_in("p.jsonl", b'{"prompt": "a"}\n{"prompt": "a", "seed": 1.5}\n'),
        r"p\.jsonl, line 2, seed=1\.5 must be a whole number; or leave it out",
    ),
    "sample: weight of a row": (
        prompts_in("p.csv", b"prompt,guidance_weight\na,strong\n"), r"line 2, guidance_weight='strong' must be a",
    ),
    "sample: weight of a row -1": (
        prompts_in("p.csv", b"prompt,guidance_weight\na,-1\n"), r"line 2, guidance_weight=-1: guidance weight is -1;",
    ),
    "sample: weights of a row for no stage": (
        prompts_in("p.jsonl", b'{"prompt": "a", "guidance_weight": [1, 2, 3]}'),
        r"p\.jsonl, line 1, guidance_weight=\[1\.0, 2\.0, 3\.0\]: 3 weights for 2 stages; leave out the surplus",
    ),
    "sample: row no object": (prompts_in("p.jsonl", b'"a"\n'), r"p\.jsonl, line 1: 'a' is no JSON object; write"),
    "sample: row not JSON": (prompts_in("p.jsonl", b'{"prompt": "a"\n'), r"p\.jsonl, line 1: not JSON .*; write a"),
    "sample: prompt of a row 7": (prompts_in("p.jsonl", b'{"prompt": 7}\n'), r"line 1: a prompt must be a .*found 7"),
    "sample: negative prompt": (
        prompts_in("p.csv", b"prompt,negative_prompt,guidance_weight\na,b,1\n"),
        r"p\.csv, line 2, negative_prompt has no effect at guidance weight 1, which is off: choose a larger weight",
    ),
    "sample: mask without a picture": (sampling("mask=m.png"), r"mask=m.png: no such file"),
    "sample: strength without a picture": (sampling("strength=0.5"), r"strength below 1 needs a picture to begin with"),
    "sample: strength 2": (sampling("strength=2"), r"strength=2.0 must be in \[0, 1\]"),
    "sample: size of one side": (sampling("size=[48]"), r"size=\[48\] must be a height and a width in pixels"),
    "sample: size of a part of a pixel": (sampling("size=[49,64]"), r"would make .*; sides must be multiples of"),
    "sample: tiles that share all": (sampling("tile_overlap=1"), r"tile_overlap=1.0 must be above 0 and at most 0.5"),
    "sample: resample 0": (sampling("resample=0"), r"resample=0 must be a whole number of at least 1"),
    "sample: no such format": (sampling("format=jpg"), r"format=jpg: choose png or webdataset"),
    "sample: shards of 0": (sampling("shard_size=0"), r"shard_size=0 must be a whole number of at least 1"),
    "data: empty folder": (empty_folder, r"empty is empty; write one line"),
    "data: missing column": (pictures({3: b'{"file_name": "2.png"}'}), r"line 3: no 'text' among"),
    "data: listed twice": (pictures({3: b'{"file_name": "1.png", "text": ""}'}), r"line 3: '1\.png' is already listed"),
    "data: not UTF-8": (pictures({3: b'{"file_name": "2.png", "text": "caf\xe9"}'}), r"line 3: not UTF-8"),
    "data: NUL": (pictures({3: caption("a\0b")}), r"line 3: the caption holds the control character U.0000"),
    "data: caption null": (pictures({3: b'{"file_name": "2.png", "text": null}'}), r"line 3: the caption is null"),
    "data: leads out": (pictures({3: b'{"file_name": "../x.png", "text": ""}'}), r"line 3: .* leads out"),
    "data: more captions": (pictures({3: b'{"file_name": "9.png", "text": ""}'}), r"9\.png .*line 3.*no such file"),
    "image: 0 bytes": (pictures(files={"2.png": b""}), r"2\.png .*line 3.*empty \(0 bytes\)"),
    "image: HTML": (pictures(files={"2.png": b"<html>404</html>"}), r"2\.png .*line 3.*a web page"),
    "image: truncated": (
        lambda place: pictures(files={"1.png": png_of(40)[:2000]})(place), r"1\.png .*line 2.*damaged",
    ),
    "image: float TIFF": (
        lambda place: pictures(files={"2.png": encoded(Image.new("F", (20, 20)), "TIFF")})(place),
        r"2\.png .*line 3.*float pixels have no defined range",
    ),
    "image: 1 x 1": (lambda place: pictures(files={"2.png": png_of(1)})(place), r"2\.png .*line 3.*1 × 1 pixels are"),
    "image: 169 MP": (pictures(files={"2.png": png_claiming(13_000)}), r"2\.png .*line 3.*max_pixels"),
    "image: 400 MP": (pictures(files={"2.png": png_claiming(20_000)}), r"2\.png .*line 3.*max_pixels"),
    "checkpoint: 0 bytes": (with_checkpoint(b""), r"last\.ckpt cannot be read"),
    "checkpoint: HTML": (with_checkpoint(b"<html>"), r"last\.ckpt cannot be read"),
    "checkpoint: truncated": (with_checkpoint(b"PK\x03\x04 cut"), r"last\.ckpt cannot be read"),
    "checkpoint: bit-flipped": (with_checkpoint(b"PK", "0" * 64), r"last\.ckpt: sha256 .*expected 000000000000"),
    "checkpoint: evil zip": (evil_checkpoint, r"last\.ckpt cannot be read"),
    "checkpoint: evil pickle": (with_checkpoint(pickle.dumps(Evil())), r"last\.ckpt cannot be read"),
    "checkpoint: another network": (of_another_network, r"another network: \d+ tensors do not fit"),
    "checkpoint: dangling last": (dangling_last, r"last\.ckpt does not exist"),
    "checkpoint: no averaged weights": (without_average, r"another network: \d+ tensors do not fit \(ema\."),
    "checkpoint to sample: another network": (
        sampling_a_checkpoint({"w": torch.zeros(1)}), r"last\.ckpt, against the network of .*: \d+ tensors do not fit",
    ),
    "checkpoint to sample: evil denoiser": (
        sampling_a_checkpoint(stage={"denoiser": {"network": {"_target_": "imagen.runs.folder.RunFolder"}}}),
        r"'imagen\.runs\.folder\.RunFolder' is not allowed",
    ),
    "checkpoint to sample: evil text": (
        sampling_a_checkpoint(text={"encoder": {"_target_": "imagen.stages.ema.WeightAverage"}}),
        r"'imagen\.stages\.ema\.WeightAverage' is not allowed",
    ),
    "checkpoint to sample: no text source": (
        sampling_a_checkpoint(text={"_partial_": True}), r"config\.yaml: text describes a \w+, no text source",
    ),
    "checkpoint to sample: evil positions": (
        sampling_a_checkpoint(text={"encoder": {"_args_": ["x"]}}), r"text\.encoder\._args_: .* name its arguments",
    ),
    "checkpoint to sample: reads the environment": (
        sampling_a_checkpoint(stage={"name": "${oc.env:MY_TOKEN}"}), r"config\.yaml: stage\.name=.* an interpolation",
    ),
    "checkpoint to sample: another configuration": (
        sampling_a_checkpoint(stage=None), r"config\.yaml: not the configuration of a run \(stage is missing\)",
    ),
    "cache: truncated": (
        embedding(change=lambda folder: os.truncate(shard_of(folder), 1000)), r"shard-00000.*expected, 1000 found",
    ),
    "cache: bit-flipped": (embedding(change=flipped), r"shard-00000\.safetensors: sha256 mismatch \(manifest"),
    "cache: shard missing": (embedding(change=lambda folder: shard_of(folder).unlink()), r"shard-00000.*No such file"),
    "cache: newer version": (embedding(change=changed_manifest(format=99)), r"format 99, this version reads 1"),
    "cache: NaN": (embedding(change=not_a_number), r"shard-00000\.safetensors: holds vectors that are not finite"),
    "cache: another encoder": (
        embedding(change=by_another_encoder), r"\(model: cache 3f2a, configuration \w+\): .*imagen cache",
    ),
    "cache: another revision": (embedding("text.encoder.revision=v2"), r"revision: cache none, configuration v2"),
    "cache: another length": (embedding("text.encoder.max_length=64"), r"max_length: cache 128, configuration 64"),
    "cache: another dtype": (embedding("text.encoder.dtype=bfloat16"), r"dtype: cache float32, configuration bfloat16"),
    "cache: another width": (embedding("text.features=128"), r"text\.features=128.*have 256: set text\.features=256"),
    "stage: SR given as base": (sampling(stages=["sr1"]), r"'sr1' expects input images of 8 × 8 but follows no stage"),
    "stage: newer schema": (sampling(change=described(format_version=99)), r"format_version 99, this version reads"),
    "stage: wrong shapes": (sampling(change=other_tensors), r"4 tensors do not fit \(.*expected.*expected.*expected"),
    "stage: bit-flipped": (sampling(change=described(weights_sha256="0" * 64)), r"model\.safetensors: sha256 .*expect"),
    "stage: os.mkdir": (
        sampling(change=described(schedule={"_target_": "os.mkdir", "_args_": ["ran"]})), r"'os\.mkdir' is not allowed",
    ),
    "stage: reads the environment": (
        sampling(change=described(schedule={"_target_": "x", "y": "${oc.env:MY_TOKEN}"})), r"is an interpolation",
    ),
    "stage: text by os.mkdir": (
        sampling(change=described(text_source={"_target_": "os.mkdir", "path": "ran"})),
        r"config\.json: text_source\._target_='os\.mkdir' is not allowed",
    ),
    "stage: text by a class that reads no captions": (
        sampling(change=described(text_source={"_target_": "imagen.text.encoders.HuggingFaceEncoder", "path": "x"})),
        r"config\.json: text_source describes a HuggingFaceEncoder, no text source",
    ),
    "stage: text reads the environment": (
        sampling(change=described(text_source=encoder_at("${oc.env:MY_TOKEN}"))),
        r"config\.json: text_source\.encoder\.path=.* is an interpolation",
    ),
    "stage: text encoder in /proc": (
        reading_text_by("/proc/self"), r"base: /proc/self/model\.safetensors is missing",
    ),
    "stage: text encoder elsewhere": (
        reading_text_by("/nowhere/my_t5"),
        r"base: text encoder /nowhere/my_t5 is not on this machine .*text\.encoder\.path=FOLDER",
    ),
    "stage: text encoder not fetched": (
        reading_text_by("google/t5-v1_1-xxl"),
        r"base: text encoder google/t5-v1_1-xxl is not on this machine .*imagen fetch t5-v1_1-xxl",
    ),
    "stage: another text encoder": (
        sampling("text=shapes_t5", "text.encoder.max_length=64"),
        r"base was trained on another text encoder than text= names \(max_length: 128, here 64\): leave text= out",
    ),
    "stage: no weights": (sampling(change=lambda base: (base / "model.safetensors").unlink()), r"is missing or no"),
    "stage: absent": (sampling(stages=["nothing"]), r"nothing: no exported stage"),
    "stage: evil pickle": (evil_stage, r"model\.safetensors: .*export the stage again"),
    "stage: not JSON": (
        sampling(change=lambda base: (base / "config.json").write_text("{")),
        r"config\.json: not JSON \(.*\); export the stage again",
    ),
    "stage: 100,000 lists": (
        sampling(change=lambda base: (base / "config.json").write_text("[" * 100_000)),
        r"config\.json: JSON nested too deeply; export the stage again",
    ),
    "stage: a number of 10,000 digits": (
        sampling(change=lambda base: (base / "config.json").write_text('{"step": ' + "9" * 10_000 + "}")),
        r"config\.json: not JSON \(Exceeds the limit .*\); export the stage again",
    ),
    "stage: denoiser null": (sampling(change=described(denoiser=None)), r"denoiser is null, expected dict"),
    "stage: a name that leads out": (
        sampling(change=described(name="../../elsewhere")),
        r"config\.json: name='\.\./\.\./elsewhere' is not a name",
    ),
    "stage: a name of escape codes": (sampling(change=described(name="\x1b[2J")), r"name='\\x1b\[2J' is not a name"),
    "stage: trained on a path": (
        sampling(change=described(trained_on="/cats")), r"config\.json: trained_on is str '/cats', expected",
    ),
    "stage: trained on half a record": (
        sampling(change=described(trained_on={"name": "cats"})), r"trained_on: the field 'kind' is missing; export the",
    ),
    "judge: one caption for all": (judged(["a"] * 24), r"all 12 training pictures have the caption 'a': .*give at"),
    "judge: few validation rows": (judged(list("abcdef")), r"pictures: 3 validation rows, .* data\.train\.n=\.\.\."),
    "judge: a width that has no heads": (judged(["a"] * 24, "network.width=40"), r"width=40 .* a multiple of 32"),
    "judge: shift 2": (judged(list("abcdef") * 4, "augmentation.shift=2.0"), r"augmentation\.shift=2\.0 must lie betw"),
    "judge: none of one's own": (evaluating("metrics=own"), r"runs/judges holds no judge: train judges of your pict"),
    "judge: knows other pictures": (
        evaluating_stages_of_other_pictures, r"knows the shapes world, and .* on the pictures in cats: .*across_worlds",
    ),
    "judge: record not JSON": (evaluating_by_a_judge("{"), r"judge/judge\.json: not JSON .*train the judge again"),
    "judge: record of other weights": (
        evaluating_by_a_judge('{"name": "a", "world": {"name": "a", "kind": "b"}, "weights_sha256": "0"}'),
        r"judge/judge\.json is the record of other weights",
    ),
    "evaluation: evil weights of a judge": (evil_judge, r"inception\.pth: not weights of FID's Inception network"),
    "environment: disk full": (disk_full, r"checkpoints need \d+ bytes, 1000 are free; make room"),
    "environment: two runs in one folder": (
        two_runs_in_one_folder,
        r"in training by process \d+ on .*choose another name",
    ),
    "environment: out of memory": (out_of_memory, r"size=32: out of memory, one picture alone does not fit; 0 of"),
    "environment: weights absent": (sampling("text.encoder.path=/nowhere"), r"text encoder /nowhere: no such folder"),
    "environment: cannot write": (runs_is_a_file, r"cannot write to .*runs.*paths\.runs"),
}  # fmt: skip


PAGE = ROOT / "docs" / "reference" / "malformed.md"


def told(name: str, code: int, line: str, place) -> str:
    """A row of docs/reference/malformed.md: the line without what differs from one machine or run to the next."""
    line = line.removeprefix("error: ").replace(str(place.path), "…").replace(str(place.cache), "…")
    line = re.sub(r"process \d+ on [^:]+", "process 12345 on host", line)
    line = re.sub(r"\b[0-9a-f]{12}…", "3f2a…", re.sub(r"\b[0-9a-f]{64}\b", "3f2a…", line))
    line = line.replace(str(ROOT), ".").replace("|", "\\|").replace("`", "'")
    return f"| {name} | {code} | `{line}` |"


@pytest.fixture(scope="module")
def page():
    """docs/reference/malformed.md; with IMAGEN_WRITE_MALFORMED=1 the tests write its table again."""
    found: dict[str, str] = {}
    yield SimpleNamespace(lines=PAGE.read_text(encoding="utf-8").splitlines(), found=found)
    if os.environ.get("IMAGEN_WRITE_MALFORMED"):
        head, _, old = PAGE.read_text(encoding="utf-8").partition("|---|--:|---|\n")
        rows = {line.split(" | ")[0].removeprefix("| "): line for line in old.splitlines()} | found
        PAGE.write_text(head + "\n".join(["|---|--:|---|", *(rows[name] for name in REFUSED)]) + "\n", "utf-8")


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_line_that_names_it(name, place, page, capsys):
    call, expected = REFUSED[name]
    code = run_reporting_errors(lambda: call(place), "train")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error:", "Traceback"))]
    assert code in (2, 3), said
    assert len(said) == 1
    assert re.search(expected, said[0]), said[0]
    assert "hunter2" not in said[0]
    assert not (place.path / "ran").exists()
    page.found[name] = told(name, code, said[0], place)
    if not os.environ.get("IMAGEN_WRITE_MALFORMED"):
        assert page.found[name] in page.lines


ACCEPTED = {
    "a byte order mark": {1: b'\xef\xbb\xbf{"file_name": "0.png", "text": "a"}'},
    "an empty caption": {3: caption("")},
    "a caption of white space": {3: caption(" \t ")},
    "emoji, CJK and right-to-left": {3: caption("🎉 猫 שלום")},
    "ten thousand words": {3: caption("red " * 10_000)},
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_unusual_and_right_is_read(name, place):
    assert run_reporting_errors(lambda: pictures(ACCEPTED[name])(place)) == 0


SEEN_AS = {
    "16-bit grey": (lambda: Image.fromarray(np.full((20, 20), 32768, np.uint16)), "PNG", (128, 128, 128)),
    "CMYK": (lambda: Image.new("CMYK", (20, 20), (0, 255, 255, 0)), "TIFF", (255, 0, 0)),
    "RGBA": (lambda: Image.new("RGBA", (20, 20), (0, 0, 255, 0)), "PNG", (255, 255, 255)),
    "grey": (lambda: Image.new("L", (20, 20), 77), "PNG", (77, 77, 77)),
    "1-bit": (lambda: Image.new("1", (20, 20), 1), "PNG", (255, 255, 255)),
    "palette": (
        lambda: Image.new("RGB", (20, 20), (9, 8, 7)).convert("P", palette=Image.Palette.ADAPTIVE),
        "GIF",
        (9, 8, 7),
    ),
}


@pytest.mark.parametrize("name", SEEN_AS)
def test_pictures_of_every_kind_are_read_as_a_person_sees_them(name, place, capsys):
    make, kind, expected = SEEN_AS[name]
    seen = []
    call = pictures(files={"2.png": encoded(make(), kind)}, read=lambda data: seen.append(data.train.source[2].image))
    assert run_reporting_errors(lambda: call(place)) == 0
    assert tuple(seen[0][0, 0]) == expected
