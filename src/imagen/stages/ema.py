"""Exponential moving average of weights: a frozen copy that the stage itself holds, moves and saves.

Always float32: in bfloat16 an average with decay 0.9999 never moves.
"""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

from imagen.stages.sharding.shard import own_piece

Averaged = TypeVar("Averaged", bound=nn.Module)


class WeightAverage(nn.Module, Generic[Averaged]):
    """A float32 copy of `module` that follows its weights.

    Args:
        module: the module to average; not kept. Weights that it does not train are shared with it: they have no
            average but themselves.
        decay: in [0, 1). The decay in use rises as (1 + step) / (10 + step) until it reaches this value, so that early
            averages are not dominated by the initial weights.
    """

    module: Averaged

    def __init__(self, module: Averaged, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1), got {decay}")
        self.decay = decay
        frozen = {id(weight): weight for weight in module.parameters() if not weight.requires_grad}
        self.module = copy.deepcopy(module, frozen).float().requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "WeightAverage[Averaged]":
        """Stays in evaluation mode, whatever the stage does."""
        return super().train(False)

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the weights of `module` after optimizer step number `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        # Where weights are sharded, the averages are too, and in the same way: each process moves its own piece.
        pairs = zip(self.module.parameters(), module.parameters(), strict=True)
        trained = [(average, weight) for average, weight in pairs if weight.requires_grad]
        averages = [own_piece(average) for average, _ in trained]
        weights = [own_piece(weight.detach()).float() for _, weight in trained]
        torch._foreach_lerp_(averages, weights, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]: no public name
        for average, buffer in zip(self.module.buffers(), module.buffers(), strict=True):
            average.copy_(buffer)
