"""A text encoder that reads the words of a caption but not their order."""

import re

import torch
from torch import Tensor

from imagen.errors import UserError
from imagen.randomness import make_generator
from imagen.text.embeddings import TextEmbeddings
from imagen.text.encoders import TextEncoder
from imagen.text.tokens import EncodingCounts, check_unicode

WORD = re.compile(r"\w+|[^\w\s]")


class BagOfWords(TextEncoder):
    """One fixed random vector for each word, in alphabetical order: two captions of the same words are the same text.

    Nothing is learned and no file is read. A word that occurs twice has two tokens, so that only the order is lost.
    The baseline of the text encoder ablation: what a stage cannot draw with it takes more than the words.

    Args:
        features: width of a token vector; its elements are standard normal.
        max_length: largest number of words kept; the words after it are cut, and counted.
        seed: of the vectors.

    Raises:
        UserError: for a width or length below 1.
    """

    def __init__(self, features: int, max_length: int, seed: int) -> None:
        for name, value in (("features", features), ("max_length", max_length)):
            if value < 1:
                raise UserError(f"text encoder {name} {value}: must be at least 1")
        self._features, self.max_length, self.seed = features, max_length, seed
        self.counts = EncodingCounts(max_length)
        self._vectors: dict[str, Tensor] = {}

    @property
    def features(self) -> int:
        return self._features

    @property
    def settings(self) -> dict[str, str | int]:
        return {
            "model": "bag-of-words",
            "features": self.features,
            "max_length": self.max_length,
            "words": WORD.pattern,
            "seed": self.seed,
        }

    @property
    def fingerprint(self) -> dict[str, str | int]:
        """The `settings`, since there are no files."""
        return self.settings

    def __call__(self, captions: list[str]) -> TextEmbeddings:
        """Values in float32, on the CPU; no tokens for an empty caption.

        Raises:
            UserError: for captions that are not Unicode text.
        """
        check_unicode(captions)
        bags = [self._bag(caption) for caption in captions]
        rows = [self._vector(word) for bag in bags for word in bag]
        values = torch.stack(rows) if rows else torch.zeros(0, self.features)
        return TextEmbeddings(values, tuple(map(len, bags)))

    def take_counts(self) -> EncodingCounts:
        counts, self.counts = self.counts, EncodingCounts(self.max_length)
        return counts

    def _bag(self, caption: str) -> list[str]:
        words = WORD.findall(caption.lower())
        self.counts.captions += 1
        self.counts.empty += not words
        self.counts.truncated += len(words) > self.max_length
        return sorted(words[: self.max_length])

    def _vector(self, word: str) -> Tensor:
        if word not in self._vectors:
            self._vectors[word] = torch.randn(self.features, generator=make_generator(self.seed, "word", word))
        return self._vectors[word]
