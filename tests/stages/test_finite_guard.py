"""What a step is judged by before it is taken."""

import pytest
import torch

from imagen.data.batch import Batch
from imagen.stages.finite_guard import FiniteGuard

INF, NAN = float("inf"), float("nan")


def judged(norm: float, *micro_batches: list[float]) -> list[float]:
    guard = FiniteGuard(max_skipped_steps=0, seed=0)
    for losses in micro_batches:
        count = len(losses)
        text, mask = torch.zeros(count, 1, 1), torch.ones(count, 1, dtype=torch.bool)
        batch = Batch(torch.zeros(count, 3, 2, 2), text, mask, torch.arange(count), ("",) * count, 0)
        guard.add(batch, torch.zeros(count), torch.tensor(losses))
    return guard.judged(torch.tensor(norm)).tolist()


def test_a_step_is_finite_with_the_mean_of_all_its_losses():
    assert judged(1.0, [1.0, 2.0], [3.0, 6.0]) == [1, 3]


@pytest.mark.parametrize(("norm", "losses"), [(NAN, [1.0]), (INF, [1.0]), (1.0, [INF, 1.0]), (1.0, [NAN])])
def test_one_number_that_is_not_finite_is_enough(norm, losses):
    assert judged(norm, [1.0, 1.0], losses)[0] == 0
