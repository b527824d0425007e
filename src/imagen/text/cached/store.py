"""Embedded captions on disk: safetensors shards and a manifest.

    manifest.json               fingerprint of the encoder; name, sha256 and size of every shard
    shard-00000.safetensors     values (tokens, features) bfloat16; lengths (captions,) int32;
                                digests (captions, 16) uint8: the first half of the sha256 of each caption

A shard is written to a temporary file in the same folder, synced, hashed and renamed; only then is the manifest that
names it replaced in the same way. So the manifest is the journal: what it names is whole, and what it does not name
does not exist. It holds no time and no path, so a store that is made again, or moved, has the same bytes.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from imagen.errors import UserError
from imagen.files import sha256_of_file, write_atomically
from imagen.text.embeddings import TextEmbeddings
from imagen.text.model_files import read_json

FORMAT = 1
MANIFEST = "manifest.json"
DIGEST_BYTES = 16
VERIFY_AT_ONCE = 16 << 30  # bytes: half a minute of hashing


@dataclass(frozen=True)
class ShardRecord:
    """The entry of a shard in the manifest."""

    name: str
    sha256: str
    bytes: int
    captions: int
    tokens: int


@dataclass(frozen=True)
class Manifest:
    """What a store holds, and the fingerprint of the encoder that made it."""

    fingerprint: dict[str, str | int]
    features: int
    shards: tuple[ShardRecord, ...] = ()
    format: int = FORMAT

    def with_shard(self, record: ShardRecord) -> "Manifest":
        """A manifest with one more shard, in the order of their numbers."""
        shards = sorted((*self.shards, record), key=lambda shard: (len(shard.name), shard.name))
        return type(self)(self.fingerprint, self.features, tuple(shards), self.format)

    @classmethod
    def read(cls, folder: Path) -> "Manifest | None":
        """The manifest in `folder`; None if there is none.

        Raises:
            UserError: if it is damaged, or of a newer format.
        """
        path = folder / MANIFEST
        if not path.exists():
            return None
        values = read_json(path)
        version = values.get("format")
        if version != FORMAT:
            raise UserError(
                f"{path}: format {version}, this version reads {FORMAT}; update imagen, or set text.folder to another "
                "one"
            )
        try:
            shards = tuple(ShardRecord(**record) for record in values["shards"])
            for record in shards:
                if Path(record.name).name != record.name:
                    raise ValueError(f"{record.name!r:.100} is not the name of a file in this folder")
            return cls(dict(values["fingerprint"]), int(values["features"]), shards)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: damaged ({error!r}); restore it, or delete {folder} to encode again") from None

    def write(self, folder: Path) -> None:
        """Replace the manifest in `folder`, atomically."""
        content = json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"
        write_atomically(folder / MANIFEST, content.encode())


def digests(captions: Iterable[str]) -> np.ndarray:
    """The key of each caption, uint8 (captions, 16). Two captions share one with probability 2^-128."""
    joined = bytearray()
    for caption in captions:
        joined += hashlib.sha256(caption.encode()).digest()[:DIGEST_BYTES]
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def first_of_each(keys: np.ndarray) -> np.ndarray:
    """The places of `keys`, ascending, at which one stands that none before it equals."""
    words = _as_keys(keys)
    order = np.lexsort((words[:, 1], words[:, 0]))  # stable: of equal keys the first comes first
    ordered = words[order]
    new = np.ones(len(order), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return np.sort(order[new])


def shard_name(number: int) -> str:
    """The file of shard `number`."""
    return f"shard-{number:05d}.safetensors"


def write_shard(
    folder: Path, name: str, captions: Sequence[str], embeddings: TextEmbeddings
) -> tuple[ShardRecord, Path]:
    """Write a shard to a temporary file: the digests of the captions and their vectors in bfloat16.

    Returns:
        Its entry in the manifest, and the file, to be published as `name`.

    Raises:
        UserError: if the disk is full or cannot be written.
    """
    from safetensors.torch import save

    assert len(captions) == len(embeddings)
    content = save(
        {
            "values": embeddings.values.to(torch.bfloat16).contiguous(),
            "lengths": torch.tensor(embeddings.lengths, dtype=torch.int32),
            "digests": torch.from_numpy(digests(captions)),
        }
    )
    partial = folder / f".{name}.{os.getpid()}.part"
    write_atomically(partial, content)
    sha256 = hashlib.sha256(content).hexdigest()
    return ShardRecord(name, sha256, len(content), len(captions), len(embeddings.values)), partial


def map_shard(folder: Path, record: ShardRecord) -> dict[str, torch.Tensor]:
    """The tensors of a shard, memory-mapped: nothing is read before it is used.

    Raises:
        UserError: if the file is missing or truncated, or its counts differ from those in the manifest.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / record.name
    try:
        size = path.stat().st_size
        if size != record.bytes:
            raise ValueError(f"{record.bytes} bytes expected, {size} found")
        tensors = load_file(path)
        counts = len(tensors["lengths"]), len(tensors["digests"]), len(tensors["values"]), int(tensors["lengths"].sum())
        if counts != (record.captions, record.captions, record.tokens, record.tokens):
            raise ValueError(f"{record.captions} captions and {record.tokens} tokens expected, {counts} found")
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise UserError(f"{path}: {error}; {_way_out(folder)}") from None
    return tensors


def verify_shard(folder: Path, record: ShardRecord, values: torch.Tensor) -> None:
    """Raises UserError if the file's sha256 is not the manifest's, or its vectors are not finite."""
    path = folder / record.name
    sha256 = sha256_of_file(path)
    if sha256 != record.sha256:
        raise UserError(
            f"{path}: sha256 mismatch (manifest {record.sha256[:12]}…, file {sha256[:12]}…); {_way_out(folder)}"
        )
    if not values.isfinite().all():
        raise UserError(f"{path}: holds vectors that are not finite; {_way_out(folder)}")


def _way_out(folder: Path) -> str:
    return f"restore it from a copy, or delete {folder} and encode again"


def sweep(folder: Path, manifest: Manifest | None) -> None:
    """Remove what a killed builder left behind: temporary files, and shards that the manifest does not name."""
    known = {record.name for record in manifest.shards} if manifest else set()
    for path in [*folder.glob(".*.part"), *folder.glob("shard-*.safetensors")]:
        if path.name not in known:
            path.unlink(missing_ok=True)


class Reader:
    """Random access to the captions of a store.

    The vectors are memory-mapped, so loader workers share them. All shards are verified here; if together they are
    larger than `VERIFY_AT_ONCE`, each is verified when its first vector is read.

    Raises:
        UserError: for a shard that is missing or damaged.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.features = manifest.features
        self._folder, self._records = folder, manifest.shards
        shards = [map_shard(folder, record) for record in manifest.shards]
        self._mapped = [shard["values"] for shard in shards]
        self._verified = [False] * len(shards)
        if sum(record.bytes for record in manifest.shards) <= VERIFY_AT_ONCE:
            for shard in range(len(shards)):
                self._values(shard)
        lengths = [shard["lengths"].numpy().astype(np.int64) for shard in shards]
        self._shard = np.repeat(np.arange(len(shards)), [len(shard) for shard in lengths])
        self._stop = np.concatenate([np.zeros(0, np.int64), *(np.cumsum(shard) for shard in lengths)])
        self._start = self._stop - np.concatenate([np.zeros(0, np.int64), *lengths])
        words = [shard["digests"].numpy().reshape(-1, DIGEST_BYTES) for shard in shards]
        keys = _as_keys(np.concatenate([np.zeros((0, DIGEST_BYTES), np.uint8), *words]))
        self._row = np.lexsort((keys[:, 1], keys[:, 0]))
        self._keys = keys[self._row]

    def __len__(self) -> int:
        return len(self._row)

    def find(self, captions: Sequence[str]) -> np.ndarray:
        """The row of each caption, int64 (captions,); -1 for one that is not stored."""
        return self.find_keys(digests(captions))

    def find_keys(self, keys: np.ndarray) -> np.ndarray:
        """`find` for captions whose `digests` are known."""
        wanted = _as_keys(keys)
        rows = np.full(len(wanted), -1, dtype=np.int64)
        places = np.searchsorted(self._keys[:, 0], wanted[:, 0])
        open_ = np.arange(len(wanted))
        while True:  # again only for digests that begin with the same 64 bits
            open_ = open_[places[open_] < len(self)]
            open_ = open_[self._keys[places[open_], 0] == wanted[open_, 0]]
            if not len(open_):
                return rows
            same = self._keys[places[open_], 1] == wanted[open_, 1]
            rows[open_[same]] = self._row[places[open_[same]]]
            open_ = open_[~same]
            places[open_] += 1

    def read(self, rows: np.ndarray) -> TextEmbeddings:
        """The captions numbered `rows`, values in bfloat16. A row of -1 is the null text."""
        assert not len(self) or rows.max(initial=-1) < len(self)
        known = rows[rows >= 0]
        places = zip(self._shard[known].tolist(), self._start[known].tolist(), self._stop[known].tolist(), strict=True)
        parts, lengths = [torch.zeros(0, self.features, dtype=torch.bfloat16)], []
        for row in rows.tolist():
            shard, start, stop = next(places) if row >= 0 else (-1, 0, 0)
            lengths.append(stop - start)
            if stop > start:
                parts.append(self._values(shard)[start:stop])
        return TextEmbeddings(torch.cat(parts), tuple(lengths))

    def _values(self, shard: int) -> torch.Tensor:
        if not self._verified[shard]:
            verify_shard(self._folder, self._records[shard], self._mapped[shard])
            self._verified[shard] = True
        return self._mapped[shard]


def _as_keys(digest_rows: np.ndarray) -> np.ndarray:
    """Digests as uint64 (captions, 2)."""
    return np.ascontiguousarray(digest_rows).view(">u8").astype(np.uint64).reshape(-1, 2)
