"""Which captioned pictures a network was trained on, as a record that travels with its weights."""

from dataclasses import asdict, dataclass
from typing import Any

from imagen.checks.foreign import checked_record
from imagen.checks.names import printable


@dataclass(frozen=True)
class World:
    """A set of captioned pictures, whichever part (split) of it.

    Args:
        name: for messages.
        kind: the class of its source.
        fingerprint: tells the sets of one kind apart, wherever they lie; empty where the kind has only one, None if it
            is not known.
    """

    name: str
    kind: str
    fingerprint: str | None = None

    @classmethod
    def from_record(cls, value: object, where: str, way_out: str) -> "World":
        """The world that JSON describes. Raises UserError if it is none; `where` begins the message, `way_out` ends
        it."""
        return checked_record(cls, value, where, way_out)

    def as_record(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def is_same(self, other: "World") -> bool | None:
        """Whether both are the same set of pictures; None if that is not known."""
        if EVERY in (self, other):
            return True
        if self.kind != other.kind:
            return False
        if "" in (self.fingerprint, other.fingerprint):
            return True
        if self.fingerprint is None or other.fingerprint is None:
            return None
        return self.fingerprint == other.fingerprint

    def __str__(self) -> str:
        return printable(f"{self.name:.100}")


EVERY = World("pictures of every kind", "every")
"""What published judges know: they were trained on so many pictures that their numbers mean something for all."""
