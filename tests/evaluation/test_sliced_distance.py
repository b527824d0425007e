from math import lcm

import pytest
import torch

from imagen.evaluation.statistics.jackknife import groups_of
from imagen.evaluation.statistics.sliced_distance import DIRECTIONS, SlicedDistance, unit_directions


def features(count, size, seed, shift=0.0, scale=1.0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed)) * scale + shift


def by_hand(one, other):
    """The definition, direction by direction: in sets of equal size the sorted projections are matched. A set counts
    the same if every vector is in it equally often."""
    size = lcm(len(one), len(other))
    one, other = (side.double().repeat_interleave(size // len(side), dim=0) for side in (one, other))
    distances = [
        ((one @ direction).sort().values - (other @ direction).sort().values).square().mean()
        for direction in unit_directions(one.shape[1])
    ]
    return 3 * one.shape[1] * float(torch.stack(distances).mean())


@pytest.mark.parametrize(("made", "real"), [(40, 40), (40, 60), (60, 40), (7, 30), (30, 7), (13, 11), (2, 3)])
def test_equals_the_definition_also_for_unequal_numbers(made, real):
    one, other = features(made, 6, 1, 0.4), features(real, 6, 2, scale=1.5)
    assert SlicedDistance(other)(one).value == pytest.approx(by_hand(one, other), rel=1e-12)


def test_two_normal_distributions_in_one_dimension():
    """W₂² = (m₁ - m₂)² + (s₁ - s₂)²."""
    steps = (torch.arange(20_000).double() + 0.5) / 20_000
    normal = torch.distributions.Normal(torch.zeros(1).double(), torch.ones(1).double()).icdf(steps)[:, None]
    found = SlicedDistance((2 * normal + 1).float())((0.5 * normal - 1)[::2].float()).value
    assert found == pytest.approx(3 * (2.0**2 + 1.5**2), rel=1e-3)


def test_a_shift_of_many_features_counts_as_in_a_frechet_distance_times_three():
    shift = features(1, 64, 3)
    one = features(500, 64, 4)
    found = SlicedDistance(one)(one + shift).value
    assert found == pytest.approx(3 * float(shift.square().sum()), rel=4 * (2 / DIRECTIONS) ** 0.5)


def test_it_is_zero_between_equal_sets_and_symmetric_between_others():
    one, other = features(50, 8, 1), features(50, 8, 2)
    assert SlicedDistance(one)(one[torch.randperm(50)]).value == pytest.approx(0, abs=1e-24)
    assert SlicedDistance(one)(other).value == pytest.approx(SlicedDistance(other)(one).value, rel=1e-12)
    assert SlicedDistance(one)(one.repeat(3, 1)).value == pytest.approx(0, abs=1e-24)


@pytest.mark.parametrize("count", [2, 3, 47])
def test_leaving_a_group_out_is_the_distance_of_the_others(count):
    distance = SlicedDistance(features(30, 5, 1))
    generated = features(count, 5, 2, 0.5)
    found = distance(generated)
    assert len(found.without) == len(found.sizes) == min(count, 20)
    for index in {0, 1, len(found.sizes) - 1}:
        left = generated[groups_of(count) != index]
        assert float(found.without[index]) == pytest.approx(by_hand(left, features(30, 5, 1)), rel=1e-12)


def test_the_directions_are_unit_vectors_on_all_sides_and_always_the_same():
    drawn = unit_directions(5)
    assert drawn.shape == (DIRECTIONS, 5)
    assert torch.allclose(drawn.norm(dim=1), torch.ones(DIRECTIONS).double())
    assert torch.equal(drawn, unit_directions(5))
    assert (drawn.T @ drawn / DIRECTIONS - torch.eye(5) / 5).abs().max() < 0.03


def test_threads_do_not_change_the_number():
    one, other = features(300, 100, 1), features(500, 100, 2)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(SlicedDistance(other)(one))
    finally:
        torch.set_num_threads(before)
    for each in found[1:]:
        assert each.value == pytest.approx(found[0].value, rel=1e-12)
        assert torch.allclose(each.without, found[0].without, rtol=1e-12)
