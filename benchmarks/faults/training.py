"""Training runs that are killed, get a signal or a NaN loss, and resume."""

import math
import os
import random
import signal
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from benchmarks.faults.forks import in_child, killed_on_call, same
from imagen.app.train import train
from imagen.commandline.command import run_reporting_errors
from imagen.diffusion.denoiser import Denoiser
from imagen.places import ROOT
from imagen.stages.checkpoint_io import AtomicCheckpointIO
from imagen.stages.diffusion_stage import DiffusionStage
from imagen.stages.ema import WeightAverage

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

MOMENTS = [
    (DiffusionStage, "training_step", 10),  # between and in the middle of accumulations
    (DiffusionStage, "validation_step", 2),
    (torch, "save", 5),
    (Path, "replace", 15),  # before a finished file, or its sha256, replaces the old one
]


def configuration(folder: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", overrides=[*SMALL, f"paths.runs={folder}", *overrides])


def exit_code(config: DictConfig) -> int:
    """Exit code of `train.py` in a forked process."""
    return in_child(lambda: os._exit(run_reporting_errors(lambda: train(config))))


def final_state(config: DictConfig) -> dict[str, Any]:
    """Weights, average, optimizer state, step and loader position of the last checkpoint."""
    content = AtomicCheckpointIO().load_checkpoint(Path(config.run_dir, "checkpoints", "last.ckpt"))
    return {key: content[key] for key in ("state_dict", "optimizer_states", "global_step", "ImagenDataModule")}


def undisturbed(folder: Path, *overrides: str) -> dict[str, Any]:
    whole = configuration(folder / "whole", *overrides)
    assert exit_code(whole) == 0
    return final_state(whole)


def kills(workers: int):
    """Killed at a random moment and started again: bit-identical to an uninterrupted run."""

    def run(folder: Path, trials: int) -> int:
        option = f"data.num_workers={workers}"
        wanted, draw, survived = undisturbed(folder, option), random.Random(workers), 0
        for trial in range(trials):
            config = configuration(folder / str(trial), option)
            holder, name, most = MOMENTS[trial % len(MOMENTS)]
            nth = draw.randint(1, most)
            killed = in_child(lambda: (killed_on_call(holder, name, nth), train(config)))  # noqa: B023
            survived += killed == -signal.SIGKILL and exit_code(config) == 0 and same(final_state(config), wanted)
        return survived

    return run


def changed_workers(folder: Path, trials: int) -> int:
    """Stopped at steps 2 and 4, and resumed with another number of loader workers each time."""
    schedule = "stage.lr_schedule.total_steps=5"
    wanted, survived = undisturbed(folder, schedule), 0
    for trial, numbers in zip(range(trials), [(0, 2, 1), (2, 0, 1), (1, 0, 2), (2, 1, 0)], strict=False):
        for steps, workers in zip((2, 4, 5), numbers, strict=True):
            options = (schedule, f"data.num_workers={workers}", f"trainer.max_steps={steps}")
            config = configuration(folder / str(trial), *options)
            exit_code(config)
        survived += same(final_state(config), wanted)
    return survived


def signals(folder: Path, trials: int) -> int:
    """SIGTERM and SIGINT at a random batch: exit 143 and 130, at most the current step is lost, exact resume."""
    wanted, draw, survived = undisturbed(folder), random.Random(5), 0
    step = DiffusionStage.training_step
    for trial in range(trials):
        number = (signal.SIGTERM, signal.SIGINT)[trial % 2]
        at = draw.randint(0, 7)
        config = configuration(folder / str(trial), "callbacks.last.every_n_train_steps=1000")

        def signalled(self, batch, batch_idx, number=number, at=at):
            if batch.position == at:
                os.kill(os.getpid(), number)
            return step(self, batch, batch_idx)

        DiffusionStage.training_step = signalled
        code = exit_code_of_signal(config)
        DiffusionStage.training_step = step
        saved = final_state(config)["global_step"] == at // 2 + 1
        survived += code == 128 + number and saved and exit_code(config) == 0 and same(final_state(config), wanted)
    return survived


def exit_code_of_signal(config: DictConfig) -> int:
    """`exit_code` for a run that ends with SystemExit."""
    return in_child(lambda: train(config))


def not_a_number(folder: Path, trials: int) -> int:
    """The loss is NaN at a random batch: exit 2; the last checkpoint is finite and from the step before."""
    draw, healthy, survived = random.Random(6), Denoiser.loss, 0
    for trial in range(trials):
        config, sick = configuration(folder / str(trial), "trainer.limit_val_batches=0"), draw.randint(2, 9)
        calls = iter(range(1000))
        Denoiser.loss = lambda self, *args: healthy(self, *args) * (math.nan if next(calls) == sick else 1)  # noqa: B023
        code = exit_code(config)
        Denoiser.loss = healthy
        saved = final_state(config)
        finite = all(tensor.isfinite().all() for tensor in saved["state_dict"].values())
        survived += code == 2 and finite and saved["global_step"] == sick // 2
    return survived


def average_of_bfloat16(folder: Path, trials: int) -> int:
    """20,000 updates with decay 0.9999 from 1 towards 0 give 0.9999^20000 = 0.135; in bfloat16 it would stay at 1."""
    survived = 0
    for _ in range(trials):
        layer = torch.nn.Linear(1, 1, bias=False).bfloat16()
        torch.nn.init.ones_(layer.weight)
        average = WeightAverage(layer, 0.9999)
        torch.nn.init.zeros_(layer.weight)
        for step in range(100_000, 120_000):  # after the steps in which the decay still rises
            average.update(layer, step)
        survived += abs(average.module.weight.item() - 0.9999**20_000) < 1e-3
    return survived
