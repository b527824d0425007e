from itertools import islice

import pytest

from imagen.data.sampler import Draw, FixedOrderBatchSampler, PositionKeyedBatchSampler, Share
from imagen.errors import UserError


def global_batch(
    position: int, world_size: int, global_batch_size: int = 12, size: int = 30, seed: int = 0
) -> set[Draw]:
    samplers = (
        PositionKeyedBatchSampler(size, global_batch_size // world_size, seed, Share(rank, world_size))
        for rank in range(world_size)
    )
    return {draw for sampler in samplers for draw in sampler.plan(position).draws}


def test_a_batch_depends_on_its_position_and_not_on_what_was_served_before():
    through = list(islice(PositionKeyedBatchSampler(10, 4, 0, Share()), 12))
    assert [plan.position for plan in through] == list(range(12))
    for start in (11, 3, 7):
        sampler = PositionKeyedBatchSampler(10, 4, 0, Share(), start)
        assert list(islice(sampler, 12 - start)) == through[start:]
        assert sampler.plan(0) == through[0]


def test_every_epoch_shows_every_row_once_in_an_order_of_its_own():
    plans = islice(PositionKeyedBatchSampler(10, 4, 0, Share()), 10)
    rows = [draw.index for plan in plans for draw in plan.draws]
    epochs = [tuple(rows[start : start + 10]) for start in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len(set(epochs)) == 4


def test_batches_span_epochs_and_are_always_full():
    plans = list(islice(PositionKeyedBatchSampler(3, 8, 0, Share()), 3))
    assert [len(plan.draws) for plan in plans] == [8, 8, 8]
    rows = [draw.index for plan in plans for draw in plan.draws]
    assert all(sorted(rows[start : start + 3]) == [0, 1, 2] for start in range(0, 24, 3))


def test_ranks_share_a_batch_without_overlap_and_alike_for_any_world_size():
    for position in (0, 1, 7):
        alone = global_batch(position, world_size=1)
        assert len(alone) == 12
        for world_size in (2, 3, 4, 12):
            assert global_batch(position, world_size) == alone


def test_keys_are_never_repeated_and_the_seed_changes_order_and_keys():
    sampler = PositionKeyedBatchSampler(5, 4, 0, Share())
    keys = [draw.key for plan in islice(sampler, 50) for draw in plan.draws]
    assert len(set(keys)) == 200
    assert global_batch(0, 1, seed=1).isdisjoint(global_batch(0, 1, seed=0))


def test_validation_shows_every_row_once_in_order_over_all_ranks():
    size = 11
    shares = [list(FixedOrderBatchSampler(size, 2, 0, Share(rank, 3))) for rank in range(3)]
    rows = [[draw.index for plan in plans for draw in plan.draws] for plans in shares]
    assert rows == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8]]
    assert [len(plan.draws) for plan in shares[2]] == [2, 1]
    assert [plan.position for plan in shares[0]] == [0, 1]
    assert [len(FixedOrderBatchSampler(size, 2, 0, Share(rank, 3))) for rank in range(3)] == [2, 2, 2]


def test_validation_keys_belong_to_the_row_and_not_to_the_batch():
    def keys(batch_size: int) -> list[Draw]:
        return [draw for plan in FixedOrderBatchSampler(9, batch_size, 0, Share()) for draw in plan.draws]

    assert keys(2) == keys(5)


def test_an_empty_training_set_and_a_batch_of_none_are_refused():
    with pytest.raises(UserError, match="empty"):
        PositionKeyedBatchSampler(0, 4, 0, Share())
    with pytest.raises(UserError, match="batch_size=0"):
        PositionKeyedBatchSampler(4, 0, 0, Share())


@pytest.mark.parametrize(
    ("size", "batch_size", "world_size"), [(9, 4, 2), (10, 4, 2), (16, 4, 3), (7, 1, 4), (3, 8, 3)]
)
def test_all_ranks_validate_as_many_batches_and_leave_out_fewer_rows_than_there_are_ranks(size, batch_size, world_size):
    ranks = [list(FixedOrderBatchSampler(size, batch_size, 0, Share(rank, world_size))) for rank in range(world_size)]
    assert len({len(plans) for plans in ranks}) == 1
    shown = [draw.index for plans in ranks for plan in plans for draw in plan.draws]
    assert len(set(shown)) == len(shown) > size - world_size
