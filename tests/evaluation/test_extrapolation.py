"""FD∞ removes most of the bias of a Fréchet distance."""

import pytest
import torch

from imagen.evaluation.statistics.extrapolation import frechet_at_infinity
from imagen.evaluation.statistics.frechet import Gaussian, frechet_distance

WIDTH = 16


def normal(count, seed, shift=0.1):
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)) + shift


@pytest.fixture
def truth():
    """The Gaussian of infinitely many real pictures; the distance to it is 16 · 0.1²."""
    return Gaussian(torch.zeros(WIDTH, dtype=torch.float64), torch.eye(WIDTH, dtype=torch.float64), 10**6)


def test_the_bias_is_a_small_part_of_that_of_the_plain_distance(truth):
    errors = torch.tensor(
        [
            [found(truth, features) - WIDTH * 0.1**2 for found in (plain, frechet_at_infinity)]
            for features in (normal(256, seed) for seed in range(40))
        ]
    )
    plain_bias, bias = errors.mean(dim=0).tolist()
    assert plain_bias > 0.25  # more than the distance itself
    assert abs(bias) < 0.1 * plain_bias


def plain(truth, features):
    return frechet_distance(truth, Gaussian.fit(features))


def test_it_is_the_same_every_time_and_refused_for_few_pictures(truth):
    features = normal(64, 0)
    assert frechet_at_infinity(truth, features) == frechet_at_infinity(truth, features)
    with pytest.raises(AssertionError, match="63 pictures are too few for 16 features"):
        frechet_at_infinity(truth, features[:63])
