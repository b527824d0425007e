"""Training speed."""

import time

from lightning import Callback, LightningModule, Trainer

from imagen.data.batch import Batch
from imagen.data.loading import BatchLoader


class ImagesPerSecond(Callback):
    """Logs train/images_per_second over all processes, and as train/waiting_for_data the share of that time in which
    this process waited for its next batch. Validation is not counted; a grid of samples or a checkpoint between two
    batches is."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._images, self._seconds, self._batch_ended = 0, 0.0, None
        self._waited = self._waited_then = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        now = time.monotonic()
        loader = trainer.train_dataloader
        waited = loader.waiting.seconds if isinstance(loader, BatchLoader) else 0.0
        if self._batch_ended is not None:
            self._images += len(batch.images) * trainer.world_size
            self._seconds += now - self._batch_ended
            self._waited += waited - self._waited_then
        self._batch_ended, self._waited_then = now, waited
        if trainer.global_step % trainer.log_every_n_steps == 0 and self._seconds:  # pyright: ignore[reportAttributeAccessIssue]
            pl_module.log("train/images_per_second", self._images / self._seconds, logger=False)
            pl_module.log("train/waiting_for_data", self._waited / self._seconds, logger=False)
            self._images, self._seconds, self._waited = 0, 0.0, 0.0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batch_ended = None  # the next batch is not timed: it waited for the validation
