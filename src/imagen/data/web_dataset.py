"""Captioned pictures in tar archives (shards) as img2dataset writes them: `00000.tar` holds `<key>.jpg`, `<key>.txt`
and `<key>.json`."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imagen.checks.captions import checked_captions
from imagen.checks.foreign import parse_json
from imagen.checks.worlds import World
from imagen.data.reading.captions import Captions, OneColumn
from imagen.data.reading.captions import caption_columns as columns_of
from imagen.data.reading.decode import MAX_PIXELS, common_size, decoded_row, picture_suffixes, size_or_problem
from imagen.data.reading.problems import Problem
from imagen.data.reading.tar_index import MAX_BYTES, Member, indexed_members, read_member, shown
from imagen.data.source import Example, Source
from imagen.errors import UserError
from imagen.files import fingerprint, user_path
from imagen.progress import track
from imagen.tensors import Size

log = logging.getLogger(__name__)

MAX_CAPTION_BYTES = 1 << 20


class WebDatasetSource(Source):
    """The samples of one tar archive, or of every `*.tar` in a folder, ordered by archive name and position.

    The offsets of the members are read once and stored in `index`; a row then takes two reads. Nothing is unpacked.

    Args:
        path: the archive, or the folder of archives.
        index: folder for the member offsets, one file per archive.
        caption_extension: extension of the member that holds the caption: "txt" or "json".
        caption_key: key of the caption, or list of captions, in a JSON member.
        caption_columns: instead, several keys of the JSON member and how often training draws each: {"caption": 0.8,
            "keywords": 0.2}.
        skip_incomplete: skip and count samples without a picture or caption, instead of refusing them.
        max_pixels: larger pictures are refused before decoding (decompression bombs).
        condition_extension: extension of the member that holds a picture to condition on, such as "condition.png";
            None: samples have none.

    Raises:
        UserError: if there are no archives or samples, an archive is damaged, or a sample is incomplete or repeated.
    """

    def __init__(
        self,
        path: str | Path,
        index: str | Path,
        caption_extension: str = "txt",
        caption_key: str = "caption",
        skip_incomplete: bool = False,
        max_pixels: int = MAX_PIXELS,
        caption_columns: Mapping[str, int | float] | None = None,
        condition_extension: str | None = None,
    ) -> None:
        self.path, self.index, self.max_pixels = user_path(path), user_path(index), max_pixels
        self.extension = caption_extension.lower().removeprefix(".")
        self.condition_extension = (condition_extension or "").lower().removeprefix(".")
        self.captions_in = columns_of(caption_key, caption_columns)
        if caption_columns is not None and self.extension != "json":
            raise UserError(
                f"caption_columns are read from the JSON beside a picture, not from .{self.extension}; set "
                "data.train.source.caption_extension=json"
            )
        self.shards = _archives(self.path)
        samples = list(self._samples(skip_incomplete))
        if not samples:
            raise UserError(f"{self.path} holds no pictures with a .{self.extension} beside them; check data.path")
        # Arrays, so that millions of rows reach a worker as three blocks of memory.
        self._keys = np.array([key.encode("utf-8", "surrogateescape") for key, _ in samples])
        self._places = np.array([places for _, places in samples], np.int64)

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "caption_extension": self.extension}  # it decides what is incomplete

    @property
    def world(self) -> World:
        """Known by the names of its archives and samples, wherever the folder lies."""
        samples = hashlib.sha256(b"\n".join(self._keys.tolist())).hexdigest()
        known = fingerprint([[shard.name for shard in self.shards], samples])
        return World(f"the pictures in {self.path.absolute().name}", type(self).__name__, known)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Example:
        captions = self._captions(index)
        picture, *condition = (decoded_row(file, self.max_pixels, where) for file, where in self._pictures(index))
        return Example(picture, captions.texts, index, captions.weights, *condition)

    @property
    def has_conditions(self) -> bool:
        return bool(self.condition_extension)

    def captions_by_row(self) -> Iterator[tuple[str, ...]]:
        return (self._captions(index).texts for index in range(len(self)))

    def files(self) -> list[Path]:
        return self.shards

    def sizes(self) -> Iterator[Size | Problem]:
        for index in track(range(len(self)), f"Checking the pictures in {self.path}"):
            pictures = self._pictures(index)
            yield common_size(size_or_problem(index, where, file, self.max_pixels) for file, where in pictures)

    def where(self, index: int) -> str:
        key = self._keys[index].decode("utf-8", "surrogateescape")
        return f"{self.shards[self._places[index, 0]]} sample {shown(key)}"

    def _pictures(self, index: int) -> Iterator[tuple[bytes, str]]:
        """The picture, and the one to condition on if there is one, undecoded, each with its name for messages."""
        shard, _, _, offset, size, *condition = self._places[index].tolist()
        where = self.where(index)
        yield read_member(self.shards[shard], offset, size), where
        if condition:
            yield read_member(self.shards[shard], *condition), f"{where}, .{self.condition_extension}"

    def _captions(self, index: int) -> Captions:
        shard, offset, size, *_ = self._places[index].tolist()
        content = read_member(self.shards[shard], offset, size)
        where = f"{self.where(index)}, .{self.extension}"
        if self.extension == "json":
            return self.captions_in.read(self._in_json(content, where), where)
        try:
            # Strip the byte order mark and white space that editors leave at the ends.
            text = content.decode("utf-8-sig").replace("\r\n", "\n").rstrip("\n")
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: byte {error.start + 1} is not UTF-8; repair or remove the sample") from None
        return Captions(checked_captions(text, where))

    def _in_json(self, content: bytes, where: str) -> dict[str, Any]:
        record = parse_json(content, where, "repair or remove the sample", allow_nan=True)
        first = self.captions_in.names[0]
        if not isinstance(record, dict) or (isinstance(self.captions_in, OneColumn) and first not in record):
            raise UserError(
                f"{where}: no JSON object with the key {first!r}; name another with data.train.source.caption_key"
            )
        return record

    def _samples(self, skip_incomplete: bool) -> Iterator[tuple[str, list[int]]]:
        """Key; and shard, then offset and size of the caption, of the picture, and of the one to condition on if there
        is one."""
        skipped, first = 0, ""
        for number, shard in enumerate(track(self.shards, f"Reading the index of {self.path}")):
            for key, members in _grouped(shard, self.index):
                if problem := self._incomplete(members):
                    where = f"{shard} sample {shown(key)}: {problem}"
                    if not skip_incomplete:
                        raise UserError(f"{where}; data.train.source.skip_incomplete=true skips such samples")
                    skipped, first = skipped + 1, first or where
                    continue
                condition = [members[self.condition_extension]] if self.has_conditions else []
                needed = [members[self.extension], *self._picture_members(members), *condition]
                yield key, [number, *(place for member in needed for place in (member.offset, member.size))]
        if skipped:
            log.warning("%s: %d incomplete samples are skipped, first %s", self.path, skipped, first)

    def _picture_members(self, members: dict[str, Member]) -> list[Member]:
        """One in a complete sample; the picture to condition on is not among them."""
        others = {extension: member for extension, member in members.items() if extension != self.condition_extension}
        return [member for extension, member in others.items() if f".{extension}" in picture_suffixes()]

    def _incomplete(self, members: dict[str, Member]) -> str | None:
        pictures = self._picture_members(members)
        if len(pictures) != 1:
            return f"{len(pictures)} pictures" if pictures else f"no picture among .{', .'.join(members)}"
        if self.extension not in members:
            return f"no caption: there is no .{self.extension} beside the picture"
        if self.has_conditions and self.condition_extension not in members:
            return f"nothing to condition on: there is no .{self.condition_extension} beside the picture"
        pictures += [members[self.condition_extension]] if self.has_conditions else []
        sizes = [(member, MAX_BYTES) for member in pictures] + [(members[self.extension], MAX_CAPTION_BYTES)]
        for member, most in sizes:
            if member.size > most:
                return f".{member.extension} has {member.size} bytes, more than {most}"
        return None


def _archives(path: Path) -> list[Path]:
    if path.is_dir():
        archives = sorted(path.glob("*.tar"))
        if not archives:
            raise UserError(f"{path} holds no .tar archives; a folder with metadata.jsonl is read by data=image_folder")
        return archives
    if not path.is_file():
        raise UserError(f"there is no {path}; give a folder of tar archives, or one archive, with data.path=...")
    return [path]


def _grouped(shard: Path, index: Path) -> Iterable[tuple[str, dict[str, Member]]]:
    """The samples of an archive: key, and members by extension. Raises UserError for a repeated member."""
    samples: dict[str, dict[str, Member]] = {}
    for member in indexed_members(shard, index):
        members = samples.setdefault(member.key, {})
        if member.extension in members:
            raise UserError(f"{shard}: member {shown(member.name)} occurs twice; remove one")
        members[member.extension] = member
    return samples.items()
