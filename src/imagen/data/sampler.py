"""The examples of batch k: a function of (seed, k, rank, world size), never of earlier batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Sampler

from imagen.errors import UserError
from imagen.randomness import derive_seed, make_generator


@dataclass(frozen=True)
class Draw:
    """One example of a batch: its row in the source, or the bucket, and the key for all random numbers of its
    augmentation."""

    index: int
    key: int


@dataclass(frozen=True)
class BatchPlan:
    """The examples of batch `position` on one rank, all from one bucket; without buckets there is one, number 0."""

    position: int
    draws: tuple[Draw, ...]
    bucket: int = 0


@dataclass(frozen=True)
class Share:
    """This process's rank among all processes of the training."""

    rank: int = 0
    world_size: int = 1


class PositionKeyedBatchSampler(Sampler[BatchPlan]):
    """Endless batches, from `start` on.

    The samples form one sequence: a random permutation of the training set for each epoch, keyed by (seed, epoch).
    Batch k covers samples k·G to (k+1)·G, with G = batch_size × world size, and each rank takes its part. So batches
    span epochs and none is partial, a set smaller than a batch works, and the same G gives the same batches for any
    world size. One permutation is kept in memory, 8 bytes per row.

    Raises:
        UserError: if there are no rows, or `batch_size` is below 1.
    """

    def __init__(self, size: int, batch_size: int, seed: int, share: Share, start: int = 0) -> None:
        if size < 1:
            raise UserError("the training set is empty")
        self.size, self.batch_size, self.seed, self.share, self.start = (
            size,
            check_batch_size(batch_size),
            seed,
            share,
            start,
        )
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.int64)

    def plan(self, position: int) -> BatchPlan:
        """Batch `position`."""
        first = (position * self.share.world_size + self.share.rank) * self.batch_size
        return BatchPlan(position, tuple(self._draw(sample) for sample in range(first, first + self.batch_size)))

    def __iter__(self) -> Iterator[BatchPlan]:
        position = self.start
        while True:
            yield self.plan(position)
            position += 1

    def _draw(self, sample: int) -> Draw:
        epoch, offset = divmod(sample, self.size)
        return Draw(int(self._order(epoch)[offset]), derive_seed(self.seed, "sample", sample))

    def _order(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            self._epoch = epoch
            self._permutation = torch.randperm(self.size, generator=make_generator(self.seed, "epoch", epoch))
        return self._permutation


class FixedOrderBatchSampler(Sampler[BatchPlan]):
    """Every row once, in order, for validation: rank r takes rows r, r + world size, …; the last batch may be short.

    No row is shown twice. All ranks have as many batches, which sharded weights need (every pass is one of all
    processes): a last batch that not all of them have is left out, of fewer rows than there are ranks.

    Raises:
        UserError: if `batch_size` is below 1.
    """

    def __init__(self, size: int, batch_size: int, seed: int, share: Share) -> None:
        self.rows = range(share.rank, size, share.world_size)
        self.batch_size, self.seed = check_batch_size(batch_size), seed
        last = Share(share.world_size - 1, share.world_size)  # no rank has fewer rows
        self._batches = number_of_batches(size, batch_size, last)

    def plan(self, position: int) -> BatchPlan:
        """Batch `position` of this rank."""
        rows = self.rows[position * self.batch_size : (position + 1) * self.batch_size]
        return BatchPlan(position, tuple(Draw(row, derive_seed(self.seed, "validation", row)) for row in rows))

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[BatchPlan]:
        return map(self.plan, range(len(self)))


def number_of_batches(size: int, batch_size: int, share: Share) -> int:
    """In which a rank shows its share of `size` rows once."""
    return -(-len(range(share.rank, size, share.world_size)) // batch_size)


def check_batch_size(batch_size: int) -> int:
    """Return `batch_size` if it is valid.

    Raises:
        UserError: if it is below 1.
    """
    if batch_size < 1:
        raise UserError(f"data.batch_size={batch_size}: at least 1 is needed")
    return batch_size
