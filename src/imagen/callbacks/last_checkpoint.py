"""The checkpoint that a run resumes from, written once its step is complete."""

from abc import ABC, abstractmethod

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from imagen.errors import UserError
from imagen.files import user_path


class SaveWhenStepIsOver(Checkpoint, ABC):
    """Writes `path` after every step that is `due`, and after the validation of that step if there is one.

    A run that resumes from a checkpoint does not repeat the validation of that step. Saved before it, as Lightning's
    callback does, a kill within the validation would lose its line in the curves.
    """

    def __init__(self, path: str) -> None:
        self.path = user_path(path)

    @abstractmethod
    def due(self, trainer: Trainer) -> bool:
        """Whether the state after the optimizer step that was just made is to be saved."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if not _validation_follows(trainer):
            self._save_if_due(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._save_if_due(trainer)

    def _save_if_due(self, trainer: Trainer) -> None:
        if self.due(trainer):
            trainer.save_checkpoint(self.path)


class LastCheckpoint(SaveWhenStepIsOver):
    """Writes `path` every `every_n_train_steps` optimizer steps.

    Args:
        path: of the file.
        every_n_train_steps: optimizer steps between two checkpoints.

    Raises:
        UserError: if that is below 1.
    """

    def __init__(self, path: str, every_n_train_steps: int) -> None:
        super().__init__(path)
        if every_n_train_steps < 1:
            raise UserError(f"callbacks.last.every_n_train_steps={every_n_train_steps}: at least 1")
        self.every_n_train_steps = every_n_train_steps
        self._saved_at = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = trainer.global_step

    def due(self, trainer: Trainer) -> bool:
        step = trainer.global_step
        # Once, however many micro-batches a step has.
        if step % self.every_n_train_steps or step == self._saved_at:
            return False
        self._saved_at = step
        return True


def _validation_follows(trainer: Trainer) -> bool:
    """Whether Lightning will validate once the hooks at the end of this batch have run."""
    batches, interval = trainer.fit_loop.total_batch_idx + 1, trainer.val_check_batch
    return trainer.enable_validation and interval is not None and batches % interval == 0
