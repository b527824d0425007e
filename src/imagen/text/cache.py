"""The embedding cache: which captions it holds, which encoder made it, and how missing captions are added."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from imagen.errors import UserError
from imagen.locks import only_builder
from imagen.progress import track
from imagen.text.embeddings import TextEmbeddings
from imagen.text.encoders import TextEncoder
from imagen.text.model_files import MissingModelError
from imagen.text.store import MANIFEST, Manifest, Reader, sweep, write_shard

log = logging.getLogger(__name__)

CAPTIONS_PER_CHUNK = 256  # sorted by length together; one tick of the progress bar
CHUNKS_PER_SHARD = 16  # the work that a kill can cost


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

    def add(self, captions: Sequence[str]) -> Reader:
        """Encode those of the distinct `captions` that are not stored, and return a reader of them all.

        Each shard is on disk before the next one is started. A build that was killed continues there, and ends with
        the same files.

        Raises:
            UserError: if another process is building the cache, the disk is full, or the encoder's files are missing.
        """
        reader = self.open()
        if (reader.find(captions) >= 0).all():
            return reader
        with only_builder(self.folder):
            manifest = self.manifest()  # another builder may have finished in between
            reader = self.open()
            missing = [caption for caption, row in zip(captions, reader.find(captions), strict=True) if row < 0]
            sweep(self.folder, manifest)
            if missing:
                self._build(manifest or Manifest(self.encoder.fingerprint, self.encoder.features), missing)
        return self.open()

    def _build(self, manifest: Manifest, missing: list[str]) -> None:
        parts: list[TextEmbeddings] = []
        begun = 0
        starts = range(0, len(missing), CAPTIONS_PER_CHUNK)
        for start in track(starts, f"encoding {len(missing)} captions, {CAPTIONS_PER_CHUNK} at a time", len(starts)):
            chunk = missing[start : start + CAPTIONS_PER_CHUNK]
            parts.append(stored(self.encoder(chunk)))
            done = start + len(chunk)
            if len(parts) == CHUNKS_PER_SHARD or done == len(missing):
                written = TextEmbeddings.concatenate(parts)
                manifest = manifest.with_shard(
                    write_shard(self.folder, len(manifest.shards), missing[begun:done], written)
                )
                manifest.write(self.folder)
                parts, begun = [], done
        for warning in self.encoder.take_warnings():
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


def stored(embeddings: TextEmbeddings) -> TextEmbeddings:
    """The embeddings rounded to bfloat16, as the cache stores them."""
    return TextEmbeddings(embeddings.values.to(torch.bfloat16), embeddings.lengths)
