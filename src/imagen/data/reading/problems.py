"""Unusable rows: what is wrong with each and what to do, counted by reason and listed in a file."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from imagen.checks.names import printable
from imagen.errors import UserError
from imagen.files import write_text
from imagen.tensors import Size

MAX_SHARE = 0.001
"""The largest allowed `data.bad_pictures.max_share`: more bad rows than that are not an accident."""


class Fault(Enum):
    """Why a row cannot be used: the name for counts, and the way out."""

    SMALL = (
        "too small",
        "data.bad_pictures.skip_small=true leaves {it} out, data.geometry.upscale=true enlarges {it}",
    )
    DRAWING = ("SVG or other drawings", "convert {it} to PNG")
    OTHER_FORMAT = ("in formats that are not read", "convert {it} to PNG or JPEG, or take {it} out of the data")
    MISSING = ("missing", "copy {it} there or take {it} out of the data")
    OUTSIDE = ("outside of the data set", "move {it} into its folder and name {it} relative to that")
    LARGE = ("too large", "reduce {it}, or raise data.train.source.max_pixels")
    RANGE = ("of undefined range", "save {it} with 8 or 16 bits")
    UNEQUAL = ("of another size than what they are conditioned on", "give both of {it} the same size")
    DAMAGED = ("damaged", "repair or remove {it}")

    @property
    def count_as(self) -> str:
        return self.value[0]

    @property
    def way_out(self) -> str:
        return self.value[1]


class BadExampleError(UserError):
    """One unusable row of a source: unreadable, missing or too small. A limited number of them may be skipped."""

    def __init__(self, message: str, fault: Fault = Fault.DAMAGED) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True)
class Problem:
    """An unusable row of a source, with one line that names it and says what is wrong."""

    row: int
    fault: Fault
    text: str

    def __str__(self) -> str:
        return self.text


def too_small(size: Size, needed: Size) -> str:
    """Why a picture of that size is refused."""
    (height, width), (needed_height, needed_width) = size, needed
    return f"{width} × {height} pixels are fewer than the {needed_width} × {needed_height} needed"


def refusal(name: str, problems: Sequence[Problem], total: int, allowed: int, listed_in: Path | None = None) -> str:
    """The error message if more of `total` rows are unusable than `allowed`."""
    ways = {fault: fault.way_out.format(it="it" if n == 1 else "them") for fault, n in _by_number(problems).items()}
    way_out = "; ".join(way if len(ways) == 1 else f"{fault.count_as}: {way}" for fault, way in ways.items())
    if len(problems) <= MAX_SHARE * total:
        way_out += ", or allow a few to be skipped with data.bad_pictures.max_share=0.001"
    listed = "" if listed_in is None else f"; all are listed in {listed_in}"
    if len(problems) == 1:
        return f"{problems[0]}; {way_out}"
    may_be = f" ({allowed} may be)" if allowed else ""
    return f"{name}: {summary(problems, total)} are unusable{may_be}, first {problems[0]}; {way_out}{listed}"


def summary(problems: Sequence[Problem], total: int) -> str:
    """The number of unusable rows, in all and by reason.

    Examples:
        >>> summary([Problem(0, Fault.SMALL, ""), Problem(1, Fault.MISSING, ""), Problem(2, Fault.MISSING, "")], 9)
        '3 of 9 pictures (2 missing, 1 too small)'
    """
    counts = ", ".join(f"{count} {fault.count_as}" for fault, count in _by_number(problems).items())
    return f"{len(problems)} of {total} pictures ({counts})"


def write_list(problems: Sequence[Problem], name: str, folder: Path) -> Path:
    """Write one line per problem (reason, tab, text) into a file of `folder` that is named after the source `name`."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(name).name)[:60].strip("-")
    path = folder / f"{stem}-{digest}.txt"
    write_text("".join(f"{problem.fault.count_as}\t{printable(problem.text)}\n" for problem in problems), path)
    return path


def _by_number(problems: Sequence[Problem]) -> dict[Fault, int]:
    return dict(Counter(problem.fault for problem in problems).most_common())
