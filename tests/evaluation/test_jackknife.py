import pytest
import torch

from imagen.errors import UserError
from imagen.evaluation.statistics.frechet import Gaussian, frechet_distance
from imagen.evaluation.statistics.jackknife import (
    GROUPS,
    Jackknife,
    enough_for_frechet,
    group_sizes,
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


@pytest.mark.parametrize("count", [2, 3, 7, 20, 21, 29, 39, 41, 64, 128, 512])
def test_a_mean_is_estimated_by_itself_however_many_pictures(count):
    """With 29 pictures 9 groups have two and 11 have one: taken as equal they moved the estimate."""
    values = torch.arange(count).double() ** 2
    found = jackknife_mean(values)
    assert found.sizes.tolist() == torch.bincount(groups_of(count)).tolist()
    assert found.interval.estimate == pytest.approx(float(values.mean()), rel=1e-13)


def test_unequal_groups_follow_the_delete_m_jackknife():
    """Busing, Meijer & van der Leeden (1999), written out for three groups of 2, 2 and 1."""
    n, sizes, theta, without = 5, [2, 2, 1], 3.0, [2.5, 3.5, 3.25]
    interval = Jackknife(theta, torch.tensor(without).double(), torch.tensor(sizes).double()).interval
    estimate = 3 * theta - sum((1 - m / n) * part for m, part in zip(sizes, without, strict=True))
    pseudo = [n / m * theta - (n / m - 1) * part for m, part in zip(sizes, without, strict=True)]
    variance = sum((one - estimate) ** 2 / (n / m - 1) for m, one in zip(sizes, pseudo, strict=True)) / 3
    assert interval.estimate == pytest.approx(estimate)
    assert interval.high - interval.estimate == pytest.approx(4.302653 * variance**0.5, rel=1e-6)  # t of 2 degrees


@pytest.mark.parametrize("count", [20, 29, 50])
def test_a_bias_in_one_over_n_is_removed_whole(count):
    sizes = group_sizes(count)
    assert Jackknife(5 + 7 / count, 5 + 7 / (count - sizes), sizes).interval.estimate == pytest.approx(5, rel=1e-13)


def test_numbers_of_identical_pictures_have_an_interval_of_no_width():
    interval = jackknife_mean(torch.full((29,), 0.1).double()).interval
    assert interval.low == interval.estimate == interval.high == pytest.approx(0.1)


def test_numbers_of_other_groups_are_not_paired():
    one, other = (jackknife_mean(torch.rand(count).double()) for count in (29, 30))
    with pytest.raises(UserError, match="29 and 30 pictures"):
        one - other


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
