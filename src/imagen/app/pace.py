"""How long one training step of a configuration takes on this machine, by taking a few."""

import statistics
import tempfile
import time

from lightning import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from imagen.app.train import quieten_libraries
from imagen.instantiation import instantiate


class StepTimer(Callback):
    """Seconds from the end of one batch to the end of the next."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self.ends.append(time.monotonic())

    def median(self) -> float:
        """Of the second half of the steps: the first ones warm up."""
        seconds = [after - before for before, after in zip(self.ends, self.ends[1:], strict=False)]
        return statistics.median(seconds[len(seconds) // 2 :])


def seconds_per_step(config: DictConfig, steps: int = 12) -> float:
    """Seconds of one optimizer step, loading included; the median of the last few of `steps` (at least 3).

    Nothing is kept but the cache of embeddings, which the training will want.
    """
    quieten_libraries()
    timer = StepTimer()
    with tempfile.TemporaryDirectory() as folder:
        trainer: Trainer = instantiate(
            {**config.trainer, "max_steps": steps, "limit_val_batches": 0, "enable_checkpointing": False},
            callbacks=[timer],
            logger=False,
            default_root_dir=folder,
        )
        trainer.fit(instantiate(config.stage), instantiate(config.data))
    return timer.median()
