"""The embedding cache: which captions are stored, by which encoder, and how those that are missing get there."""

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
CHUNKS_PER_SHARD = 16  # what a kill can cost


class EmbeddingCache:
    """The captions embedded by `encoder` in `folder`.

    A cache that another encoder made is refused, never rebuilt or mixed. The encoder reads its weights only when a
    caption must be encoded; where its files are absent, a cache that agrees with its settings is used, with a warning.
    """

    def __init__(self, folder: Path, encoder: TextEncoder) -> None:
        self.folder, self.encoder = folder, encoder

    def manifest(self) -> Manifest | None:
        """The manifest of the cache, None when there is no cache yet.

        Raises:
            UserError: when the cache is damaged or was made by another encoder: both values of each field that differs.
        """
        manifest = Manifest.read(self.folder)
        if manifest is not None:
            self._check(manifest.fingerprint)
        return manifest

    def open(self) -> Reader:
        """Verify the cache and read from it. Without a cache there is nothing to find."""
        return Reader(self.folder, self.manifest() or Manifest({}, features=0))

    def add(self, captions: Sequence[str]) -> Reader:
        """Encode those of the distinct `captions` that are not stored, and read from the cache.

        Each shard is on disk before the next is begun; killed, it goes on from there, and ends with the same files.

        Raises:
            UserError: when another process is building, the disk does not take it, or the encoder's files are absent.
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
                "using the embeddings in %s as they are, since their encoder cannot be compared: %s",
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
    """As the cache keeps them: rounded to bfloat16."""
    return TextEmbeddings(embeddings.values.to(torch.bfloat16), embeddings.lengths)
