"""Ctrl-C and termination: save after the step that is under way, then stop."""

import signal
from types import FrameType
from typing import Any

from lightning import LightningModule, Trainer

from imagen.callbacks.last_checkpoint import SaveWhenStepIsOver


def stopped_by_signal(trainer: Trainer) -> bool:
    """Whether the training ends because somebody wants it to, before its time."""
    callbacks = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    return any(isinstance(callback, StopOnSignal) and callback.received is not None for callback in callbacks)


class StopOnSignal(SaveWhenStepIsOver):
    """On SIGINT or SIGTERM, writes the last checkpoint once the optimizer step is over, and ends the run.

    A second signal does what it would have done without us. `received` is the signal's number, or None. Of processes
    that train together it is enough that one gets the signal: the others stop behind the same step, as for SIGTERM.

    Args:
        path: of the file that a resumed run starts from.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def due(self, trainer: Trainer) -> bool:
        # In the middle of an accumulation the gradients so far would be lost: one more micro-batch, then.
        batches = trainer.fit_loop.total_batch_idx + 1
        if batches % trainer.accumulate_grad_batches or not self._any_received(trainer):
            return False
        trainer.should_stop = True
        trainer.limit_val_batches = 0  # Lightning validates before it stops; no undisturbed run validates here
        return True

    def _save_if_due(self, trainer: Trainer) -> None:
        if self.due(trainer):
            trainer.save_checkpoint(self.path)
            if trainer.is_global_zero:
                print(f"saved at step {trainer.global_step}; the same command goes on", flush=True)

    def _any_received(self, trainer: Trainer) -> bool:
        # All processes save together or none does: one alone would wait for the others, which have gone on. A signal
        # arriving during the vote reached this process only, so use the result of the vote.
        mine = self.received is not None
        if trainer.world_size == 1:
            return mine
        anyone = trainer.strategy.reduce_boolean_decision(mine, all=False)
        if anyone and self.received is None:
            self.received = signal.SIGTERM
        return anyone

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)

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
