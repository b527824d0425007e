"""Rows whose pictures lie at known places in a few large files."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from imagen.checks.worlds import World
from imagen.data.reading.captions import Captions
from imagen.data.reading.decode import common_size, decoded_row, picture_file, size_or_problem
from imagen.data.reading.example import RowFiles
from imagen.data.reading.problems import Problem
from imagen.data.reading.tar_index import shown
from imagen.data.shards.archive import Archive, LocalArchive
from imagen.data.shards.index import Samples
from imagen.data.source import Example, Source
from imagen.files import fingerprint
from imagen.progress import track
from imagen.tensors import Size


class ArchiveSource(Source):
    """What sources have in common that read pictures out of archives by their places.

    A subclass sets `path`, as it is named, `archives`, `samples`, `max_pixels`, and `condition_label`, the name in
    messages of the picture to condition on, "" without one. With `has_embeddings`, the last place of a row is that of
    its embedded captions.
    """

    path: str | Path
    archives: Sequence[Archive]
    samples: Samples
    max_pixels: int
    condition_label: str
    has_embeddings = False

    @abstractmethod
    def _captions(self, index: int) -> Captions:
        """The captions of a row. Raises UserError if they are no valid text."""

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def identity(self) -> dict[str, Any]:
        elsewhere = [one.identity for one in self.archives if not isinstance(one, LocalArchive)]
        known = {"archives": fingerprint(elsewhere)} if elsewhere else {}
        return {"name": self.name, **known}

    @property
    def world(self) -> World:
        """Known by the names of its archives and samples, wherever they lie."""
        known = fingerprint([[archive.file_name for archive in self.archives], self.samples.sha256])
        place = self.path.absolute() if isinstance(self.path, Path) else Path(self.path)
        return World(f"the pictures in {place.name}", type(self).__name__, known)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Example:
        captions = self._captions(index)
        files, embeddings = self._files(index)
        picture, *condition = (decoded_row(file, self.max_pixels, where) for file, where in files)
        return Example(picture, captions.texts, index, captions.weights, *condition, embeddings=embeddings)

    def row_files(self, index: int) -> RowFiles:
        files, _ = self._files(index)
        return RowFiles(self._captions(index), *(picture_file(file, self.max_pixels, where) for file, where in files))

    def embeddings(self, index: int) -> bytes | None:
        return self._read(index, self._embeddings_at(index))[0] if self.has_embeddings else None

    @property
    def has_conditions(self) -> bool:
        return bool(self.condition_label)

    def captions_by_row(self) -> Iterator[tuple[str, ...]]:
        return (self._captions(index).texts for index in range(len(self)))

    def files(self) -> list[Path]:
        return [archive.path for archive in self.archives if isinstance(archive, LocalArchive)]

    def sizes(self) -> Iterator[Size | Problem]:
        return track(self._sizes(), f"Checking the pictures in {self.path}", len(self))

    def where(self, index: int) -> str:
        return f"{self.archives[self.samples.archive_of(index)].name} sample {shown(self.samples.key(index))}"

    def _sizes(self) -> Iterator[Size | Problem]:
        """Archive by archive, each read forwards: of a remote one, large parts come at once."""
        for number, archive in enumerate(self.archives):
            with archive.content() as content:
                for index in range(*self.samples.starts[number : number + 2].tolist()):
                    pictures = ((content.at(offset, size), where) for offset, size, where in self._pictures(index))
                    yield common_size(size_or_problem(index, where, file, self.max_pixels) for file, where in pictures)

    def _pictures(self, index: int) -> Iterator[tuple[int, int, str]]:
        """Offset and size of the picture, and of the one to condition on if there is one; each with its name for
        messages."""
        _, _, offset, size, *others = self.samples.places[index].tolist()
        where = self.where(index)
        yield offset, size, where
        if self.has_conditions:
            yield *others[:2], f"{where}, {self.condition_label}"

    def _embeddings_at(self, index: int) -> list[tuple[int, int]]:
        """Offset and size of the embedded captions, if they are read."""
        offset, size = self.samples.places[index, -2:].tolist()
        return [(offset, size)] if self.has_embeddings else []

    def _files(self, index: int) -> tuple[list[tuple[bytes, str]], bytes | None]:
        """The bytes of the pictures of a row, each with its name for messages, and those of the embedded captions."""
        pictures = list(self._pictures(index))
        places = [(offset, size) for offset, size, _ in pictures] + self._embeddings_at(index)
        read = self._read(index, places)
        embeddings = read.pop() if self.has_embeddings else None
        return [(content, where) for content, (_, _, where) in zip(read, pictures, strict=True)], embeddings

    def _read(self, index: int, places: Sequence[tuple[int, int]]) -> list[bytes]:
        return self.archives[self.samples.archive_of(index)].read_together(places)
