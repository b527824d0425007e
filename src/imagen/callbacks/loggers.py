"""Loggers that a resumed run goes on with: what was written after its checkpoint is dropped, and written again."""

import csv
from io import StringIO
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from imagen.files import create, user_path, write_text

BEGINNING = -1
"""Nothing was written at so low a step."""


class ResumableTensorBoardLogger(TensorBoardLogger):
    """TensorBoard events in one folder, in one more file for each time the run is started."""

    @rank_zero_only
    def resume_at(self, step: int) -> None:
        """Drop the events of later steps from the files there are. To be called before the first event is written."""
        for path in sorted(Path(self.log_dir).glob("events.out.tfevents.*")):
            _drop_events_after(step, path)


class CSVCurves(Logger):
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
    """Write the event file at `path` again without later steps, and without the half record that a kill leaves."""
    partial = path.with_name(f".{path.name}.part")
    kept = 0
    with create(partial) as file:
        writer = RecordWriter(file)
        for record in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(record)
            if event.step <= step or event.HasField("file_version"):
                writer.write(record)
                kept += event.HasField("summary")
    if kept:
        partial.replace(path)
    else:
        partial.unlink()
        path.unlink()
