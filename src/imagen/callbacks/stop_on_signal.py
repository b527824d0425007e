"""Ctrl-C and termination: save after the step that is under way, then stop."""

import signal
from types import FrameType

from lightning import Callback, LightningModule, Trainer


class StopOnSignal(Callback):
    """On SIGINT or SIGTERM, writes the last checkpoint once the optimizer step is whole, and ends the run.

    A second signal does what it would have done without us. `received` is the signal's number, or None.

    Args:
        checkpoint: path of the file that a resumed run starts from.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint
        self.received: int | None = None
        self._before: dict[int, object] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        # In the middle of an accumulation the gradients so far would be lost: one more micro-batch, then.
        if self.received is not None and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            trainer.save_checkpoint(self.checkpoint)
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
