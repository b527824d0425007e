"""Pictures of the last stage as WebDataset shards, which `data=webdataset` reads."""

import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from imagen.data.reading.tar_index import Member, members_of, read_member
from imagen.errors import UserError
from imagen.files import fingerprint, replacing
from imagen.pictures import png_of, settings_text
from imagen.sampling.orders.kept import Kept, Save
from imagen.sampling.orders.order import Order


class Shards(Kept):
    """`00000.tar`, … of `size` pictures each, every one with its `.png`, `.txt` (the prompt) and `.json` (the facts).

    A shard appears when it is full. Its bytes depend on its pictures alone. Where rows differ in their settings, it
    holds those with equal settings together.
    """

    def __init__(self, folder: Path, order: Order, size: int) -> None:
        super().__init__(folder, order)
        self.size = size

    @property
    def identity(self) -> str:
        return fingerprint([self.order.identity, self.size])

    @property
    def described(self) -> str:
        pictures, shards = len(self.order), len(self._shards)
        return f"{pictures} picture{'s' if pictures > 1 else ''} in {shards} shard{'s' if shards > 1 else ''}"

    @property
    def files(self) -> list[str]:
        return [self._path(shard[0]).name for shard in self._shards]

    def parts(self, batch_size: int) -> Iterator[list[list[int]]]:
        return (list(self.order.batches(shard, batch_size)) for shard in self._shards)

    def finished(self) -> set[int]:
        return {picture for shard in self._shards if self._is_there(shard) for picture in shard}

    @property
    def _shards(self) -> list[range]:
        total = len(self.order)
        return [range(start, min(start + self.size, total)) for start in range(0, total, self.size)]

    def _is_there(self, shard: range) -> bool:
        path = self._path(shard[0])
        if not path.is_file():
            return False
        try:
            members = {member.name: member for member in members_of(path)}
        except UserError:  # damaged since: it is made again
            return False
        facts = (_read(path, members.get(f"{_key(picture)}.json")) == self._facts(picture) for picture in shard)
        return all(f"{_key(picture)}.png" in members for picture in shard) and all(facts)

    @contextmanager
    def writing(self, part: Sequence[Sequence[int]]) -> Iterator[Save]:
        with (
            replacing(self._path(part[0][0])) as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):

            def save(pictures: Sequence[int], stages: Sequence[np.ndarray]) -> None:
                for picture, made in zip(pictures, stages[-1], strict=True):
                    self._add(tar, picture, made)

            yield save

    def last(self, pictures: Sequence[int]) -> Iterator[np.ndarray]:
        at, members = Path(), {}
        for picture in pictures:
            path = self._path(picture)
            if path != at:
                at, members = path, {member.name: member for member in members_of(path)}
            with Image.open(BytesIO(_read(path, members[f"{_key(picture)}.png"])), formats=["PNG"]) as image:
                yield np.asarray(image)

    def _add(self, tar: tarfile.TarFile, picture: int, made: np.ndarray) -> None:
        png = png_of(made, self.order.facts_of(picture, len(self.order.roles) - 1))
        caption = (self.order.row_of(picture).prompt or "").encode()
        for ending, content in (("png", png), ("txt", caption), ("json", self._facts(picture))):
            member = tarfile.TarInfo(f"{_key(picture)}.{ending}")  # of nobody, at no time
            member.size = len(content)
            tar.addfile(member, BytesIO(content))

    def _facts(self, picture: int) -> bytes:
        return settings_text(self.order.facts_of(picture, len(self.order.roles) - 1)).encode()

    def _path(self, picture: int) -> Path:
        return self.folder / f"{picture // self.size:05d}.tar"


def _key(picture: int) -> str:
    return f"{picture:08d}"


def _read(path: Path, member: Member | None) -> bytes:
    return b"" if member is None else read_member(path, member.offset, member.size)
