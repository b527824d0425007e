"""Measure how long one training step of a configuration takes on this machine."""

import statistics
import tempfile
import time

from lightning import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from imagen.data.module import make_data
from imagen.instantiation import instantiate
from imagen.runs.trainer import quieten_libraries


class StepTimer(Callback):
    """Times each step, from the end of one batch to the end of the next, and stops the training after `seconds`.

    Args:
        seconds: counted from the end of the first batch; at least `FEWEST` steps are taken.
    """

    FEWEST = 6

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.ends: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self.ends.append(time.monotonic())
        if len(self.ends) >= self.FEWEST and self.ends[-1] - self.ends[0] >= self.seconds:
            trainer.should_stop = True

    def median(self) -> float:
        """Median seconds of the second half of the steps; the first half warms up."""
        seconds = [after - before for before, after in zip(self.ends, self.ends[1:], strict=False)]
        return statistics.median(seconds[len(seconds) // 2 :])


def seconds_per_step(config: DictConfig, seconds: float = 10.0) -> float:
    """Median seconds of one optimizer step, loading included, measured by training for `seconds`.

    Nothing is kept but the embedding cache, which the training will use.
    """
    quieten_libraries()
    timer = StepTimer(seconds)
    with tempfile.TemporaryDirectory() as folder:
        trainer: Trainer = instantiate(
            {**config.trainer, "limit_val_batches": 0, "enable_checkpointing": False},
            callbacks=[timer],
            logger=False,
            default_root_dir=folder,
        )
        trainer.fit(instantiate(config.stage), make_data(config.data))
    return timer.median()
