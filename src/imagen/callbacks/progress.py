"""Progress of training: a bar on a terminal, plain lines elsewhere."""

import sys
import time

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

SECONDS_BETWEEN_LINES = 15.0


def make_progress() -> Callback:
    """A bar where standard output is a terminal, lines elsewhere."""
    return ProgressBar(refresh_rate=5) if sys.stdout.isatty() else ProgressLines()


class ProgressBar(RichProgressBar):
    """Lightning's, without the number of the epoch: a training has one, which is endless."""

    def _get_train_description(self, current_epoch: int) -> str:
        return "Training".ljust(len(self.validation_description))


class ProgressLines(Callback):
    """Every fifteen seconds: step, loss, speed, time left."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = self._shown = time.monotonic()
        self._first_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        now = time.monotonic()
        finished = trainer.global_step >= trainer.max_steps
        if not trainer.is_global_zero or (now - self._shown < SECONDS_BETWEEN_LINES and not finished):
            return
        self._shown = now
        done = trainer.global_step - self._first_step
        seconds = (now - self._started) / max(1, done)
        losses = "  ".join(f"{name} {value:.4f}" for name, value in sorted(trainer.progress_bar_metrics.items()))
        print(
            f"step {trainer.global_step}/{trainer.max_steps}  {losses}  {1000 * seconds:.0f} ms/step  "
            f"{seconds * (trainer.max_steps - trainer.global_step) / 60:.1f} min left",
            flush=True,
        )
