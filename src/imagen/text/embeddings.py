"""Embeddings of captions of different lengths, without padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from imagen.errors import UserError
from imagen.tensors import Text, TextMask


@dataclass(frozen=True)
class TextEmbeddings:
    """The token vectors of several captions, one after the other.

    `values` has shape (sum(lengths), features); caption i owns `lengths[i]` rows of it. A caption of length 0 is the
    null text, with which a stage is unconditional.

    Raises:
        UserError: if the lengths do not sum to the number of rows.
    """

    values: Float[Tensor, "total_tokens features"]
    lengths: tuple[int, ...]

    def __post_init__(self) -> None:
        if sum(self.lengths) != len(self.values):
            raise UserError(f"embeddings: lengths sum to {sum(self.lengths)}, values has {len(self.values)} rows")

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def features(self) -> int:
        """Width of a token vector."""
        return self.values.shape[1]

    def rows(self) -> tuple[Tensor, ...]:
        """One tensor of shape (length, features) for each caption, views of `values`."""
        return self.values.split(list(self.lengths)) if self.lengths else ()

    def pad(self) -> tuple[Text, TextMask]:
        """Padded to the longest caption: text in float32, zero where there is no token, and the mask of the tokens.

        There is always room for one token, so that attention over null texts has a key to mask.
        """
        lengths = torch.tensor(self.lengths, dtype=torch.long)
        tokens = max(1, *self.lengths) if self.lengths else 1
        mask = torch.arange(tokens) < lengths[:, None]
        mask = mask.to(self.values.device)
        text = self.values.new_zeros((len(lengths), tokens, self.features), dtype=torch.float32)
        text[mask] = self.values.float()
        return text, mask

    def select(self, rows: Sequence[int]) -> "TextEmbeddings":
        """The captions numbered `rows`, in that order; one may be taken more than once."""
        parts = self.rows()
        chosen = [parts[row] for row in rows]
        values = torch.cat(chosen) if chosen else self.values[:0]
        return type(self)(values, tuple(len(part) for part in chosen))

    @classmethod
    def concatenate(cls, parts: Sequence["TextEmbeddings"]) -> "TextEmbeddings":
        """The captions of all `parts` (at least one), in order."""
        lengths = tuple(length for part in parts for length in part.lengths)
        return cls(torch.cat([part.values for part in parts]), lengths)

    @classmethod
    def null(cls, count: int, features: int) -> "TextEmbeddings":
        """`count` null texts."""
        return cls(torch.zeros(0, features), (0,) * count)
