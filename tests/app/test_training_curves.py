"""The curves of a killed and resumed run equal those of an uninterrupted run: no gap, no repeat, no lost line."""

import csv
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from small_configurations import SMALL
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from imagen.app.train import train
from imagen.callbacks.loggers import ResumableTensorBoardLogger
from imagen.stages.diffusion_stage import DiffusionStage

FORK = multiprocessing.get_context("fork")
MEASURED = "train/images_per_second"  # a time, which no run repeats


@pytest.fixture
def run(compose_config):
    """run("name") is the configuration of a run with both loggers, a checkpoint every 2 steps and 7 steps in all."""

    def composed(name: str, *overrides: str):
        return compose_config(
            "train", *SMALL, "callbacks=minimal", "callbacks.last.every_n_train_steps=2", "trainer.max_steps=7",
            "trainer.val_check_interval=4", "trainer.accumulate_grad_batches=2", "trainer.limit_val_batches=2",
            "data.validation.size=8", "+logger.csv._target_=imagen.callbacks.loggers.CSVCurves",
            "+logger.csv.folder=${run_dir}/csv", f"name={name}", *overrides,
        )  # fmt: skip

    return composed


def events(config) -> list[tuple[str, int, str]]:
    """(tag, step, value) of every scalar in every event file."""
    found = []
    for path in Path(config.run_dir).glob("events.out.tfevents.*"):
        for event in EventFileLoader(str(path)).Load():
            found += [
                (value.tag, event.step, str(value.tensor.float_val))
                for value in event.summary.value
                if value.tag != MEASURED and not value.tag.startswith("_hparams_")
            ]
    return sorted(found)


def rows(config) -> list[dict[str, str]]:
    with Path(config.run_dir, "csv", "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name != MEASURED} for row in csv.DictReader(file)]


def train_and_die(config, method: str, nth: int) -> None:
    """Train in a process that kills itself when this method of the stage is called for the nth time."""

    def target() -> None:
        torch.set_num_threads(1)
        original, calls = getattr(DiffusionStage, method), iter(range(1, 1000))

        def call(*arguments, **options):
            if next(calls) == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        setattr(DiffusionStage, method, call)
        train(config)

    process = FORK.Process(target=target)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


DEATHS = [
    ("training_step", 2),  # before the first checkpoint
    ("training_step", 8),  # in the second half of an accumulation
    ("validation_step", 1),  # before the checkpoint of step 4, which waits for the validation
    ("training_step", 7),  # after it, by two updates that are made again
]


@pytest.mark.slow
def test_curves_after_kills_and_a_signal_are_those_of_an_undisturbed_run(run, monkeypatch):
    whole, broken = run("whole"), run("broken")
    train(whole)
    for method, nth in DEATHS:
        train_and_die(broken, method, nth)
    step = DiffusionStage.training_step

    def signalled(self, batch, batch_idx):
        if batch.position == 11:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(DiffusionStage, "training_step", signalled)
        with pytest.raises(SystemExit):
            train(broken)
    train(broken)
    assert [int(row["step"]) for row in rows(whole)] == list(range(1, 8))
    assert [row["step"] for row in rows(whole) if row["val/loss"]] == ["2", "4", "6"]
    assert rows(broken) == rows(whole)
    places = [(tag, step) for tag, step, _ in events(broken)]
    assert len(places) == len(set(places))
    assert events(broken) == events(whole)
    assert {tag for tag, _ in places} >= {"loss/train", "loss/validation", "train/gradient_norm", "train/learning_rate"}


def test_a_resumed_run_of_an_earlier_version_keeps_its_curves_under_their_present_names(tmp_path):
    """Which began with the chart of a value that was not there yet."""
    logger = TensorBoardLogger(str(tmp_path), name="", version="")
    for step in (1, 2, 3):
        logger.log_metrics({"train/loss": float(step), "val/loss": step / 2, "final/val_loss": float("nan")}, step)
    logger.log_metrics({"final/val_loss": 1.5}, 4)
    logger.finalize("success")
    ResumableTensorBoardLogger(str(tmp_path), name="", version="").resume_at(2)
    log = EventAccumulator(str(tmp_path))
    log.Reload()
    scalars = {tag: [(event.step, event.value) for event in log.Scalars(tag)] for tag in log.Tags()["scalars"]}
    assert scalars == {"loss/train": [(1, 1.0), (2, 2.0)], "loss/validation": [(1, 0.5), (2, 1.0)]}
