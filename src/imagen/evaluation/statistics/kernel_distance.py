"""Kernel distances between two sets of features: KID and CMMD, over all pictures, without random subsets.

MMD² = E k(x, x') + E k(y, y') - 2 E k(x, y). KID (Bińkowski et al. 2018) uses k = (x·y/d + 1)³ without the diagonal, so
it is unbiased and may be slightly below zero. CMMD (Jayasumana et al. 2024) uses k = exp(-|x - y|²/2σ²) of unit
vectors, σ = 10, with the diagonal, and is multiplied by 1000.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from imagen.errors import UserError
from imagen.evaluation.statistics.jackknife import Jackknife, group_sizes, groups_of
from imagen.tensors import Features, ReferenceFeatures

ROWS = 1024
"""Rows of a kernel matrix in memory at a time."""

SIGMA = 10.0


@dataclass(frozen=True)
class KernelForm:
    """A kernel, its normalisation of vectors, whether the diagonal counts, and a scale. `kernel` takes inner products
    of any shape and the number of features."""

    prepare: Callable[[Tensor], Tensor]
    kernel: Callable[[Tensor, int], Tensor]
    diagonal: bool
    scale: float


def _polynomial(products: Tensor, features: int) -> Tensor:
    return (products / features + 1) ** 3


def _gaussian(products: Tensor, features: int) -> Tensor:
    """The kernel of unit vectors, for which |x - y|² = 2 - 2 x·y."""
    return ((products - 1) / SIGMA**2).exp()


KID = KernelForm(Tensor.double, _polynomial, diagonal=False, scale=1.0)
CMMD = KernelForm(lambda x: torch.nn.functional.normalize(x.double(), dim=1), _gaussian, diagonal=True, scale=1000.0)


class KernelDistance:
    """Distance to a fixed reference, whose own term is computed once. Raises UserError if either side has fewer than
    two pictures."""

    def __init__(self, form: KernelForm, reference: ReferenceFeatures) -> None:
        _check_count(reference)
        self.form = form
        self.reference = form.prepare(reference)
        total = self._sum(self.reference, self.reference)
        self.own = self._mean(total, self._trace(self.reference), len(self.reference))

    def __call__(self, features: Features) -> Jackknife:
        """The distance, with and without each group. Kernels are summed once for each pair of groups."""
        _check_count(features)
        vectors = self.form.prepare(features)
        group = groups_of(len(vectors))
        sizes = group_sizes(len(vectors))
        groups = len(sizes)
        parts = [vectors[group == index] for index in range(groups)]
        pairs = torch.tensor([[self._sum(one, other) for other in parts] for one in parts], dtype=torch.float64)
        traces = torch.tensor([self._trace(part) for part in parts], dtype=torch.float64)
        cross = torch.tensor([self._sum(part, self.reference) for part in parts], dtype=torch.float64)

        def distance(kept: Tensor) -> float:
            count = int(sizes[kept].sum())
            within = self._mean(float(pairs[kept][:, kept].sum()), float(traces[kept].sum()), count)
            between = float(cross[kept].sum()) / (count * len(self.reference))
            return self.form.scale * (within + self.own - 2 * between)

        # At least three pictures, so that two remain when one is left out.
        without = [distance(torch.arange(groups) != index) for index in range(groups)] if len(vectors) > 2 else []
        total = distance(torch.ones(groups, dtype=torch.bool))
        return Jackknife(total, torch.tensor(without, dtype=torch.float64), sizes[: len(without)])

    def _sum(self, one: Tensor, other: Tensor) -> float:
        return sum(float(self.form.kernel(rows @ other.T, one.shape[1]).sum()) for rows in one.split(ROWS))

    def _trace(self, vectors: Tensor) -> float:
        return float(self.form.kernel(vectors.square().sum(dim=1), vectors.shape[1]).sum())

    def _mean(self, total: float, trace: float, count: int) -> float:
        return total / count**2 if self.form.diagonal else (total - trace) / (count * (count - 1))


def _check_count(features: Features | ReferenceFeatures) -> None:
    if len(features) < 2:
        raise UserError(f"a kernel distance needs at least 2 pictures on each side, found {len(features)}")
