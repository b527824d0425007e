"""Captions to token ids, with counts of what users are warned about."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from imagen.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def is_empty(caption: str) -> bool:
    """Whether a caption has no text but white space. Its embedding is the null text: zero tokens."""
    return not caption.strip()


def check_unicode(captions: Sequence[str], first: int = 0) -> None:
    """Raises UserError, naming the caption, for one that is no text or cannot be encoded as UTF-8. `first`: the number
    of the first caption."""
    for index, caption in enumerate(captions, first):
        try:
            caption.encode()
        except (AttributeError, UnicodeEncodeError):
            raise UserError(f"caption {index}, {caption!r:.80}: not Unicode text; save captions as UTF-8") from None


@dataclass
class EncodingCounts:
    """Counts over the captions encoded so far. `max_length`: the number of tokens to which longer ones were cut."""

    max_length: int
    captions: int = 0
    empty: int = 0
    truncated: int = 0
    tokens: int = 0
    unknown_tokens: int = 0
    unknown_captions: int = 0
    unknown_example: str = ""

    @classmethod
    def total(cls, parts: "Sequence[EncodingCounts]") -> "EncodingCounts":
        """The counts over all `parts`, at least one."""
        names = [field.name for field in fields(cls) if field.name not in ("max_length", "unknown_example")]
        sums = {name: sum(getattr(part, name) for part in parts) for name in names}
        example = next((part.unknown_example for part in parts if part.unknown_example), "")
        return cls(parts[0].max_length, **sums, unknown_example=example)

    def warnings(self) -> list[str]:
        """One sentence for each kind of problem."""
        sentences = []
        if self.truncated:
            sentences.append(
                f"{self.truncated} of {self.captions} captions are longer than {self.max_length} tokens and were cut"
            )
        if self.empty:
            sentences.append(f"{self.empty} of {self.captions} captions are empty: they are encoded as no text at all")
        if self.unknown_captions:
            sentences.append(
                f"{self.unknown_captions} of {self.captions} captions hold words that the tokenizer does not know "
                f"({self.unknown_tokens / self.tokens:.1%} of all tokens), for example {self.unknown_example[:80]!r}"
            )
        return sentences


def tokenise(
    tokenizer: "PreTrainedTokenizerFast", captions: Sequence[str], max_length: int, counts: EncodingCounts
) -> list[list[int]]:
    """Token ids of each caption, at most `max_length`, none for an empty one. Adds to `counts`.

    Raises:
        UserError: for a caption that is not Unicode text.
    """
    check_unicode(captions)
    texts = [caption for caption in captions if not is_empty(caption)]
    counts.captions += len(captions)
    counts.empty += len(captions) - len(texts)
    if not texts:
        return [[] for _ in captions]
    encoded = tokenizer(texts, truncation=True, max_length=max_length)
    assert encoded.encodings is not None, "a fast tokenizer's"
    for caption, ids, whole in zip(texts, encoded["input_ids"], encoded.encodings, strict=True):
        unknown = ids.count(tokenizer.unk_token_id) if tokenizer.unk_token_id is not None else 0
        counts.tokens += len(ids)
        counts.truncated += bool(whole.overflowing)
        counts.unknown_tokens += unknown
        counts.unknown_captions += bool(unknown)
        if unknown and not counts.unknown_example:
            counts.unknown_example = caption
    rows = iter(encoded["input_ids"])
    return [[] if is_empty(caption) else next(rows) for caption in captions]
