"""The learning-rate schedule."""

import math

import pytest
import torch

from imagen.errors import UserError
from imagen.stages.lr import warmup_then_cosine


def rates(warmup_steps: int, total_steps: int, floor: float = 0.0) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = warmup_then_cosine(optimizer, warmup_steps, total_steps, floor)
    seen = []
    for _ in range(total_steps + 5):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_it_warms_up_linearly_then_falls_as_a_cosine_to_the_floor():
    seen = rates(10, 110, floor=0.1)
    assert seen[:10] == pytest.approx([2 * (step + 1) / 11 for step in range(10)])
    assert seen[10] == pytest.approx(2)
    assert seen[60] == pytest.approx(2 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 2))))
    assert seen[110:] == pytest.approx([0.2] * 5)


def test_a_warm_up_longer_than_the_run_is_shortened_to_a_tenth_of_it():
    assert rates(200, 100) == rates(10, 100)
    assert rates(100, 100) != rates(10, 100)  # as long as the run: the user's choice


@pytest.mark.parametrize(("warmup_steps", "total_steps"), [(-1, 10), (1, -10)])
def test_a_negative_number_of_steps_is_refused(warmup_steps, total_steps):
    with pytest.raises(UserError, match=f"warmup_steps={warmup_steps} and total_steps={total_steps} must be 0 or more"):
        rates(warmup_steps, total_steps)
