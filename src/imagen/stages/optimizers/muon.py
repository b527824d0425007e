"""Muon: steps along the orthogonal factor of the momentum."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from imagen.stages.optimizers.matrices import as_matrix, from_matrix
from imagen.stages.optimizers.one_by_one import OneByOne
from imagen.stages.sharding.shard import piece_like, whole

Matrix = Float[Tensor, "rows columns"]

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of Jordan's Newton-Schulz iteration, steepest at 0: five iterations bring all but tiny singular values
into [0.7, 1.2]."""
MATCHED_RMS = 0.2
"""Root mean square of an update at a learning rate of 1: about Adam's, so that both share one rate."""


class Muon(OneByOne):
    """Muon for matrices, Adam for everything else, with one learning rate.

    Matrices, and convolutions as matrices of (outputs, inputs × taps), take steps of equal size in all directions of
    their Nesterov momentum (Jordan et al. 2024), scaled to Adam's root mean square (Liu et al. 2025, arXiv 2502.16982).
    Adam trains biases, scales, and matrices with a side below `min_side` (into and out of pixels). `torch.optim.Muon`
    supports no convolutions, and computes in bfloat16, which few CPUs have.

    Args:
        params: what to train.
        lr: learning rate of both, at least 0.
        momentum: of the matrices, in [0, 1).
        iterations: of Newton-Schulz, at least 1.
        min_side: of a matrix, in features.
        betas: Adam's, both in [0, 1).
        eps: Adam's, above 0.
        weight_decay: of the matrices, decoupled, at least 0.

    Raises:
        ValueError: for a value outside its range.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float,
        momentum: float,
        iterations: int,
        min_side: int,
        betas: Sequence[float],
        eps: float,
        weight_decay: float,
    ) -> None:
        if not (lr >= 0 and weight_decay >= 0 and eps > 0 and iterations >= 1):
            raise ValueError("lr and weight_decay must be at least 0, eps above 0, iterations at least 1")
        if not all(0 <= value < 1 for value in (momentum, *betas)):
            raise ValueError("momentum and betas must be in [0, 1)")
        matrices, rest = [], []
        for parameter in params:
            is_matrix = parameter.ndim >= 2 and min(as_matrix(parameter).shape) >= min_side
            (matrices if is_matrix else rest).append(parameter)
        of_matrices = {"momentum": momentum, "iterations": iterations, "weight_decay": weight_decay}
        of_rest = {"betas": tuple(betas), "eps": eps}
        groups = [
            {"params": matrices, "matrices": True, **of_matrices},
            {"params": rest, "matrices": False, **of_rest},
        ]
        super().__init__(groups, {"lr": lr})

    @staticmethod
    def update(weight: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        (_muon_update if group["matrices"] else _adam_update)(weight, gradient, group, state)


def _muon_update(parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
    if not state:
        state["mean"] = torch.zeros_like(parameter)
    mean = state["mean"].lerp_(gradient, 1 - group["momentum"])
    direction = as_matrix(gradient.lerp(mean, group["momentum"]))
    # Of sharded weights too the factor is that of the whole matrix; every process computes it, and keeps its piece.
    step = orthogonal_factor(whole(direction), group["iterations"])
    parameter.mul_(1 - group["lr"] * group["weight_decay"])
    parameter.add_(
        piece_like(from_matrix(step, parameter), parameter),
        alpha=-group["lr"] * MATCHED_RMS * max(direction.shape) ** 0.5,
    )


def _adam_update(parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
    beta1, beta2 = group["betas"]
    if not state:
        state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
    state["step"] += 1
    mean = state["mean"].lerp_(gradient, 1 - beta1)
    square = state["square"].lerp_(gradient.square(), 1 - beta2)
    scale = (square / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
    parameter.addcdiv_(mean, scale, value=-group["lr"] / (1 - beta1 ** state["step"]))


def orthogonal_factor(matrix: Matrix, iterations: int) -> Matrix:
    """Approximately U V^T where matrix = U S V^T, closer with each iteration; zero for a zero matrix.

    Each iteration is X -> p(X X^T) X, and all p(X X^T) are polynomials of the first X X^T, a square of the shorter
    side. They are multiplied together before X is: half the work for a convolution.
    """
    a, b, c = QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / wide.norm().clamp(min=1e-7)
    gram, whole = x @ x.T, None
    for left in reversed(range(iterations)):
        p = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        p.diagonal().add_(a)
        whole = p if whole is None else p @ whole
        if left:
            gram = p @ gram @ p
    assert whole is not None, "at least one iteration"
    x = whole @ x
    return x if x.shape == matrix.shape else x.T
