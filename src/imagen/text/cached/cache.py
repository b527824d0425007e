"""The embedding cache: which captions it holds, which encoder made it, and how missing captions are added."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from imagen.concurrency.processes import results
from imagen.errors import UserError
from imagen.files import publish
from imagen.locks import only_builder
from imagen.progress import counting
from imagen.text.cached.making import ShardMaker, shard_tasks
from imagen.text.cached.store import MANIFEST, Manifest, Reader, digests, first_of_each, sweep
from imagen.text.encoders import TextEncoder
from imagen.text.model_files import MissingModelError
from imagen.text.tokens import EncodingCounts

log = logging.getLogger(__name__)

CAPTIONS_PER_CHUNK = 256  # sorted by length together; one tick of the progress bar
CHUNKS_PER_SHARD = 16  # the work that a kill can cost each process


class EmbeddingCache:
    """Embeddings of captions by `encoder`, kept in `folder`.

    A cache made by another encoder is refused, never rebuilt or extended. The encoder reads its weights only when a
    caption must be encoded; if its files are missing, a cache that agrees with its settings is used, with a warning.
    """

    def __init__(self, folder: Path, encoder: TextEncoder) -> None:
        self.folder, self.encoder = folder, encoder

    def manifest(self) -> Manifest | None:
        """The manifest of the cache; None if there is no cache yet.

        Raises:
            UserError: if the cache is damaged, or was made by another encoder; the message gives both values of each
                field that differs.
        """
        manifest = Manifest.read(self.folder)
        if manifest is not None:
            self._check(manifest.fingerprint)
        return manifest

    def open(self) -> Reader:
        """A reader of the verified cache; it holds no caption if there is no cache yet."""
        return Reader(self.folder, self.manifest() or Manifest({}, features=0))

    def add(self, captions: Iterable[str], processes: int = 1) -> Reader:
        """Encode those of the `captions` that are not stored, and return a reader of them all.

        Captions may repeat. They are gone through once, and again if some are missing; 16 bytes are held of each. Each
        of the `processes` makes one shard at a time, with an encoder of its own. A build that was killed goes on with
        the shards that are not there. It ends with the same files, whatever the number of processes.

        Raises:
            UserError: if another process is building the cache, the disk is full, or the encoder's files are missing.
        """
        keys = digests(captions)
        reader = self.open()
        if (reader.find_keys(keys) >= 0).all():
            return reader
        with only_builder(self.folder):
            manifest = self.manifest()  # another builder may have finished in between
            absent = np.flatnonzero(self.open().find_keys(keys) < 0)
            missing = absent[first_of_each(keys[absent])]
            sweep(self.folder, manifest)
            if len(missing):
                begun = manifest or Manifest(self.encoder.fingerprint, self.encoder.features)
                self._build(begun, _at(missing, captions), len(missing), processes)
        return self.open()

    def _build(self, manifest: Manifest, missing: Iterator[str], count: int, processes: int) -> None:
        chunk = CAPTIONS_PER_CHUNK
        description = f"encoding {count} captions, {chunk} at a time"
        tasks = shard_tasks(manifest, missing, chunk * CHUNKS_PER_SHARD)
        counts: list[EncodingCounts] = []
        with counting(description, -(-count // chunk)) as advance:
            for made in results(ShardMaker(self.folder, self.encoder, chunk), tasks, processes, advance):
                publish(made.partial, self.folder / made.record.name)
                manifest = manifest.with_shard(made.record)
                manifest.write(self.folder)
                counts.append(made.counts)
        for warning in EncodingCounts.total(counts).warnings():
            log.warning(warning)

    def _check(self, made_by: dict[str, str | int]) -> None:
        try:
            wanted = self.encoder.fingerprint
        except MissingModelError as absent:
            log.warning(
                "using the embeddings in %s without comparing their encoder, whose files are missing: %s",
                self.folder,
                absent,
            )
            wanted = self.encoder.settings
            made_by = {name: value for name, value in made_by.items() if name in wanted}
        names = sorted(name for name in wanted.keys() | made_by.keys() if wanted.get(name) != made_by.get(name))
        if names:
            differences = "; ".join(
                f"{name}: cache {made_by.get(name)}, configuration {wanted.get(name)}" for name in names
            )
            raise UserError(
                f"{self.folder / MANIFEST}: made by another text encoder ({differences}): set text.folder to another "
                f"folder, or delete this one and run `imagen cache`"
            )


def _at(places: np.ndarray, captions: Iterable[str]) -> Iterator[str]:
    """The captions at ascending places."""
    wanted = iter(places.tolist())
    place = next(wanted, None)
    for number, caption in enumerate(captions):
        if number == place:
            yield caption
            place = next(wanted, None)
