"""Wrong commands and checkpoints from a user, a broken disk or a stranger, as calls with a `place`.

`place.path` is an empty folder; `place.compose` composes the configuration with all paths below it. `place.shipped`
holds exported stages and `place.cache` a cache of embedded captions; copy both before changing them.
"""

import json
import multiprocessing
import os
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from small_configurations import TINY_NETWORK

from imagen.app.evaluate import evaluate
from imagen.app.export import export
from imagen.app.sample import sample
from imagen.app.train import train
from imagen.commandline.config_errors import check_configuration
from imagen.files import sha256_of_file
from imagen.instantiation import instantiate
from imagen.locks import only_trainer
from imagen.places import ROOT
from imagen.runs.folder import RunFolder
from imagen.stages.checkpoint_io import AtomicCheckpointIO

FORK = multiprocessing.get_context("fork")
SMALL = [
    *TINY_NETWORK, "debug=default", "text.mode=online", "data.batch_size=4", "data.train.size=64",
    "data.validation.size=4", "resolutions=[8,16,32]", "trainer.accelerator=cpu", "callbacks=minimal", "logger=none",
]  # fmt: skip
FAST = ["prompt=a red circle", "sampler.num_steps=1", "sr_sampler.num_steps=1", "cascade.device=cpu", "count=1"]


class Evil:
    def __reduce__(self):
        return os.mkdir, ("ran",)


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


def evaluating(*overrides):
    def call(place):
        stages = f"cascade.stages=[{place.shipped}/base,{place.shipped}/sr1]"
        small = [override for override in FAST if not override.startswith(("prompt=", "count="))]
        evaluate(place.compose("evaluate", *small, stages, f"out={place.path}/out", "prompts.count=2", *overrides))

    return call


def evaluating_stages_of_other_pictures(place):
    """The shipped judges, and stages of somebody's cats."""
    folder = shutil.copytree(place.shipped, place.path / "stages")
    cats = {"name": "the pictures in cats", "kind": "ImageFolderSource", "fingerprint": "1"}
    for name in ("base", "sr1"):
        described(trained_on=cats)(folder / name)
    evaluating(f"cascade.stages=[{folder}/base,{folder}/sr1]")(place)


def evaluating_by_a_judge(record: str):
    """A shipped judge whose record is replaced."""

    def call(place):
        folder = shutil.copytree(ROOT / "assets" / "judge_b", place.path / "judge")
        (folder / "judge.json").write_text(record)
        evaluating(f"metrics.judges.a.path={folder}")(place)

    return call


def described(**changes):
    """base/config.json says something else."""

    def change(base):
        path = base / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def encoder_at(path: str) -> dict:
    """The record of a text encoder of 256 features."""
    encoder = {"_target_": "imagen.text.encoders.HuggingFaceEncoder", "path": path}
    return {"_target_": "imagen.text.sources.make_text_source", "mode": "online", "features": 256, "encoder": encoder}


def reading_text_by(path: str):
    """A base stage whose text encoder is none of conf/text, and records that it is at `path`."""
    return sampling(stages=["base"], change=described(text={"model": "0" * 64}, text_source=encoder_at(path)))


def other_tensors(base):
    state = load_file(base / "model.safetensors")
    names = sorted(state)[:4]
    save_file(state | {name: torch.zeros(1) for name in names}, base / "model.safetensors")
    described(weights_sha256=sha256_of_file(base / "model.safetensors"))(base)


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


def prompts_in(name: str, content: bytes):
    """A file of prompts."""

    def call(place):
        Path(name).write_bytes(content)
        sampling("prompt=null", f"prompts_file={name}")(place)

    return call


def out_of_memory(place):
    """Not even one picture fits."""

    def full(*arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    place.patch.setattr("imagen.cascade.cascade.sample_images", full)
    sampling()(place)


def max_steps_below_the_step_reached(place):
    for steps in (2, 1):
        training(f"trainer.max_steps={steps}", "callbacks.samples=null")(place)


def two_runs_in_one_folder(place):
    config = place.compose("train", *SMALL)
    run = Path(config.run_dir)
    ready, done = FORK.Event(), FORK.Event()

    def hold() -> None:
        with only_trainer(run):
            ready.set()
            done.wait(60)

    process = FORK.Process(target=hold)
    process.start()
    ready.wait(60)
    try:
        train(config)
    finally:
        process.kill()
        process.join()


def disk_full(place):
    place.patch.setattr("imagen.runs.folder.shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    training()(place)


def without_average(place):
    """A checkpoint in which the averaged weights are missing."""
    training("trainer.max_steps=1")(place)
    last = RunFolder(Path(place.compose("train", *SMALL).run_dir)).last_checkpoint
    content = AtomicCheckpointIO().load_checkpoint(last)
    state = {name: tensor for name, tensor in content["state_dict"].items() if not name.startswith("ema.")}
    AtomicCheckpointIO().save_checkpoint(content | {"state_dict": state}, last)
    training("trainer.max_steps=2")(place)


def sampling_a_checkpoint(state=None, **sections):
    """A checkpoint to sample, beside a configuration that somebody changed; `state`: somebody's tensors in its place.

    What a section does not say is as in a run of ours; a section that is None is missing.
    """

    def call(place):
        config = OmegaConf.to_container(place.compose("train", *SMALL), resolve=True)
        config = OmegaConf.merge(config, sections)
        folder = place.path / "run" / "checkpoints"
        folder.mkdir(parents=True)
        OmegaConf.save(config, folder.parent / "config.yaml")
        if state is None:
            stage = instantiate(place.compose("train", *SMALL).stage)
            content = {"state_dict": stage.state_dict(), "global_step": 1}
        else:
            content = {"state_dict": state, "global_step": 1}
        content["ImagenDataModule"] = {"next_position": 1, "global_batch_size": 4, "train_size": 64}
        AtomicCheckpointIO().save_checkpoint(content, folder / "last.ckpt")
        sample(place.compose("sample", *FAST, f"cascade.stages=[{folder}/last.ckpt]", f"out={place.path}/out"))

    return call


def evil_stage(place):
    """A pickle in the place of the safetensors file, its sha256 in the description."""

    def change(base: Path) -> None:
        (base / "model.safetensors").write_bytes(pickle.dumps(Evil()))
        described(weights_sha256=sha256_of_file(base / "model.safetensors"))(base)

    sampling(change=change)(place)


def evil_judge(place):
    """The weights of FID's Inception network are a pickle with code in it."""
    torch.save({"fc.weight": Evil()}, place.path / "inception.pth")
    overrides = ["metrics=published", f"metrics.judges.inception.weights={place.path}/inception.pth"]
    reference = ["metrics.judges.clip.path=/nowhere", "metrics.reference.source.path=/nowhere"]
    evaluate(place.compose("evaluate", *overrides, *reference))
