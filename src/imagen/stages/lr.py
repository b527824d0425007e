"""Learning-rate schedules."""

import logging
import math
from functools import cache

from lightning.pytorch.utilities import rank_zero_only
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from imagen.errors import UserError

log = logging.getLogger(__name__)


def constant(optimizer: Optimizer) -> LambdaLR:
    """The optimizer's own learning rate, from the first step to the last."""
    return LambdaLR(optimizer, lambda step: 1.0)


def warmup_then_cosine(optimizer: Optimizer, warmup_steps: int, total_steps: int, floor: float = 0.0) -> LambdaLR:
    """Linear warm-up over `warmup_steps`, then a cosine to `floor` times the rate at `total_steps` (appendix F).

    A warm-up longer than `total_steps` is shortened to a tenth of them, with a line in the log. The rate of a step
    depends on the arguments alone, so a resumed run has those of an uninterrupted one of the same `total_steps`.
    One resumed with other `total_steps` follows the new schedule from its first step on: its rate may jump, and if the
    warm-up had been shortened, be that of a longer warm-up.

    Raises:
        UserError: for a negative number of either.
    """
    if min(warmup_steps, total_steps) < 0:
        raise UserError(
            f"lr_schedule: warmup_steps={warmup_steps} and total_steps={total_steps} must be 0 or more; "
            "set stage.lr_schedule.warmup_steps or trainer.max_steps"
        )
    warmup = warmup_steps if warmup_steps <= total_steps else total_steps // 10
    if warmup < warmup_steps:
        _announce(warmup_steps, total_steps, warmup)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


@rank_zero_only
@cache  # the optimizer is built twice: once to see whether it can be
def _announce(warmup_steps: int, total_steps: int, warmup: int) -> None:
    log.warning(
        "the learning rate warms up in %d steps: stage.lr_schedule.warmup_steps=%d is longer than the run of %d",
        warmup, warmup_steps, total_steps,
    )  # fmt: skip
