"""Two processes that train together, of which one is killed or gets a signal."""

import os
import random
import signal
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from benchmarks.faults.forks import killed_on_call, same
from benchmarks.faults.training import configuration, final_state
from benchmarks.together import exit_codes, rank, start_together
from imagen.app.train import train
from imagen.stages.diffusion_stage import DiffusionStage

MOMENTS = [(DiffusionStage, "training_step", 9), (DiffusionStage, "validation_step", 2)]
IN_A_SAVE = [(torch, "save", 4), (Path, "replace", 12)]
MOST_SECONDS = 60
"""That the others may go on for."""


def kills(trainer: str, in_a_save: bool = False):
    """One process is killed, in turn the first and the second; a save is the first one's. The other ends with exit code
    3 within a minute; started again, the run is bit-identical to an undisturbed one."""

    def run(folder: Path, trials: int) -> int:
        wanted, draw, survived = _undisturbed(folder, trainer), random.Random(trainer), 0
        for trial in range(trials):
            config = _small(folder / str(trial), trainer)
            holder, name, most = draw.choice(IN_A_SAVE if in_a_save else MOMENTS)
            victim, nth = 0 if in_a_save else trial % 2, draw.randint(1, most)

            def killed(victim=victim, holder=holder, name=name, nth=nth, config=config) -> None:
                if rank() == victim:
                    killed_on_call(holder, name, nth)
                train(config)

            codes = exit_codes(start_together(killed, quiet=True), MOST_SECONDS)
            ended = codes[victim] == -signal.SIGKILL and codes[1 - victim] == 3
            survived += ended and _trained(config) and same(final_state(config), wanted)
        return survived

    return run


def signals(trainer: str):
    """One process gets SIGTERM, in turn the first and the second: both stop after the same step, exit 143 and 0."""

    def run(folder: Path, trials: int) -> int:
        wanted, draw, survived = _undisturbed(folder, trainer), random.Random(trainer), 0
        for trial in range(trials):
            config = _small(folder / str(trial), trainer, "callbacks.last.every_n_train_steps=1000")
            victim, at = trial % 2, draw.randint(0, 7)
            step = DiffusionStage.training_step

            def train_signalled(victim=victim, at=at, step=step, config=config) -> None:
                def signalled(self, batch, batch_idx):
                    if batch.position == at and rank() == victim:
                        os.kill(os.getpid(), signal.SIGTERM)
                    return step(self, batch, batch_idx)

                DiffusionStage.training_step = signalled
                train(config)

            codes = exit_codes(start_together(train_signalled, quiet=True))
            saved = final_state(config)["global_step"] == at // 2 + 1
            survived += codes == [143, 0] and saved and _trained(config) and same(final_state(config), wanted)
        return survived

    return run


def _small(folder: Path, trainer: str, *overrides: str) -> DictConfig:
    return configuration(folder, f"trainer={trainer}", *overrides)


def _undisturbed(folder: Path, trainer: str) -> dict[str, Any]:
    config = _small(folder / "whole", trainer)
    assert _trained(config)
    return final_state(config)


def _trained(config: DictConfig) -> bool:
    """Whether both processes reach the end."""
    return exit_codes(start_together(lambda: train(config), quiet=True)) == [0, 0]
