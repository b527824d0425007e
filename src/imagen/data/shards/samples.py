"""The samples of an archive: which members belong together, and where those that are needed lie."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64, UInt8

from imagen.data.reading.decode import picture_suffixes
from imagen.data.reading.tar_headers import Content, IrregularError, Place, plain_members
from imagen.data.reading.tar_index import MAX_BYTES, sample_of, shown, tar_members
from imagen.data.shards.archive import Archive
from imagen.errors import UserError

MAX_CAPTION_BYTES = 1 << 20

EMBEDDINGS = "text.safetensors"
"""Extension of the member with the embedded captions."""

Members = dict[str, tuple[int, int]]
"""Offset and size of each member of a sample, by extension."""


@dataclass(frozen=True)
class SampleTable:
    """The complete samples of an archive, as arrays.

    `keys`: the names of the samples in UTF-8, each with a line break after it, and `key_ends` where each ends, before
    that. `places`: offset and size of the caption, of the picture, and, if they are asked for, of the picture to
    condition on and of the embedded captions.
    `captions`: the bytes of all captions, if they are kept beside the index; then the places of captions are in them.
    `incomplete`: number of samples that are left out, and `first_incomplete` what is wrong with the first.
    """

    keys: UInt8[np.ndarray, "bytes"]
    key_ends: Int64[np.ndarray, "samples"]
    places: Int64[np.ndarray, "samples numbers"]
    incomplete: int = 0
    first_incomplete: str = ""
    captions: bytes | None = field(default=None, compare=False)


class TableRules(ABC):
    """What is needed of an archive."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """What a table depends on besides its archive."""

    @abstractmethod
    def table(self, archive: Archive) -> SampleTable:
        """The samples of an archive. Raises UserError for a damaged one."""


@dataclass(frozen=True)
class SampleRules(TableRules):
    """Which members of a sample are needed.

    Args:
        caption: extension of the caption.
        condition: extension of the picture to condition on; "": there is none.
        embeddings: whether the embedded captions are needed.
    """

    caption: str
    condition: str
    embeddings: bool = False

    @property
    def identity(self) -> str:
        """What changes with the tables that are made by these rules."""
        return "\n".join([self.caption, self.condition, *([EMBEDDINGS] if self.embeddings else [])])

    @property
    def also(self) -> list[str]:
        """The extensions of the members that are needed beside caption and picture, in the order of their places."""
        return [*([self.condition] if self.condition else []), *([EMBEDDINGS] if self.embeddings else [])]

    def table(self, archive: Archive) -> SampleTable:
        """The samples of an archive, in the order of their first members.

        Raises:
            UserError: if it is not a whole tar archive, or a member is there twice.
        """
        with archive.content() as content:
            keep = not archive.has_near_captions
            try:
                samples, captions = self._grouped(plain_members(content), content, archive.name, keep)
            except IrregularError:
                samples, captions = self._grouped(tar_members(content, archive.name), content, archive.name, keep)
        return self._tabulated(samples, captions if keep else None)

    def _grouped(
        self, places: Iterable[Place], content: Content, name: str, keep: bool
    ) -> tuple[dict[str, Members], dict[int, bytes]]:
        """The samples by key; and, with `keep`, the bytes of captions by offset, read as they pass by."""
        samples: dict[str, Members] = {}
        captions: dict[int, bytes] = {}
        repeated = None
        for member, offset, size in places:
            key, extension = sample_of(member)
            members = samples.setdefault(key, {})
            if extension in members:
                repeated = repeated or member
            members[extension] = offset, size
            if keep and extension == self.caption and size <= MAX_CAPTION_BYTES:
                captions[offset] = content.at(offset, size)
        if repeated is not None:  # in a whole archive: damage comes first
            raise UserError(f"{name}: member {shown(repeated)} occurs twice; remove one")
        return samples, captions

    def _tabulated(self, samples: dict[str, Members], captions: dict[int, bytes] | None) -> SampleTable:
        suffixes = frozenset(suffix[1:] for suffix in picture_suffixes())
        keys: list[bytes] = []
        places: list[list[int]] = []
        kept: list[bytes] = []
        begun, incomplete, first = 0, 0, ""
        for key, members in samples.items():
            pictures = [extension for extension in members if extension in suffixes and extension != self.condition]
            if problem := self._problem(members, pictures):
                incomplete += 1
                first = first or f"sample {shown(key)}: {problem}"
                continue
            offset, size = members[self.caption]
            if captions is not None:
                kept.append(captions[offset])
                offset, begun = begun, begun + size
            keys.append(key.encode("utf-8", "surrogateescape"))
            others = (number for extension in self.also for number in members[extension])
            places.append([offset, size, *members[pictures[0]], *others])
        ends = np.cumsum([len(key) + 1 for key in keys], dtype=np.int64) - 1
        blob = np.frombuffer(b"".join(key + b"\n" for key in keys), np.uint8)
        numbers = np.array(places, np.int64).reshape(len(keys), 4 + 2 * len(self.also))
        return SampleTable(blob, ends, numbers, incomplete, first, None if captions is None else b"".join(kept))

    def _problem(self, members: Members, pictures: list[str]) -> str | None:
        """Why a sample is incomplete."""
        if len(pictures) != 1:
            return f"{len(pictures)} pictures" if pictures else f"no picture among .{', .'.join(members)}"
        if self.caption not in members:
            return f"no caption: there is no .{self.caption} beside the picture"
        if self.condition and self.condition not in members:
            return f"nothing to condition on: there is no .{self.condition} beside the picture"
        if self.embeddings and EMBEDDINGS not in members:
            return f"no embedded captions: there is no .{EMBEDDINGS} beside the picture; `imagen shards` writes them"
        large = [*pictures, *self.also]
        for extension, most in [*((extension, MAX_BYTES) for extension in large), (self.caption, MAX_CAPTION_BYTES)]:
            if members[extension][1] > most:
                return f".{extension} has {members[extension][1]} bytes, more than {most}"
        return None
