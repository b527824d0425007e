"""Where the embeddings of captions come from: the cache, the encoder, or nowhere."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from imagen.errors import UserError
from imagen.files import user_path
from imagen.text.cached.cache import EmbeddingCache
from imagen.text.cached.making import stored
from imagen.text.cached.store import Reader
from imagen.text.embeddings import TextEmbeddings
from imagen.text.encoders import TextEncoder
from imagen.text.model_files import MissingModelError
from imagen.text.tokens import check_unicode, is_empty

log = logging.getLogger(__name__)

_encoding = Lock()
"""Held while captions are encoded: a tokenizer serves one thread at a time."""


class TextSource(ABC):
    """Gives the DataModule and the cascade embeddings of captions. An empty caption is the null text: zero tokens."""

    @property
    @abstractmethod
    def features(self) -> int:
        """Width of a token vector."""

    @property
    @abstractmethod
    def fingerprint(self) -> dict[str, str | int]:
        """Everything that decides the vectors: two sources with equal fingerprints give the same ones."""

    @abstractmethod
    def prepare(self, captions: Iterable[str]) -> None:
        """Make `captions` ready to be embedded, with a progress bar. Call it in one process per machine.

        They may be gone through more than once, and need not be held in memory for that.
        """

    @abstractmethod
    def embed(self, captions: Sequence[str]) -> TextEmbeddings:
        """The embeddings of each caption, in order: float32, on the CPU, rounded to bfloat16."""


class _Texts:
    """The captions that are not empty, checked, as often as they are asked for."""

    def __init__(self, captions: Iterable[str]) -> None:
        self._captions = captions
        self.total = self.empty = 0

    def __iter__(self) -> Iterator[str]:
        self.total = self.empty = 0
        for caption in self._captions:
            check_unicode((caption,), self.total)
            self.total += 1
            if is_empty(caption):
                self.empty += 1
            else:
                yield caption


class CachedText(TextSource):
    """Embeddings from the cache in `folder`; `prepare` encodes what it lacks, `embed` only reads.

    Open it (with `prepare` or `embed`) before loader workers are forked, so that they share its memory. The encoder's
    weights are read only if there is something to encode.
    """

    def __init__(self, encoder: TextEncoder, folder: str | Path, processes: int = 1) -> None:
        if processes < 1:
            raise UserError(f"text.processes={processes}: at least 1 is needed")
        self._encoder, self._processes = encoder, processes
        self._cache = EmbeddingCache(user_path(folder), encoder)

    @cached_property
    def features(self) -> int:
        manifest = self._cache.manifest()
        return manifest.features if manifest else self._encoder.features

    @cached_property
    def fingerprint(self) -> dict[str, str | int]:
        manifest = self._cache.manifest()
        return manifest.fingerprint if manifest else self._encoder.fingerprint

    def prepare(self, captions: Iterable[str]) -> None:
        """Encode what is missing into the cache.

        Raises:
            UserError: for captions that are not Unicode text; a cache that was made by another encoder, is damaged, or
                is being built by another process; an encoder whose files are missing; a full disk.
        """
        texts = _Texts(list(captions) if isinstance(captions, Iterator) else captions)
        self._reader = self._cache.add(texts, self._processes)
        if texts.empty:
            log.warning("%d of %d captions are empty: they are embedded as no text at all", texts.empty, texts.total)

    def embed(self, captions: Sequence[str]) -> TextEmbeddings:
        """As `TextSource.embed`.

        Raises:
            UserError: for a caption that is not in the cache; a cache that is damaged or was made by another encoder.
        """
        check_unicode(captions)
        rows = self._reader.find(captions)
        for caption, row in zip(captions, rows.tolist(), strict=True):
            if row < 0 and not is_empty(caption):
                raise UserError(
                    f"caption {caption[:80]!r} is not in the embedding cache {self._cache.folder}: run "
                    "`imagen cache` with this data, or set text.mode=online"
                )
        stored_rows = self._reader.read(rows)
        return TextEmbeddings(stored_rows.values.float(), stored_rows.lengths)

    @cached_property
    def _reader(self) -> Reader:
        return self._cache.open()

    def __getstate__(self) -> dict[str, Any]:
        # A spawned process opens the files again instead of receiving their content.
        return {name: value for name, value in self.__dict__.items() if name != "_reader"}


class OnlineText(TextSource):
    """Embeddings from the encoder itself, rounded as the cache would round them."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder

    @property
    def features(self) -> int:
        return self._encoder.features

    @property
    def fingerprint(self) -> dict[str, str | int]:
        return self._encoder.fingerprint

    def prepare(self, captions: Iterable[str]) -> None:
        """Nothing to do."""

    def embed(self, captions: Sequence[str]) -> TextEmbeddings:
        """As `TextSource.embed`; each distinct caption is encoded once. Warns of cut captions and unknown words.

        Raises:
            UserError: in a loader worker, since each would hold an encoder of its own; if the encoder's files
                are missing.
        """
        if get_worker_info() is not None:
            raise UserError(
                "text.mode=online does not work in loader workers: set data.num_workers=0 or text.mode=cached"
            )
        distinct = list(dict.fromkeys(captions))
        rows = {caption: row for row, caption in enumerate(distinct)}
        with _encoding:
            embeddings = stored(self._encoder(distinct)).select([rows[caption] for caption in captions])
            warnings = self._encoder.take_counts().warnings()
        for warning in warnings:
            log.warning(warning)
        return TextEmbeddings(embeddings.values.float(), embeddings.lengths)


class RememberedText(TextSource):
    """Asks another source once for each caption, since a sweep samples the same captions in every cell. The vectors are
    kept in bfloat16, which holds them exactly."""

    def __init__(self, source: TextSource) -> None:
        self._source = source
        self._rows: dict[str, Tensor] = {}

    @property
    def features(self) -> int:
        return self._source.features

    @property
    def fingerprint(self) -> dict[str, str | int]:
        return self._source.fingerprint

    def prepare(self, captions: Iterable[str]) -> None:
        self._source.prepare(captions)

    def embed(self, captions: Sequence[str]) -> TextEmbeddings:
        """As `TextSource.embed`."""
        missing = [caption for caption in dict.fromkeys(captions) if caption not in self._rows]
        if missing:
            embedded = self._source.embed(missing).rows()
            self._rows |= {caption: row.bfloat16() for caption, row in zip(missing, embedded, strict=True)}
        rows = [self._rows[caption] for caption in captions]
        return TextEmbeddings(torch.cat(rows).float(), tuple(len(row) for row in rows))

    def forget(self) -> None:
        """Drop what is remembered: thousands of captions that are asked for once each would fill the memory."""
        self._rows.clear()


class NoText(TextSource):
    """Every caption is the null text: unconditional generation."""

    def __init__(self, features: int) -> None:
        self._features = features

    @property
    def features(self) -> int:
        return self._features

    @property
    def fingerprint(self) -> dict[str, str | int]:
        return {"model": "none", "features": self._features}

    def prepare(self, captions: Iterable[str]) -> None:
        """Nothing to do."""

    def embed(self, captions: Sequence[str]) -> TextEmbeddings:
        return TextEmbeddings.null(len(captions), self._features)


def make_text_source(
    mode: str, encoder: TextEncoder, features: int, folder: str | Path | None = None, processes: int = 1
) -> TextSource:
    """The source for `text.mode`: "cached" in `folder`, which so many `processes` fill; "online", or "shards"
    (`RowsText`), which need none.

    Raises:
        UserError: for another mode, or a cache without a folder; when `features`, which sizes the networks, is not the
            width of the vectors.
    """
    from imagen.text.rows.row_text import RowsText  # made of what is defined here

    if mode not in ("cached", "online", "shards"):
        raise UserError(f"text.mode={mode}: choose cached, online or shards")
    if mode == "cached" and folder is None:
        raise UserError("text.mode=cached: give the folder of the cache as text.folder=FOLDER")
    source: TextSource
    if mode == "shards":
        source = RowsText(encoder, features)
    elif mode == "online" or folder is None:
        source = OnlineText(encoder)
    else:
        source = CachedText(encoder, folder, processes)
    try:
        width = source.features
    except MissingModelError:
        return source  # reported, with the way out, when a caption must be encoded
    if width != features:
        raise UserError(
            f"text.features={features}, but the vectors of the encoder have {width}: set text.features={width}"
        )
    return source
