import pytest
import torch

from imagen.evaluation.frechet import Gaussian, frechet_distance
from imagen.evaluation.jackknife import (
    GROUPS,
    enough_for_frechet,
    groups_of,
    jackknife_frechet,
    jackknife_mean,
    wilson,
)

DIMENSION = 8
WORLD = Gaussian(torch.zeros(DIMENSION).double(), torch.eye(DIMENSION).double(), 10**9)


def draws(count, seed, shift=0.3, scale=1.2):
    generator = torch.Generator().manual_seed(seed)
    return shift + scale * torch.randn(count, DIMENSION, generator=generator)


def truth(shift=0.3, scale=1.2):
    """|Δμ|² + Σ (√a - √b)² of the population that `draws` comes from."""
    return DIMENSION * (shift**2 + (scale - 1) ** 2)


def test_leaving_a_group_out_is_the_distance_of_the_others():
    features = draws(101, 0)
    found = jackknife_frechet(WORLD, features)
    group = groups_of(101)
    assert found.value == pytest.approx(frechet_distance(WORLD, Gaussian.fit(features)), rel=1e-12)
    assert len(found.without) == GROUPS
    for index in (0, 7, 19):
        expected = frechet_distance(WORLD, Gaussian.fit(features[group != index]))
        assert float(found.without[index]) == pytest.approx(expected, rel=1e-10)


def test_intervals_of_known_gaussians_cover_the_truth_and_the_bias_is_removed():
    """60 trials of a 95 % interval: fewer than 51 hits would be less likely than 0.1 %."""
    found = [jackknife_frechet(WORLD, draws(200, seed)) for seed in range(60)]
    hits = sum(one.interval.low <= truth() <= one.interval.high for one in found)
    assert hits >= 51
    plain = sum(one.value for one in found) / len(found) - truth()
    corrected = sum(one.interval.estimate for one in found) / len(found) - truth()
    assert plain > 0.05  # positive for any finite number of pictures
    assert abs(corrected) < plain / 3


def test_common_noise_makes_differences_much_narrower():
    one, paired, alone = draws(200, 1), draws(200, 1, shift=0.32), draws(200, 2, shift=0.32)
    first = jackknife_frechet(WORLD, one)

    def width(features):
        interval = (jackknife_frechet(WORLD, features) - first).interval
        return interval.high - interval.low

    assert width(paired) < 0.3 * width(alone)


def test_the_difference_of_a_cell_to_itself_is_exactly_zero():
    one = jackknife_frechet(WORLD, draws(100, 3))
    interval = (one - one).interval
    assert (interval.low, interval.estimate, interval.high) == (0, 0, 0)
    assert not interval.excludes_zero


def test_a_mean_of_few_pictures_has_student_s_interval():
    values = torch.tensor([0.1, 0.4, 0.35, 0.8]).double()
    interval = jackknife_mean(values).interval
    margin = 3.182446 * float(values.std()) / 2  # t of 3 degrees of freedom
    assert interval.estimate == pytest.approx(float(values.mean()))
    assert interval.high - interval.estimate == pytest.approx(margin, rel=1e-6)


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_limits_inside_zero_and_one(right, count, low, high):
    """The closed form worked by hand; for 0 of n it is z² / (n + z²)."""
    interval = wilson(right, count)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=2e-4)
    assert interval.low <= right / count <= interval.high


def test_wilson_stays_inside_zero_and_one_to_the_last_digit():
    counts = range(1, 400)
    assert all(wilson(0, count).low == 0.0 and wilson(count, count).high == 1.0 for count in counts)


def test_an_interval_of_a_distance_takes_four_pictures_a_feature():
    assert enough_for_frechet(256, 64)
    assert not enough_for_frechet(255, 64)
