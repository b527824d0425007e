"""Parts of remote archives on this disk, in blocks, up to a number of bytes."""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from imagen.data.reading.tar_index import read_member
from imagen.errors import UserError
from imagen.files import write_atomically

log = logging.getLogger(__name__)

BLOCK = 1 << 20
"""Bytes. A smaller block costs more requests, a larger one more bytes for the first batches."""

ABANDONED = 600.0
"""Seconds after which an unfinished file is that of a killed process."""


@dataclass(frozen=True)
class KeptBlocks:
    """The blocks of one archive: files `0`, `1`, … in `folder`, each of `BLOCK` bytes but the last.

    A block is written whole or not at all, so any number of processes may read and write at once; two that miss the
    same block both fetch it.

    Args:
        folder: of this archive alone.
        size: of the archive, in bytes.
    """

    folder: Path
    size: int

    def read(self, offset: int, count: int, fetch: Callable[[int, int], bytes]) -> bytes:
        """`count` bytes from `offset` on. `fetch` gives bytes (offset, count) of the archive for what is not kept."""
        stop = min(offset + count, self.size)
        if stop <= offset:
            return b""
        numbers = range(offset // BLOCK, -(-stop // BLOCK))
        parts = {number: part for number in numbers if (part := self._part(number, offset, stop)) is not None}
        for run in _runs([number for number in numbers if number not in parts]):
            start = run.start * BLOCK
            content = fetch(start, min(run.stop * BLOCK, self.size) - start)
            for number in run:
                block = content[number * BLOCK - start : (number + 1) * BLOCK - start]
                self._keep(number, block)
                parts[number] = block[max(offset - number * BLOCK, 0) : stop - number * BLOCK]
        return b"".join(parts[number] for number in numbers)

    def _part(self, number: int, offset: int, stop: int) -> bytes | None:
        """What is asked for of a block; None if it is not kept."""
        start = max(offset - number * BLOCK, 0)
        count = min(stop - number * BLOCK, BLOCK) - start
        try:
            part = read_member(self.folder / str(number), start, count)
        except OSError:
            return None
        return part if len(part) == count else None

    def _keep(self, number: int, block: bytes) -> None:
        try:
            write_atomically(self.folder / str(number), block)
        except (UserError, OSError) as error:
            _warn_once(str(self.folder.parent), str(error))


def kept_archives(folder: Path, identities: Sequence[tuple[str, int]], most: int) -> list[KeptBlocks | None]:
    """Where to keep the blocks of each archive of a data set, given its identity and size; None: they are not kept.

    The first archives are kept, as many as fit into `most` bytes. In an order that is drawn anew for every epoch any
    choice is hit equally often, and a fixed one needs no bookkeeping among processes. What other data sets left in
    `folder` is removed, the longest unused first, until all fits.

    Raises:
        UserError: if the folder cannot be written.
    """
    places: list[KeptBlocks | None] = []
    planned = 0
    for identity, size in identities:
        planned += size
        name = hashlib.sha256(identity.encode()).hexdigest()[:32]
        places.append(KeptBlocks(folder / name, size) if planned <= most else None)
    used = [place for place in places if place is not None]
    if not used and not folder.exists():
        return places
    try:
        _make_room(folder, used, most - sum(place.size for place in used))
    except OSError as error:
        raise UserError(
            f"remote archives cannot be kept in {folder}: {error.strerror}; choose another folder with "
            "data.train.source.cache, or keep none with data.train.source.cache_bytes=0",
            environment=True,
        ) from error
    return places


def _make_room(folder: Path, used: Sequence[KeptBlocks], room: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    for place in used:
        place.folder.mkdir(exist_ok=True)
        os.utime(place.folder)  # when it was last used
        for partial in place.folder.glob(".*.part"):
            with suppress(FileNotFoundError):
                if now - partial.stat().st_mtime > ABANDONED:
                    partial.unlink()
    mine = {place.folder for place in used}
    others = [other for other in folder.iterdir() if other.is_dir() and other not in mine]
    newest_first = sorted(((_changed(other), other) for other in others), reverse=True)
    for _, other in newest_first:
        room -= sum(_size(file) for file in other.iterdir())
        if room < 0:
            shutil.rmtree(other, ignore_errors=True)


def _changed(folder: Path) -> float:
    with suppress(FileNotFoundError):
        return folder.stat().st_mtime
    return 0.0


def _size(file: Path) -> int:
    with suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


def _runs(numbers: Sequence[int]) -> list[range]:
    """Ascending numbers as ranges."""
    runs: list[range] = []
    for number in numbers:
        if runs and runs[-1].stop == number:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs


@cache
def _warn_once(folder: str, error: str) -> None:
    log.warning("%s: parts of remote archives are not kept any more (%s)", folder, error)
