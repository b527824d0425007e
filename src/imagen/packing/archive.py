"""Writes one archive: rows of a source, each with its picture, captions and the embeddings of the captions."""

import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from imagen.concurrency.processes import Tick
from imagen.data.reading.captions import Captions
from imagen.data.reading.example import RowFiles
from imagen.data.reading.problems import BadExampleError
from imagen.data.reading.tar_index import MAX_BYTES
from imagen.data.shards.samples import EMBEDDINGS, MAX_CAPTION_BYTES
from imagen.data.source import Source
from imagen.errors import UserError
from imagen.files import create
from imagen.text.cached.cache import EmbeddingCache
from imagen.text.cached.making import stored
from imagen.text.cached.store import Reader
from imagen.text.embeddings import TextEmbeddings
from imagen.text.encoders import TextEncoder
from imagen.text.rows.row_file import row_file
from imagen.text.tokens import EncodingCounts

ROWS_AT_ONCE = 256
"""Their captions are encoded together, and their files are in memory."""

BYTES_AT_ONCE = 1 << 28
"""Of picture files, after which no further row is taken together with them."""


@dataclass(frozen=True)
class Packed:
    """A finished archive under a temporary name: only the process that holds the lock of the folder publishes it."""

    number: int
    partial: Path
    counts: EncodingCounts | None

    @property
    def path(self) -> Path:
        """Where it belongs."""
        return self.partial.with_name(f"{self.number:05d}.tar")


class CaptionVectors:
    """The vectors of captions: from the embedding cache where it has them, else from the encoder.

    Which captions are encoded together changes vectors by rounding, so those of a cache are taken as they are: a
    training on the archives is then that on the cache, bit for bit.
    """

    def __init__(self, encoder: TextEncoder, cache: Path | None) -> None:
        self.encoder, self._cache = encoder, cache
        self.fingerprint = encoder.fingerprint

    def __call__(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """The vectors of each caption, (its tokens, features) bfloat16.

        Raises:
            UserError: as the encoder; or if the cache is damaged or was made by another encoder.
        """
        distinct = list(dict.fromkeys(captions))
        found: dict[str, Tensor] = {}
        if self._kept is not None:
            rows = self._kept.find(distinct)
            known = [caption for caption, row in zip(distinct, rows.tolist(), strict=True) if row >= 0]
            found = dict(zip(known, self._kept.read(rows[rows >= 0]).rows(), strict=True))
        missing = [caption for caption in distinct if caption not in found]
        if missing:
            found |= dict(zip(missing, stored(self.encoder(missing)).rows(), strict=True))
        return found

    @cached_property
    def _kept(self) -> Reader | None:
        cache = None if self._cache is None else EmbeddingCache(self._cache, self.encoder)
        return cache.open() if cache is not None and cache.manifest() is not None else None


@dataclass(frozen=True)
class Packer:
    """Writes archives, one after the other, each under a temporary name.

    Args:
        out: folder of the archives.
        source: of the rows.
        rows: in every archive but the last.
        captions: extension of the members with the captions, "txt" or "json".
        vectors: embeds captions; None: nothing is embedded.
    """

    out: Path
    source: Source
    rows: int
    captions: str
    vectors: CaptionVectors | None

    def __call__(self, number: int, tick: Tick) -> Packed:
        """Write archive `number`; one tick for each row.

        Raises:
            UserError: naming the row, if one cannot be read or kept; if the disk does not take the archive.
        """
        partial = self.out / f".{number:05d}.tar.{os.getpid()}.part"
        rows = range(number * self.rows, min((number + 1) * self.rows, len(self.source)))
        try:
            with (
                create(partial) as stream,
                tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
            ):
                for files in self._together(rows):
                    self._add(tar, files, tick)
        except OSError as error:
            partial.unlink(missing_ok=True)
            what = f"archive {number} cannot be written into {self.out}: {error.strerror or error}"
            raise UserError(
                f"{what}; make room, and start again: what is finished is kept", environment=True
            ) from error
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return Packed(number, partial, self.vectors.encoder.take_counts() if self.vectors else None)

    def _together(self, rows: range) -> Iterator[dict[int, RowFiles]]:
        """The files of the rows, so many at a time as are encoded together."""
        files: dict[int, RowFiles] = {}
        size = 0
        for row in rows:
            files[row] = files_of(self.source, row)
            size += len(files[row].picture.content)
            if len(files) == ROWS_AT_ONCE or size >= BYTES_AT_ONCE or row == rows[-1]:
                yield files
                files, size = {}, 0

    def _add(self, tar: tarfile.TarFile, files: Mapping[int, RowFiles], tick: Tick) -> None:
        vectors = self.vectors and self.vectors([text for one in files.values() for text in one.captions.texts])
        for row, one in files.items():
            embedded = None
            if self.vectors and vectors:
                texts = one.captions.texts
                parts = [vectors[text] for text in texts]
                embeddings = TextEmbeddings(torch.cat(parts), tuple(map(len, parts)))
                embedded = row_file(texts, embeddings, self.vectors.fingerprint)
            for extension, content in members(one, self.captions, embedded, self.source.where(row)):
                member = tarfile.TarInfo(f"{row:09d}.{extension}")  # of nobody, at no time
                member.size = len(content)
                tar.addfile(member, BytesIO(content))
            tick()


def files_of(source: Source, row: int) -> RowFiles:
    """The files of a row.

    Raises:
        UserError: if it cannot be read, or the source has no files.
    """
    try:
        return source.row_files(row)
    except BadExampleError as error:
        way_out = error.fault.way_out.format(it="it")
        raise UserError(f"{error}; {way_out}: no row is left out of the archives") from error


def members(files: RowFiles, captions: str, embedded: bytes | None, where: str) -> list[tuple[str, bytes]]:
    """Extension and bytes of the members of a row: picture and embeddings side by side, so that one read takes both.

    Raises:
        UserError: naming `where`, for a member that is too large to be read again.
    """
    found = [(captions, caption_member(files.captions, captions))]
    if files.condition is not None:
        found.append(("condition", files.condition.content))
    found.append((files.picture.suffix, files.picture.content))
    if embedded is not None:
        found.append((EMBEDDINGS, embedded))
    for extension, content in found:
        most = MAX_CAPTION_BYTES if extension == captions else MAX_BYTES
        if len(content) > most:
            raise UserError(f"{where}: its .{extension} would have {len(content)} bytes, more than {most}; shorten it")
    return found


def caption_member(captions: Captions, extension: str) -> bytes:
    """The captions of a row as a text file, or as JSON with their weights."""
    if extension == "txt":
        (text,) = captions.texts
        return text.encode()
    weights = {"weights": list(captions.weights)} if captions.weights else {}
    return json.dumps({"caption": list(captions.texts), **weights}, ensure_ascii=False).encode()
