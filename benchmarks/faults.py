"""Fault injection: `make faults`. Imports once, forks each trial, prints failure, trials, survived, target.

A trial of the first two rows trains a tiny network in a process that kills itself with SIGKILL at a random moment,
starts it again, and compares weights, average, optimizer state and loader position with a run that nobody disturbed.
"""

import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from imagen.app.command import ROOT, prepare_environment
from imagen.app.train import train
from imagen.errors import UserError
from imagen.stages.checkpoint_io import AtomicCheckpointIO
from imagen.stages.diffusion_stage import DiffusionStage

FORK = multiprocessing.get_context("fork")
SMALL = [
    "stage.denoiser.network.embedding_features=32",
    "stage.denoiser.network.levels=[{_target_: imagen.networks.levels.LevelSpec, stride: 2, channels: 32, "
    "num_blocks: 1, "
    "attention: {_target_: imagen.networks.attention.SelfAttentionSpec, head_channels: 32, expansion: 1}}]",
    "debug=default", "text.mode=online", "data.batch_size=4", "data.train.size=64", "data.validation.size=4",
    "resolutions=[8,16,32]", "trainer.accelerator=cpu", "callbacks=minimal", "logger=none",
    "callbacks.last.every_n_train_steps=1", "callbacks.progress=null", "trainer.max_steps=5",
    "trainer.accumulate_grad_batches=2", "trainer.val_check_interval=4",
]  # fmt: skip


def configuration(folder: Path, workers: int) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", overrides=[*SMALL, f"paths.runs={folder}", f"data.num_workers={workers}"])


def in_child(call: Callable[[], object]) -> int:
    """Exit code of `call` in a forked process that says nothing."""

    def run() -> None:
        torch.set_num_threads(1)
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            call()

    process = FORK.Process(target=run)
    process.start()
    process.join()
    return process.exitcode


def killed_on_call(holder: Any, name: str, nth: int) -> None:
    """`holder.name` kills this process when it is called for the nth time."""
    original, calls = getattr(holder, name), iter(range(1, 1000))

    def call(*arguments: Any, **options: Any) -> Any:
        if next(calls) == nth:
            if holder is torch:  # half of the checkpoint is in the file
                arguments[1].write(b"half a checkpoint")
                arguments[1].flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(holder, name, call)


MOMENTS = [
    (DiffusionStage, "training_step", 10),  # between and in the middle of accumulations
    (DiffusionStage, "validation_step", 2),
    (torch, "save", 5),
    (Path, "replace", 15),  # before a finished file, or its sha256, takes the place of the old one
]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def final_state(config: DictConfig) -> dict[str, Any]:
    content = AtomicCheckpointIO().load_checkpoint(Path(config.run_dir, "checkpoints", "last.ckpt"))
    return {key: content[key] for key in ("state_dict", "optimizer_states", "global_step", "ImagenDataModule")}


def kills_in_training(folder: Path, workers: int, trials: int) -> int:
    whole = configuration(folder / "whole", workers)
    assert in_child(lambda: train(whole)) == 0
    wanted, draw, survived = final_state(whole), random.Random(workers), 0
    for trial in range(trials):
        config = configuration(folder / str(trial), workers)
        holder, name, most = MOMENTS[trial % len(MOMENTS)]
        nth = draw.randint(1, most)
        killed = in_child(lambda: (killed_on_call(holder, name, nth), train(config)))  # noqa: B023
        resumed = in_child(lambda: train(config))  # noqa: B023
        survived += killed == -signal.SIGKILL and resumed == 0 and same(final_state(config), wanted)
    return survived


def kills_in_a_save(folder: Path, trials: int) -> int:
    path, draw, survived = folder / "last.ckpt", random.Random(0), 0
    content = {"state_dict": {"w": torch.randn(500_000)}}

    def save_for_ever() -> None:
        for step in range(100_000):
            AtomicCheckpointIO().save_checkpoint(content | {"global_step": step}, path)

    save = AtomicCheckpointIO().save_checkpoint
    save(content | {"global_step": -1}, path)
    for _ in range(trials):
        process = FORK.Process(target=save_for_ever)
        process.start()
        time.sleep(0.05 + draw.random())
        process.kill()
        process.join()
        survived += same(AtomicCheckpointIO().load_checkpoint(path)["state_dict"], content["state_dict"])
    return survived


def flipped_bits(folder: Path, trials: int) -> int:
    path, draw, noticed = folder / "last.ckpt", random.Random(0), 0
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": torch.randn(5000)}}, path)
    whole = path.read_bytes()
    for _ in range(trials):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        try:
            AtomicCheckpointIO().load_checkpoint(path)
        except UserError:
            noticed += 1
    return noticed


def main() -> None:
    prepare_environment()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)
    rows = [
        ("kill -9 in training, 0 workers: bit-identical", 20, lambda at, n: kills_in_training(at, 0, n)),
        ("kill -9 in training, 2 workers: bit-identical", 20, lambda at, n: kills_in_training(at, 2, n)),
        ("kill -9 inside a save: checkpoint whole", 10, kills_in_a_save),
        ("one flipped bit of a checkpoint: noticed", 200, flipped_bits),
    ]
    print(f"{'failure':<48} {'trials':>6} {'survived':>8} {'target':>6} {'seconds':>7}")
    lost = 0
    for failure, trials, run in rows:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.monotonic()
            survived = run(Path(folder), trials)
        print(f"{failure:<48} {trials:>6} {survived:>8} {trials:>6} {time.monotonic() - begun:>7.0f}", flush=True)
        lost += trials - survived
    raise SystemExit(bool(lost))


if __name__ == "__main__":
    main()
