"""What a resumed run may change, put back after Lightning has restored the checkpoint's own values."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning import Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from imagen.errors import UserError


def settings_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The settings of each parameter group but the current learning rate, as the configuration asks for them."""
    restored = {"params", "lr"}
    return [{name: group[name] for name in group.keys() - restored} for group in optimizer.param_groups]


def apply_settings(asked: Sequence[Mapping[str, Any]], optimizer: Optimizer, scheduler: LRScheduler) -> None:
    """Give each parameter group the settings `asked` for, and the learning rate of its schedule for the next step.

    The schedule may be another than before (`total_steps` follows `max_steps`). Where nothing changed, the rate is the
    one in the checkpoint, to the bit.

    Raises:
        UserError: for another learning rate than in the checkpoint under a schedule that is no `LambdaLR`.
    """
    for i, (group, settings) in enumerate(zip(optimizer.param_groups, asked, strict=True)):
        group.update(settings)
        if isinstance(scheduler, LambdaLR):
            scheduler.base_lrs[i] = settings["initial_lr"]
            group["lr"] = settings["initial_lr"] * scheduler.lr_lambdas[i](scheduler.last_epoch)
        elif scheduler.base_lrs[i] != settings["initial_lr"]:
            raise UserError(
                f"the run has the learning rate {scheduler.base_lrs[i]} and cannot resume with "
                f"{settings['initial_lr']} under {type(scheduler).__name__}: only a LambdaLR can change it"
            )


def lay_out_as_weights(optimizer: Optimizer) -> None:
    """Give every state of the shape of its weight the weight's layout in memory.

    Fused optimizers go through both from end to end and would pair other elements. Weights are channels_last in one
    process and contiguous where they are sharded.
    """
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def round_up_batches(trainer: Trainer) -> None:
    """Count the batches trained on up to a multiple of `accumulate_grad_batches`.

    With another accumulation than before, the count of a checkpoint may lie within a step; the first step after it
    would then be of fewer batches.
    """
    progress = trainer.fit_loop.epoch_loop.batch_progress.current
    missing = -progress.ready % trainer.accumulate_grad_batches
    for name in ("ready", "started", "processed", "completed") if missing else ():
        setattr(progress, name, getattr(progress, name) + missing)
