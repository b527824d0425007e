"""Metrics of every step, on disk before any later checkpoint."""

from lightning import Callback, Trainer

from imagen.stages.diffusion_stage import DiffusionStage


class Curves(Callback):
    """Writes the training and validation metrics of a step to every logger; the step is the number of updates made.

    Lightning writes them after the hooks in which checkpoints are saved: a kill between the two loses a line for good.

    Attributes:
        validation: metrics of the last validation, also if that was before the run was resumed.
    """

    def __init__(self) -> None:
        self.validation: dict[str, float] = {}
        self._written_at = 0
        self._learning_rate = 0.0

    def on_train_start(self, trainer: Trainer, stage: DiffusionStage) -> None:
        self._written_at = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, stage: DiffusionStage, batch: object, batch_idx: int) -> None:
        self._learning_rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: Trainer, stage: DiffusionStage, outputs: object, batch: object, batch_idx: int
    ) -> None:
        step = trainer.global_step
        # Once, however many micro-batches a step has.
        if step % trainer.log_every_n_steps or step == self._written_at:  # pyright: ignore[reportAttributeAccessIssue]
            return
        self._written_at = step
        means = stage.bands.pop(lambda tensor: trainer.strategy.reduce(tensor.clone(), reduce_op="sum"))
        bands = {f"train/loss_log_snr/{name}": mean.item() for name, mean in means.items()}
        _write(trainer, _metrics(trainer, "train/") | bands | {"train/learning_rate": self._learning_rate})

    def on_validation_end(self, trainer: Trainer, stage: DiffusionStage) -> None:
        if not trainer.sanity_checking:
            self.validation = _metrics(trainer, "val/")
            _write(trainer, self.validation)

    def on_save_checkpoint(self, trainer: Trainer, stage: DiffusionStage, checkpoint: dict) -> None:
        for logger in trainer.loggers:
            logger.save()

    def state_dict(self) -> dict[str, float]:
        return self.validation

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.validation = dict(state_dict)


def _metrics(trainer: Trainer, prefix: str) -> dict[str, float]:
    """The last values of the metrics whose names begin with `prefix`."""
    return {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith(prefix)}


def _write(trainer: Trainer, metrics: dict[str, float]) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(metrics, trainer.global_step)
