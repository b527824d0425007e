"""The batches of pictures in buckets: which bucket batch k is from, and which of its pictures."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, repeat

import torch
from torch.utils.data import Sampler

from imagen.data.sampler import (
    BatchPlan,
    FixedOrderBatchSampler,
    PositionKeyedBatchSampler,
    Share,
    check_batch_size,
    number_of_batches,
)
from imagen.randomness import derive_seed, make_generator


def training_batches(counts: Sequence[int], batch_size: int, seed: int, share: Share, start: int) -> Sampler[BatchPlan]:
    """Endless batches of the pictures in buckets, `counts` in each; without buckets there is one count."""
    if len(counts) == 1:
        return PositionKeyedBatchSampler(counts[0], batch_size, seed, share, start)
    return BucketBatchSampler(counts, batch_size, seed, share, start)


def validation_batches(counts: Sequence[int], batch_size: int, seed: int, share: Share) -> Sampler[BatchPlan]:
    """Every picture once, in buckets as for `training_batches`."""
    if len(counts) == 1:
        return FixedOrderBatchSampler(counts[0], batch_size, seed, share)
    return FixedOrderBucketSampler(counts, batch_size, seed, share)


class BucketBatchSampler(Sampler[BatchPlan]):
    """Endless batches, from `start` on, each from one bucket. Batch k is a function of (seed, k, rank, world size)
    alone, and on every rank it is from the same bucket.

    With G = batch_size × world size, a bucket of n pictures gives epoch e its batches ⌊e·n/G⌋ to ⌊(e + 1)·n/G⌋: after
    any number of epochs it is less than one batch behind, so every picture is seen equally often, whatever the size of
    its bucket. The batches of an epoch come in a random order, keyed by (seed, epoch). The pictures of a bucket form
    the sequence of a `PositionKeyedBatchSampler`, whose batch j is the bucket's batch j. In memory are one permutation
    for each bucket, 8 bytes per picture, and the order of one epoch.

    Args:
        counts: number of pictures in each bucket; one at least has G or more.

    Raises:
        UserError: if `batch_size` is below 1.
    """

    def __init__(self, counts: Sequence[int], batch_size: int, seed: int, share: Share, start: int = 0) -> None:
        self.counts, self.seed, self.start = tuple(counts), seed, start
        self.global_batch_size = check_batch_size(batch_size) * share.world_size
        assert max(self.counts) >= self.global_batch_size
        self._streams = {
            bucket: PositionKeyedBatchSampler(count, batch_size, derive_seed(seed, "bucket", bucket), share)
            for bucket, count in enumerate(self.counts)
            if count
        }
        self._epoch, self._order = -1, torch.empty(0, 2, dtype=torch.int64)

    def plan(self, position: int) -> BatchPlan:
        """Batch `position`."""
        # Every epoch has at least one batch, so batch k is in epoch k at the latest.
        epoch = bisect_right(range(position + 1), position, key=self._batches_before) - 1
        bucket, batch = self._order_of(epoch)[position - self._batches_before(epoch)].tolist()
        return replace(self._streams[bucket].plan(batch), position=position, bucket=bucket)

    def __iter__(self) -> Iterator[BatchPlan]:
        position = self.start
        while True:
            yield self.plan(position)
            position += 1

    def _batches_before(self, epoch: int) -> int:
        return sum(epoch * count // self.global_batch_size for count in self.counts)

    def _order_of(self, epoch: int) -> torch.Tensor:
        """Bucket, and number within the bucket, of each batch of an epoch. A bucket's batches come in their order."""
        if epoch != self._epoch:
            counts = torch.tensor(self.counts)
            first, last = (e * counts // self.global_batch_size for e in (epoch, epoch + 1))
            in_turn = torch.repeat_interleave(last - first)
            generator = make_generator(self.seed, "bucket order", epoch)
            buckets = in_turn[torch.randperm(len(in_turn), generator=generator)]
            batches = torch.empty_like(buckets)
            for bucket in range(len(counts)):
                batches[buckets == bucket] = torch.arange(int(first[bucket]), int(last[bucket]))
            self._epoch, self._order = epoch, torch.stack([buckets, batches], dim=1)
        return self._order


class FixedOrderBucketSampler(Sampler[BatchPlan]):
    """Every picture once, in a fixed order, for validation: the first batch of every bucket, the largest bucket first,
    then their second batches, and so on. The last batch of a bucket may be short.

    Of all pictures, bucket after bucket, rank r takes number r, r + world size, … All ranks have as many batches: what
    some of them have more is left out, at most one batch for each bucket, and the last ones.

    Args:
        counts: number of pictures in each bucket.

    Raises:
        UserError: if `batch_size` is below 1.
    """

    def __init__(self, counts: Sequence[int], batch_size: int, seed: int, share: Share) -> None:
        check_batch_size(batch_size)
        fewest = min(
            sum(map(number_of_batches, counts, repeat(batch_size), _shares(counts, Share(rank, share.world_size))))
            for rank in range(share.world_size)
        )
        plans = []
        for bucket, (count, part) in enumerate(zip(counts, _shares(counts, share), strict=True)):
            sampler = FixedOrderBatchSampler(count, batch_size, derive_seed(seed, "bucket", bucket), part)
            for turn in range(number_of_batches(count, batch_size, part)):
                plans.append((turn, -count, bucket, sampler.plan(turn)))
        plans.sort(key=lambda entry: entry[:3])
        self._plans = [
            replace(plan, position=position, bucket=bucket)
            for position, (*_, bucket, plan) in enumerate(plans[:fewest])
        ]

    def __len__(self) -> int:
        return len(self._plans)

    def __iter__(self) -> Iterator[BatchPlan]:
        return iter(self._plans)


def _shares(counts: Sequence[int], share: Share) -> list[Share]:
    """The share of each bucket: its first picture is that of the rank whose turn it is."""
    before = accumulate(counts, initial=0)
    return [
        Share((share.rank - first) % share.world_size, share.world_size)
        for first, _ in zip(before, counts, strict=False)
    ]
