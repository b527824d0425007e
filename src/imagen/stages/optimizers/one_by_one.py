"""Optimizers that step one weight after another."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class OneByOne(Optimizer, ABC):
    """Steps every weight that has a gradient by `update`."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step for every weight that has a gradient. Returns what `closure` returns, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self.update(weight, weight.grad, group, self.state[weight])
        return loss

    @staticmethod
    @abstractmethod
    def update(weight: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        """Step `weight`, in place, with the settings of its `group` and its `state`, which is empty at first."""
