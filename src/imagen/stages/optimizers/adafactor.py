"""Adafactor: Adam's second moments as a row and a column for each matrix."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from imagen.stages.optimizers.matrices import as_matrix, from_matrix
from imagen.stages.optimizers.one_by_one import OneByOne
from imagen.stages.sharding.shard import piece_like


class Adafactor(OneByOne):
    """Adafactor (Shazeer & Stern 2018) without momentum: the numbers of `torch.optim.Adafactor` for vectors and
    matrices.

    A convolution is a matrix of (outputs, taps × inputs), so its state is that matrix's row and column. torch's keeps
    them for every little matrix of taps, which takes two thirds of a 3 × 3 convolution's memory, and twice that of a
    1 × 1. torch's does not take sharded weights either.

    Args:
        params: what to train.
        lr: largest relative step, at least 0; the step in use is at most 1 / √step.
        beta2_decay: the share of the new squares in their mean is step ** beta2_decay; at most 0.
        eps: smallest root of the second moments (None: the precision of the weights), and smallest root mean square of
            the weights that steps are relative to; both at least 0.
        d: largest root mean square of an update, at least 1.
        weight_decay: decoupled, at least 0.

    Raises:
        ValueError: for a value outside its range.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float,
        beta2_decay: float = -0.8,
        eps: Sequence[float | None] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        if not (lr >= 0 and weight_decay >= 0 and beta2_decay <= 0 and d >= 1):
            raise ValueError("lr and weight_decay must be at least 0, beta2_decay at most 0, d at least 1")
        smallest, scale = eps
        if scale is None or scale < 0 or (smallest is not None and smallest < 0):
            raise ValueError("eps must be at least 0")
        settings = {"beta2_decay": beta2_decay, "eps": (smallest, scale), "d": d, "weight_decay": weight_decay}
        super().__init__(params, {"lr": lr, **settings})

    @staticmethod
    def update(weight: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        smallest, scale = group["eps"]
        smallest = torch.finfo(weight.dtype).eps if smallest is None else smallest
        step = state["step"] = state.get("step", 0) + 1
        size = _root_mean_square(weight).clamp(min=scale) * min(group["lr"], step**-0.5)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        share = step ** group["beta2_decay"]
        moments = _moments(gradient, share, smallest, state)
        update = gradient * moments.clamp(min=smallest**2).rsqrt()
        clipped = (_root_mean_square(update) / group["d"]).clamp(min=1)
        weight.sub_(piece_like(update * (size / clipped), weight))


def _moments(gradient: Tensor, share: float, smallest: float, state: dict[str, Any]) -> Tensor:
    """Estimated mean squares of the gradient, in its shape, after `share` of the new ones went into `state`."""
    if gradient.ndim == 1:
        state["squares"] = _moved(state.get("squares"), gradient.square(), share)
        return state["squares"]
    squares = as_matrix(gradient).square()
    rows = state["rows"] = _moved(state.get("rows"), squares.mean(1, keepdim=True), share)
    columns = state["columns"] = _moved(state.get("columns"), squares.mean(0, keepdim=True), share)
    # One scale for each row and one for each column; a product with broadcasting, which sharded tensors have too.
    return from_matrix(rows * columns / rows.mean(0, keepdim=True).clamp(min=smallest), gradient)


def _moved(mean: Tensor | None, new: Tensor, share: float) -> Tensor:
    return share * new if mean is None else mean + share * (new - mean)


def _root_mean_square(tensor: Tensor) -> Tensor:
    return tensor.square().mean().sqrt()
