"""One shard of the embedding cache, made by any process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import torch

from imagen.concurrency.processes import Tick
from imagen.text.cached.store import Manifest, ShardRecord, shard_name, write_shard
from imagen.text.embeddings import TextEmbeddings
from imagen.text.encoders import TextEncoder
from imagen.text.tokens import EncodingCounts


@dataclass(frozen=True)
class ShardTask:
    """The name of a shard, and the captions for it."""

    name: str
    captions: Sequence[str]


@dataclass(frozen=True)
class MadeShard:
    """A shard on disk, under a temporary name: only the process that holds the lock of the cache publishes it."""

    record: ShardRecord
    partial: Path
    counts: EncodingCounts


@dataclass(frozen=True)
class ShardMaker:
    """Makes shards in `folder`. The encoder gets `per_chunk` captions at a time; a caption's neighbours decide how its
    vectors are rounded, so the chunks are the same in every process."""

    folder: Path
    encoder: TextEncoder
    per_chunk: int

    def __call__(self, task: ShardTask, tick: Tick) -> MadeShard:
        """The shard of a task; one tick for each chunk.

        Raises:
            UserError: as the encoder; or if the disk is full or cannot be written.
        """
        parts: list[TextEmbeddings] = []
        for start in range(0, len(task.captions), self.per_chunk):
            parts.append(stored(self.encoder(list(task.captions[start : start + self.per_chunk]))))
            tick()
        record, partial = write_shard(self.folder, task.name, task.captions, TextEmbeddings.concatenate(parts))
        return MadeShard(record, partial, self.encoder.take_counts())


def shard_tasks(manifest: Manifest, missing: Iterator[str], size: int) -> Iterator[ShardTask]:
    """Shards of `size` captions that take the lowest free numbers.

    A gap is a shard that was not finished when the build was killed. All that comes before the gap and after it is
    stored, so the first missing captions are those of the gap, and its shard gets them again.
    """
    names = {record.name for record in manifest.shards}
    free = (name for number in count() if (name := shard_name(number)) not in names)
    while captions := list(islice(missing, size)):
        yield ShardTask(next(free), captions)


def stored(embeddings: TextEmbeddings) -> TextEmbeddings:
    """The embeddings rounded to bfloat16, as the cache stores them."""
    return TextEmbeddings(embeddings.values.to(torch.bfloat16), embeddings.lengths)
