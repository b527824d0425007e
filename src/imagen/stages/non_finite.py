"""What was trained on when a loss or a gradient stopped being finite."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from imagen.files import write_json
from imagen.tensors import PerImage


@dataclass(frozen=True)
class MicroBatch:
    """What one backward pass saw."""

    position: int
    ids: Tensor
    captions: tuple[str, ...]
    log_snr: PerImage
    losses: PerImage

    @property
    def finite(self) -> bool:
        return bool(self.losses.isfinite().all())


def write_report(
    folder: Path, step: int, seed: int, rank: int, norm: float, micro_batches: Sequence[MicroBatch]
) -> Path:
    """Write what optimizer step `step` was made of: with seed, position and rank it can be repeated exactly."""
    report = {
        "step": step,
        "seed": seed,
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
            for micro in micro_batches
        ],
    }
    path = folder / f"step-{step:07d}-rank-{rank}.json"
    write_json(report, path)
    return path
