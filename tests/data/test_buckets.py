"""The shapes of buckets, and which batches are made of which pictures."""

import math
from collections import Counter
from itertools import chain, islice, pairwise

import numpy as np
import pytest

from imagen.data.buckets.sampler import BucketBatchSampler, FixedOrderBucketSampler
from imagen.data.buckets.shapes import COMMON, SQUARE, shapes_near
from imagen.data.sampler import Share
from imagen.data.transforms import Geometry
from imagen.errors import UserError

COUNTS = (31, 0, 12, 85, 24)


def far(sides: tuple[int, int], ratio: float, steps: int) -> tuple[float, float]:
    height, width = sides
    return round(abs(math.log(height / width / ratio)), 9), round(abs(math.log(height * width / steps**2)), 9)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8])
def test_sides_are_the_nearest_ratio_of_all_rectangles_of_about_the_area_of_the_square(steps):
    rectangles = [
        (height, width)
        for height in range(1, 2 * steps**2)
        for width in range(1, 2 * steps**2)
        if 3 * steps**2 <= 4 * height * width <= 5 * steps**2
    ]
    for ratio in [*COMMON, (1, 7), (1, 100), (1000, 1), (0.3, 0.41)]:
        wanted = min(rectangles, key=lambda sides: far(sides, ratio[0] / ratio[1], steps))
        assert shapes_near([ratio], steps).sides == (wanted,)


def test_shapes_are_the_same_at_every_resolution_and_lying_ones_those_of_standing_ones():
    shapes = shapes_near(COMMON, 8)
    assert {(width, height) for height, width in shapes.sides} == set(shapes.sides)
    assert shapes.at(256) == tuple((4 * height, 4 * width) for height, width in shapes.at(64))
    assert (64, 64) in shapes.at(64)
    assert shapes_near(COMMON[::-1], 8) == shapes
    assert SQUARE.at(20) == ((20, 20),)


def test_ratios_that_get_the_same_sides_share_a_bucket():
    assert shapes_near([(2, 3), (9, 16)], 4).sides == ((3, 5),)


def test_each_picture_goes_to_the_nearest_shape_and_loses_what_geometry_cuts():
    shapes = shapes_near(COMMON, 8)
    rng = np.random.default_rng(0)
    sizes = rng.integers(200, 400, (40, 2))
    for size, number, cut in zip(sizes, shapes.nearest(sizes), shapes.cut(sizes), strict=True):
        off = [abs(math.log(size[0] / size[1] * width / height)) for height, width in shapes.sides]
        assert off[number] == min(off)
        # A picture whose colours say where a pixel was shows how much of it is left at the edges.
        rows, columns = np.mgrid[: size[0], : size[1]]
        picture = np.stack([rows * 255 // (size[0] - 1), columns * 255 // (size[1] - 1), 0 * rows], -1).astype(np.uint8)
        left = Geometry()(picture, shapes.at(128)[number], key=0)
        seen = [(int(left[..., channel].max()) - int(left[..., channel].min())) / 255 for channel in (0, 1)]
        assert 1 - seen[0] * seen[1] == pytest.approx(cut, abs=0.03)


@pytest.mark.parametrize("ratios", [[[1, 1], [3]], [[0, 4]], [[-3, -4]], [[1, math.inf]], [[math.nan, 1]], [[1, 2, 3]]])
def test_what_is_no_ratio_is_refused(ratios):
    with pytest.raises(UserError, match=r"data\.geometry\.buckets: .* is no ratio height : width"):
        Geometry(buckets=ratios)


def test_no_ratio_at_all_and_steps_that_do_not_divide_are_refused():
    with pytest.raises(UserError, match=r"buckets=\[\] names no ratio; null cuts squares"):
        Geometry(buckets=[])
    with pytest.raises(UserError, match=r"bucket_steps=8 must divide the resolution, 20: choose 4, or"):
        Geometry(buckets="common").shapes.at(20)


def sampler(rank: int = 0, world_size: int = 1, seed: int = 0, start: int = 0, batch: int = 12) -> BucketBatchSampler:
    return BucketBatchSampler(COUNTS, batch // world_size, seed, Share(rank, world_size), start)


def test_a_batch_depends_on_its_position_and_not_on_what_was_served_before():
    through = list(islice(sampler(), 60))
    assert [plan.position for plan in through] == list(range(60))
    for start in (59, 7, 30):
        assert list(islice(sampler(start=start), 60 - start)) == through[start:]
    late = sampler()
    assert late.plan(10**6) == sampler().plan(10**6)
    assert late.plan(3) == through[3]
    assert sampler(seed=1).plan(3).draws != through[3].draws


def test_every_picture_is_shown_equally_often_whatever_the_size_of_its_bucket():
    pictures, batch = sum(COUNTS), 12
    plans = iter(sampler(batch=batch))
    shown = Counter((bucket, row) for bucket, count in enumerate(COUNTS) for row in range(count))
    batches = 0
    for epoch in range(1, 60):
        until = sum(epoch * count // batch for count in COUNTS)
        for plan in islice(plans, until - batches):
            shown.update((plan.bucket, draw.index) for draw in plan.draws)
        batches = until
        assert len(shown) == pictures
        assert set(shown.values()) <= {epoch, epoch + 1}  # once more than shown, by the beginning


def test_a_batch_never_repeats_a_picture_within_an_epoch_of_its_bucket_and_is_always_full():
    rows = {bucket: [] for bucket in range(len(COUNTS))}
    for plan in islice(sampler(), 200):
        assert len(plan.draws) == 12
        rows[plan.bucket] += [draw.index for draw in plan.draws]
    for bucket, count in enumerate(COUNTS):
        for begin in range(0, len(rows[bucket]) - count + 1, count or 1):
            assert sorted(rows[bucket][begin : begin + count]) == list(range(count))


def test_the_batches_of_an_epoch_come_in_an_order_of_their_own():
    in_all = [sum(epoch * count // 12 for count in COUNTS) for epoch in range(4)]
    orders = [[sampler().plan(k).bucket for k in range(*both)] for both in pairwise(in_all)]
    assert all(order != sorted(order) for order in orders)
    assert orders[0] != orders[1]


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_all_ranks_take_parts_of_one_batch_of_one_bucket(world_size):
    for position in (0, 5, 77):
        parts = [sampler(rank, world_size).plan(position) for rank in range(world_size)]
        alone = sampler().plan(position)
        assert {part.bucket for part in parts} == {alone.bucket}
        assert tuple(draw for part in parts for draw in part.draws) == alone.draws


def test_keys_are_never_repeated():
    keys = [draw.key for plan in islice(sampler(), 300) for draw in plan.draws]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_validation_shows_every_picture_once_over_all_ranks_which_have_equal_shares(world_size):
    samplers = [FixedOrderBucketSampler(COUNTS, 10, 0, Share(rank, world_size)) for rank in range(world_size)]
    shares = [[(plan.bucket, draw.index) for plan in one for draw in plan.draws] for one in samplers]
    assert sorted(chain(*shares)) == [(bucket, row) for bucket, count in enumerate(COUNTS) for row in range(count)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    for one in samplers:
        assert [plan.position for plan in one] == list(range(len(one)))
        assert list(one) == list(one)


def test_the_first_validation_batches_are_from_every_bucket_the_largest_first():
    plans = list(FixedOrderBucketSampler(COUNTS, 10, 0, Share()))
    assert [plan.bucket for plan in plans] == [3, 0, 4, 2, 3, 0, 4, 2, 3, 0, 4, 3, 0, 3, 3, 3, 3, 3]
    assert [len(plan.draws) for plan in plans[:4]] == [10] * 4
    assert [len(plan.draws) for plan in plans if plan.bucket == 2] == [10, 2]


def test_all_ranks_validate_as_many_batches_of_buckets():
    for counts in ([5, 3, 1], [9, 0, 2], [1, 1, 1, 4]):
        for ranks in (1, 2, 3):
            lengths = {len(FixedOrderBucketSampler(counts, 2, 0, Share(rank, ranks))) for rank in range(ranks)}
            assert len(lengths) == 1
            assert 0 not in lengths
