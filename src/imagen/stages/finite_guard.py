"""Keeps what is not finite out of weights, average and optimizer state, and writes down what it came from."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from imagen.data.batch import Batch
from imagen.errors import UserError
from imagen.files import write_json
from imagen.tensors import PerImage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MicroBatch:
    """What one backward pass saw."""

    position: int
    ids: Tensor
    captions: tuple[str, ...]
    log_snr: PerImage
    losses: PerImage


class FiniteGuard:
    """Judges each optimizer step before it is taken: losses and gradient finite, or the step is skipped.

    Args:
        max_skipped_steps: number of non-finite steps to skip before stopping; the next one stops the run.
        seed: of the run, for the report.

    Attributes:
        skipped_steps: number of steps skipped so far; saved with the checkpoint.

    Raises:
        UserError: if `max_skipped_steps` is negative.
    """

    def __init__(self, max_skipped_steps: int, seed: int) -> None:
        if max_skipped_steps < 0:
            raise UserError(f"stage.max_skipped_steps={max_skipped_steps}: 0 or more are needed")
        self.max_skipped_steps, self.seed, self.skipped_steps = max_skipped_steps, seed, 0
        self._micro_batches: list[MicroBatch] = []  # since the last optimizer step

    def add(self, batch: Batch, log_snr: PerImage, losses: PerImage) -> None:
        """Note the losses of one backward pass of the step under way."""
        self._micro_batches.append(MicroBatch(batch.position, batch.ids, batch.captions, log_snr, losses.detach()))

    def judged(self, norm: Tensor) -> Tensor:
        """Of the step under way, in this process: 1 if the gradient, of this norm, and all losses are finite, else 0;
        and the mean loss. Shape (2,), on the device."""
        losses = torch.stack([micro.losses.mean() for micro in self._micro_batches])
        finite = norm.isfinite() & torch.stack([micro.losses.isfinite().all() for micro in self._micro_batches]).all()
        return torch.stack([finite.to(losses.dtype), losses.mean()])

    def skip(self, step: int, rank: int, norm: float, folder: Path) -> None:
        """Count optimizer step number `step` as skipped, with a report in `folder` and a warning.

        Raises:
            UserError: if no more steps may be skipped.
        """
        last, report = self._micro_batches[-1], self._write_report(step, rank, norm, folder)
        what = f"the gradient is {norm} at batch {last.position} (examples {last.ids.tolist()}): nothing was updated"
        if self.skipped_steps >= self.max_skipped_steps:
            raise UserError(
                f"{what}; ids, noise levels and losses are in {report}; resume from the last checkpoint with a smaller "
                "stage.optimizer.lr, trainer.precision=32-true, or stage.max_skipped_steps=10"
            )
        self.skipped_steps += 1
        log.warning("%s; skipped step %d, %d of %d", what, step, self.skipped_steps, self.max_skipped_steps)

    def forget(self) -> None:
        """The step is over."""
        self._micro_batches.clear()

    def _write_report(self, step: int, rank: int, norm: float, folder: Path) -> Path:
        """What the step was made of: with seed, position and rank it can be repeated exactly."""
        report = {
            "step": step,
            "seed": self.seed,
            "rank": rank,
            "gradient_norm": str(norm),
            "micro_batches": [
                {
                    "position": micro.position,
                    "ids": micro.ids.tolist(),
                    "captions": list(micro.captions),
                    "log_snr": micro.log_snr.tolist(),
                    "losses": [str(loss) for loss in micro.losses.tolist()],  # JSON has no NaN
                }
                for micro in self._micro_batches
            ],
        }
        path = folder / f"step-{step:07d}-rank-{rank}.json"
        write_json(report, path)
        return path
