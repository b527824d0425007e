"""Everything a user, a broken disk or a stranger may hand in: one line, exit code 2 or 3, nothing run, nothing ignored.

The calls go through `run_reporting_errors`, which is what stands between the commands and the shell.
"""

import json
import os
import pickle
import re
import shutil
import struct
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import TINY_NETWORK
from PIL import Image
from safetensors.torch import load_file, save_file
from small_stages import export_readers_of_shapes_t5

from imagen.app.command import run_reporting_errors
from imagen.app.config_errors import check_configuration
from imagen.app.export import export
from imagen.app.runs import RunFolder
from imagen.app.sample import sample
from imagen.app.train import train
from imagen.instantiation import instantiate
from imagen.stages.checkpoint_io import AtomicCheckpointIO
from imagen.stages.export import file_sha256

SMALL = [
    *TINY_NETWORK, "debug=default", "text.mode=online", "data.batch_size=4", "data.train.size=64",
    "data.validation.size=4", "resolutions=[8,16,32]", "trainer.accelerator=cpu", "callbacks=minimal", "logger=none",
]  # fmt: skip
PICTURES = [
    *TINY_NETWORK, "data=image_folder", "text.mode=online", "data.num_workers=0", "resolutions=[8,16,32]",
    "data.train.n=3",
]  # fmt: skip
FAST = ["prompt=a red circle", "sampler.num_steps=1", "sr_sampler.num_steps=1", "cascade.device=cpu", "count=1"]


class Evil:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Exports of a base and a super-resolution stage."""
    return Path(export_readers_of_shapes_t5(tmp_path_factory.mktemp("stages"))[0]).parent


@pytest.fixture
def place(tmp_path, compose_config, shipped, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_TOKEN", "hunter2")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setattr(sys, "argv", ["train.py"])
    return SimpleNamespace(path=tmp_path, compose=compose_config, shipped=shipped)


def training(*overrides):
    def call(place):
        config = place.compose("train", *SMALL, *overrides)
        check_configuration(config)
        train(config)

    return call


def sampling(*overrides, stages=("base", "sr1"), change=None):
    def call(place):
        folder = place.path / "stages"
        shutil.copytree(place.shipped, folder)
        if change is not None:
            change(folder / "base")
        chosen = ",".join(str(folder / name) for name in stages)
        sample(place.compose("sample", *FAST, f"cascade.stages=[{chosen}]", f"out={place.path}/out", *overrides))

    return call


def described(**changes):
    """base/config.json says something else."""

    def change(base):
        path = base / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def other_tensors(base):
    state = load_file(base / "model.safetensors")
    names = sorted(state)[:4]
    save_file(state | {name: torch.zeros(1) for name in names}, base / "model.safetensors")
    described(weights_sha256=file_sha256(base / "model.safetensors"))(base)


def pictures(lines=None, files=None, *overrides):
    """Five pictures with metadata.jsonl, some lines or files of it replaced; the data is made ready and read."""

    def call(place):
        folder = place.path / "pictures"
        folder.mkdir()
        rows = [json.dumps({"file_name": f"{i}.png", "text": f"picture {i}"}).encode() for i in range(5)]
        for number, line in (lines or {}).items():
            rows[number - 1] = line
        if lines != "none":
            (folder / "metadata.jsonl").write_bytes(b"\n".join(rows))
        for i in range(5):
            Image.new("RGB", (20, 20)).save(folder / f"{i}.png")
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content)
        data = instantiate(place.compose("train", *PICTURES, f"data.path={folder}", *overrides).data)
        data.prepare_data()
        for index in range(len(data.train)):
            data.train[index]

    return call


def empty_folder(place):
    (place.path / "empty").mkdir()
    instantiate(place.compose("train", *PICTURES, f"data.path={place.path}/empty").data)


def caption(text: str) -> bytes:
    return json.dumps({"file_name": "2.png", "text": text}).encode()


def png_claiming(side: int) -> bytes:
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def png_of(side: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = Path("made.png")
    Image.fromarray(pixels).save(file)
    return file.read_bytes()


def with_checkpoint(content: bytes, digest: str = "", name: str = "last.ckpt"):
    def call(place):
        config = place.compose("train", *SMALL)
        folder = RunFolder(Path(config.run_dir)).last_checkpoint.parent
        folder.mkdir(parents=True)
        (folder / name).write_bytes(content)
        if digest:
            (folder / f"{name}.sha256").write_text(digest)
        train(config)

    return call


def evil_checkpoint(place):
    torch.save({"state_dict": Evil()}, "evil.ckpt")
    with_checkpoint(Path("evil.ckpt").read_bytes())(place)


def dangling_last(place):
    config = place.compose("train", *SMALL)
    folder = RunFolder(Path(config.run_dir)).last_checkpoint.parent
    folder.mkdir(parents=True)
    (folder / "last.ckpt").symlink_to("gone.ckpt")
    train(config)


def of_another_network(place):
    config = place.compose("train", *SMALL)
    content = {"state_dict": {"w": torch.zeros(1)}, "optimizer_states": [], "global_step": 1, "epoch": 0}
    content |= {"pytorch-lightning_version": "2.6.6", "loops": {}, "callbacks": {}, "lr_schedulers": []}
    AtomicCheckpointIO().save_checkpoint(content, RunFolder(Path(config.run_dir)).last_checkpoint)
    train(config)


def saved_configuration(text: str):
    def call(place):
        (place.path / "config.yaml").write_text(text)
        export(place.path)

    return call


def runs_is_a_file(place):
    (place.path / "runs").write_text("not a folder")
    training()(place)


def prompts_not_utf8(place):
    Path("p.txt").write_bytes(b"ok\ncaf\xe9\n")
    sampling("prompt=null", "prompts_file=p.txt")(place)


ALIAS_BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 25))

REFUSED = {
    "config: unknown key": (training("stage.optimizer.lrr=1"), r"lrr; did you mean .*\.lr\?"),
    "config: lr=abc": (training("stage.optimizer.lr=abc"), r"stage\.optimizer cannot be built with .*'lr': 'abc'"),
    "config: steps 0": (training("trainer.max_steps=0"), r"trainer\.max_steps=0 must be"),
    "config: batch 0": (training("data.batch_size=0"), r"data\.batch_size=0: at least 1"),
    "config: workers -1": (training("data.num_workers=-1"), r"data\.num_workers=-1: 0 or more"),
    "config: dropout 2.5": (training("stage.text_dropout=2.5"), r"stage\.text_dropout=2\.5 must be in"),
    "config: SR not larger": (training("stage=sr1", "resolutions=[16,16,32]"), r"16"),
    "config: SR no multiple": (training("stage=sr1", "resolutions=[8,12,32]"), r"12"),
    "config: os.system": (training("+data.train._args_=[x]", "data.train._target_=os.system"), r"'os\.system' is not"),
    "config: torch.load": (training("stage.conditioner._target_=torch.load"), r"'torch\.load' is not allowed"),
    "config: secret": (training("tags=['${oc.env:MY_TOKEN}']"), r"MY_TOKEN.* looks like a secret"),
    "config: alias bomb": (saved_configuration(ALIAS_BOMB), r"config\.yaml: holds a YAML alias"),
    "config: not YAML": (saved_configuration("a: [1"), r"config\.yaml: not YAML"),
    "config: a list": (saved_configuration("- a"), r"config\.yaml: a mapping is expected, found ListConfig"),
    "config: no GPU": (training("trainer.accelerator=gpu"), r"accelerator=gpu: this machine has no GPU"),
    "sample: guidance NaN": (sampling("guidance_weights=nan"), r"guidance weight is nan"),
    "sample: guidance -1": (sampling("guidance_weights=-1"), r"guidance weight is -1"),
    "sample: steps 0": (sampling("sampler.num_steps=0"), r"num_steps"),
    "sample: NUL in a prompt": (sampling('prompt="a\x00b"'), r"control character"),
    "sample: prompts not UTF-8": (
        prompts_not_utf8,
        r"p\.txt, line 2: byte 4 is not UTF-8",
    ),
    "data: empty folder": (empty_folder, r"empty is empty; write one line"),
    "data: missing column": (pictures({3: b'{"file_name": "2.png"}'}), r"line 3: no 'text' among"),
    "data: listed twice": (pictures({3: b'{"file_name": "1.png", "text": ""}'}), r"line 3: '1\.png' is already listed"),
    "data: not UTF-8": (pictures({3: b'{"file_name": "2.png", "text": "caf\xe9"}'}), r"line 3: not UTF-8"),
    "data: NUL": (pictures({3: caption("a\0b")}), r"line 3: the caption holds a NUL character"),
    "data: caption null": (pictures({3: b'{"file_name": "2.png", "text": null}'}), r"line 3: the caption is null"),
    "data: leads out": (pictures({3: b'{"file_name": "../x.png", "text": ""}'}), r"line 3: .* leads out"),
    "data: more captions": (pictures({3: b'{"file_name": "9.png", "text": ""}'}), r"9\.png .*line 3.*no such file"),
    "image: 0 bytes": (pictures(files={"2.png": b""}), r"2\.png .*line 3.*empty \(0 bytes\)"),
    "image: HTML": (pictures(files={"2.png": b"<html>404</html>"}), r"2\.png .*line 3.*a web page"),
    "image: truncated": (
        lambda place: pictures(files={"1.png": png_of(40)[:2000]})(place), r"1\.png .*line 2.*damaged",
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
    "stage: SR given as base": (sampling(stages=["sr1"]), r"'sr1' enlarges 8 × 8 but gets no image"),
    "stage: newer schema": (sampling(change=described(format_version=99)), r"format_version 99, this version reads"),
    "stage: wrong shapes": (sampling(change=other_tensors), r"4 tensors do not fit \(.*expected.*expected.*expected"),
    "stage: bit-flipped": (sampling(change=described(weights_sha256="0" * 64)), r"model\.safetensors: sha256 .*expect"),
    "stage: os.mkdir": (
        sampling(change=described(schedule={"_target_": "os.mkdir", "_args_": ["ran"]})), r"'os\.mkdir' is not allowed",
    ),
    "stage: reads the environment": (
        sampling(change=described(schedule={"_target_": "x", "y": "${oc.env:MY_TOKEN}"})), r"is an interpolation",
    ),
    "stage: no weights": (sampling(change=lambda base: (base / "model.safetensors").unlink()), r"is missing; export"),
    "stage: absent": (sampling(stages=["nothing"]), r"nothing: no exported stage"),
    "environment: weights absent": (sampling("text.encoder.path=/nowhere"), r"text encoder /nowhere: no such folder"),
    "environment: cannot write": (runs_is_a_file, r"cannot write to .*runs.*paths\.runs"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_line_that_names_it(name, place, capsys):
    call, expected = REFUSED[name]
    code = run_reporting_errors(lambda: call(place), "train")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error:", "Traceback"))]
    assert code in (2, 3), said
    assert len(said) == 1
    assert re.search(expected, said[0]), said[0]
    assert "hunter2" not in said[0]
    assert not (place.path / "ran").exists()


ACCEPTED = {
    "a byte order mark": {1: b'\xef\xbb\xbf{"file_name": "0.png", "text": "a"}'},
    "an empty caption": {3: caption("")},
    "emoji, CJK and right-to-left": {3: caption("🎉 猫 שלום")},
    "ten thousand words": {3: caption("red " * 10_000)},
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_unusual_and_right_is_read(name, place):
    assert run_reporting_errors(lambda: pictures(ACCEPTED[name])(place)) == 0
