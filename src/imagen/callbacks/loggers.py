"""Loggers that a resumed run goes on with: what was written after its checkpoint is dropped, and written again."""

import csv
from argparse import Namespace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]: made by protobuf
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import hparams

from imagen.files import create, user_path, write_text

BEGINNING = -1
"""Nothing was written at so low a step."""

CHARTS = {"train/loss": "loss/train", "val/loss": "loss/validation"}
"""Names of some metrics in TensorBoard, which sorts its charts by name: the losses come first."""

FORMER_CHART = "final/val_loss"
"""A chart of earlier versions, with one value; dropped on resume."""


class RunLogger(Logger):
    """What training asks of a logger besides the methods of Lightning's `Logger`; by default nothing is done."""

    @property
    def place(self) -> str:
        """Where a user finds what was logged: a command, a file or an address."""
        return ""

    def resume_at(self, step: int) -> None:
        """Prepare to log what follows on `step`, `BEGINNING` for a new run. Called once, before all else."""

    def log_text(self, name: str, text: str) -> None:
        """A text that belongs to the whole run."""

    def log_picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """`picture`: uint8, (height, width, 3)."""

    def close(self) -> None:
        """Nothing more will be logged, whether the training succeeded or not."""


def run_loggers(trainer: Trainer) -> list[RunLogger]:
    """The loggers of a training, each of which is a `RunLogger`."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, RunLogger)]
    assert len(loggers) == len(trainer.loggers), trainer.loggers
    return loggers


class ResumableTensorBoardLogger(TensorBoardLogger, RunLogger):
    """TensorBoard events in one folder, in one more file for each time the run is started."""

    @property
    def place(self) -> str:
        return f"tensorboard --logdir {Path(self.log_dir)}"

    @rank_zero_only
    def resume_at(self, step: int) -> None:
        """Drop the events of later steps from the files there are."""
        for path in sorted(Path(self.log_dir).glob("events.out.tfevents.*")):
            _drop_events_after(step, path)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: object, **kwargs: object) -> None:
        """The columns of the HPARAMS tab, beside those of the losses.

        Lightning's method would also log a first value of each metric, and so make a chart of it.
        """
        self.hparams.update(vars(params) if isinstance(params, Namespace) else params)
        for summary in hparams(params, dict.fromkeys(CHARTS.values(), 0.0)):
            self.experiment._get_file_writer().add_summary(summary)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        super().log_metrics({CHARTS.get(name, name): value for name, value in metrics.items()}, step)

    @rank_zero_only
    def log_text(self, name: str, text: str) -> None:
        self.experiment.add_text(name, "    " + text.replace("\n", "\n    "))  # indented: shown as it is

    @rank_zero_only
    def log_picture(self, name: str, picture: np.ndarray, step: int) -> None:
        self.experiment.add_image(name, picture, step, dataformats="HWC")


class CSVCurves(RunLogger):
    """One table, `<folder>/metrics.csv`, with one row for each step, in order.

    The whole table is held and written each time, to a temporary file that is renamed: a kill leaves no half of a row.
    Lightning's CSVLogger deletes the table when a run is started again.

    Args:
        folder: of the table.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = user_path(folder) / "metrics.csv"
        self._rows: dict[int, dict[str, Any]] = {}

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    def place(self) -> str:
        return str(self.path)

    @rank_zero_only
    def resume_at(self, step: int) -> None:
        """Take over the rows up to `step` from the table there is."""
        if self.path.is_file():
            with self.path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    if int(row["step"]) <= step:
                        self._rows[int(row["step"])] = {name: value for name, value in row.items() if value}

    @rank_zero_only
    def log_hyperparams(self, *args: object, **kwargs: object) -> None:
        """Nothing: config.yaml, in the run's folder, holds them all."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert step is not None, "Lightning always gives it"
        self._rows.setdefault(step, {"step": step}).update(metrics)

    @rank_zero_only
    def save(self) -> None:
        names = {name for row in self._rows.values() for name in row} - {"step"}
        table = StringIO(newline="")
        writer = csv.DictWriter(table, ["step", *sorted(names)])
        writer.writeheader()
        writer.writerows(row for _, row in sorted(self._rows.items()))
        write_text(table.getvalue(), self.path)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()


def _drop_events_after(step: int, path: Path) -> None:
    """Write the event file at `path` again without later steps, and without the half record that a kill leaves.

    Charts of earlier versions get their present names.
    """
    partial = path.with_name(f".{path.name}.part")
    kept = 0
    with create(partial) as file:
        writer = RecordWriter(file)
        for record in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(record)
            if event.step > step and not event.HasField("file_version"):
                continue
            if event.HasField("summary") and not _under_present_names(event):
                continue
            writer.write(event.SerializeToString())
            kept += event.HasField("summary")
    if kept:
        partial.replace(path)
    else:
        partial.unlink()
        path.unlink()


def _under_present_names(event: Event) -> bool:
    """Rename the values of `event`; whether any are left."""
    values = [value for value in event.summary.value if value.tag != FORMER_CHART]
    for value in values:
        value.tag = CHARTS.get(value.tag, value.tag)
    if len(values) < len(event.summary.value):
        kept = [type(value).FromString(value.SerializeToString()) for value in values]
        del event.summary.value[:]
        event.summary.value.extend(kept)
    return bool(values)
