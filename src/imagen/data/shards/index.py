"""The table of samples of every archive: read once, in parallel processes, and kept in a folder."""

import hashlib
import multiprocessing
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path

import numpy as np

from imagen.concurrency.processes import cores
from imagen.data.shards.archive import Archive
from imagen.data.shards.samples import SampleTable, TableRules
from imagen.errors import UserError
from imagen.files import write_atomically
from imagen.locks import hold
from imagen.progress import track

FORMAT = 2
"""Part of the name of every kept table: what another version wrote is not read."""

WORTH_PROCESSES = 1 << 25
"""Bytes of archives to read; for fewer, starting processes takes longer than reading."""


@dataclass(frozen=True)
class KeptIndex:
    """The tables in `folder`, one file for each archive and `rules`, and one more for captions that are kept.

    A table belongs to the identity of its archive. A damaged one is made again.
    """

    folder: Path
    rules: TableRules

    def path(self, archive: Archive) -> Path:
        """The file of an archive's table."""
        identity = f"{FORMAT}\n{self.rules.identity}\n{archive.identity}"
        return self.folder / f"{hashlib.sha256(identity.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.npz"

    def captions(self, archive: Archive) -> Path:
        """The file of an archive's captions."""
        return self.path(archive).with_suffix(".captions")

    def tables(self, archives: Sequence[Archive], description: str) -> list[SampleTable]:
        """The tables of `archives`; those that are not kept are made now, in as many processes as there are cores.

        Processes that train together on a machine wait for the one that makes them.

        Raises:
            UserError: as `TableRules.table`, for the first archive that has something wrong; or if a table cannot be
                kept.
        """
        found = [self._kept(archive) for archive in archives]
        if all(table is not None for table in found):
            return [table for table in found if table is not None]
        self._make_folder()
        with hold(self.folder / "lock", wait=True):
            missing = [archive for archive, table in zip(archives, found, strict=True) if table is None]
            with _processes(missing) as run:
                done = track(run(partial(_made, self), missing), description, len(missing))
                made = dict(zip(missing, done, strict=True))
        return [made[archive] if table is None else table for archive, table in zip(archives, found, strict=True)]

    def made(self, archive: Archive) -> SampleTable:
        """The table of an archive, kept from now on. Raises UserError as `tables`."""
        # Another process may have made it while this one waited.
        table = self._kept(archive)
        if table is None:
            path, table = self.path(archive), self.rules.table(archive)
            if table.captions is not None:
                write_atomically(self.captions(archive), table.captions)
            content = BytesIO()
            first = np.frombuffer(table.first_incomplete.encode("utf-8", "surrogateescape"), np.uint8)
            np.savez(content, table.keys, table.key_ends, table.places, np.array([table.incomplete]), first)
            write_atomically(path, content.getvalue())
        return replace(table, captions=None)  # they need not go through a pipe

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"the index of archives cannot be kept in {self.folder}: {error.strerror}; choose another folder with "
                "data.train.source.index",
                environment=True,
            ) from error

    def _kept(self, archive: Archive) -> SampleTable | None:
        try:
            with np.load(self.path(archive), allow_pickle=False) as kept:
                keys, ends, places, incomplete, first = (kept[f"arr_{number}"] for number in range(5))
            if not (archive.has_near_captions or self.captions(archive).is_file()):
                return None
            return SampleTable(keys, ends, places, int(incomplete[0]), bytes(first).decode("utf-8", "surrogateescape"))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None


class Samples:
    """All samples of many archives: arrays, so that a worker process gets them as a few blocks of memory.

    Args:
        tables: of each archive.
    """

    def __init__(self, tables: Sequence[SampleTable]) -> None:
        self.starts = np.cumsum([0, *(len(table.key_ends) for table in tables)])
        self.places = np.concatenate([table.places for table in tables])
        self.keys = np.concatenate([table.keys for table in tables])
        before = np.cumsum([0, *(len(table.keys) for table in tables[:-1])])
        self.key_ends = np.concatenate([table.key_ends + start for table, start in zip(tables, before, strict=True)])

    def __len__(self) -> int:
        return len(self.key_ends)

    def archive_of(self, row: int) -> int:
        """The number of the archive of a row."""
        return int(np.searchsorted(self.starts, row, side="right")) - 1

    def key(self, row: int) -> str:
        """The name of the sample in a row."""
        start = int(self.key_ends[row - 1]) + 1 if row else 0
        return self.keys[start : int(self.key_ends[row])].tobytes().decode("utf-8", "surrogateescape")

    @cached_property
    def sha256(self) -> str:
        """Of all keys, with line breaks between them."""
        return hashlib.sha256(self.keys[:-1].tobytes()).hexdigest()


def _made(index: KeptIndex, archive: Archive) -> SampleTable:
    return index.made(archive)


@contextmanager
def _processes(archives: Sequence[Archive]) -> Iterator:
    """A `map` over archives: by processes where there is enough to read, else by this one."""
    count = min(cores(), len(archives))
    # A loader worker may not start processes of its own.
    alone = multiprocessing.current_process().daemon or sum(one.size for one in archives) < WORTH_PROCESSES
    if count < 2 or alone:
        yield map
        return
    pool = ProcessPoolExecutor(count)
    try:
        yield partial(_in_order, pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, function: partial, archives: Iterable[Archive]) -> Iterator[SampleTable]:
    futures: list[Future] = [pool.submit(function, archive) for archive in archives]
    for future in futures:
        try:
            yield future.result()
        except BrokenProcessPool:
            raise UserError(
                "a process that read the index of archives was killed, perhaps for lack of memory; start again: what "
                "was read is kept",
                environment=True,
            ) from None
