"""Which estimates a denoising strip shows."""

import pytest
import torch

from imagen.diffusion.samplers import Estimate
from imagen.sampling.strips import evenly


@pytest.mark.parametrize(
    ("total", "count", "kept"),
    [(6, 3, [0, 2, 5]), (6, 8, [0, 1, 2, 3, 4, 5]), (6, 2, [0, 5]), (6, 1, [5]), (1, 4, [0]), (0, 4, [])],
)
def test_estimates_are_spread_evenly_with_both_ends(total, count, kept):
    estimates = [Estimate(float(i), torch.zeros(1, 3, 2, 2)) for i in range(total)]
    assert [estimate.log_snr for estimate in evenly(estimates, count)] == kept
