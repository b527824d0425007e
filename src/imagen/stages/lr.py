"""Learning-rate schedules."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from imagen.errors import UserError


def constant(optimizer: Optimizer) -> LambdaLR:
    """The optimizer's own learning rate, from the first step to the last."""
    return LambdaLR(optimizer, lambda step: 1.0)


def warmup_then_cosine(optimizer: Optimizer, warmup_steps: int, total_steps: int, floor: float = 0.0) -> LambdaLR:
    """Linear warm-up over `warmup_steps`, then a cosine to `floor` times the rate at `total_steps` (appendix F).

    Raises:
        UserError: if there are fewer `total_steps` than `warmup_steps`, or a negative number of either.
    """
    if not 0 <= warmup_steps <= total_steps:
        raise UserError(
            f"lr_schedule: warmup_steps={warmup_steps} must lie between 0 and total_steps={total_steps}; "
            "set stage.lr_schedule.warmup_steps or trainer.max_steps"
        )

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)
