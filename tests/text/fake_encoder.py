"""An encoder whose vectors depend on the caption alone, so that a cache can be checked exactly."""

import hashlib

import torch

from imagen.text.embeddings import TextEmbeddings
from imagen.text.encoders import TextEncoder
from imagen.text.tokens import EncodingCounts

FEATURES = 8


class FakeEncoder(TextEncoder):
    """One token per word, FEATURES small whole numbers each; `calls` lists the captions of every call."""

    features = FEATURES
    settings = {"max_length": 128, "dtype": "float32"}  # noqa: RUF012

    fingerprint: dict[str, str | int] = {}  # noqa: RUF012

    def __init__(self, model: str = "fake-1") -> None:
        self.fingerprint = self.settings | {"model": model}
        self.calls: list[list[str]] = []

    def __call__(self, captions: list[str]) -> TextEmbeddings:
        self.calls.append(captions)
        return expected(captions)

    def take_counts(self) -> EncodingCounts:
        return EncodingCounts(max_length=128)


def expected(captions: list[str]) -> TextEmbeddings:
    """What FakeEncoder says."""
    words = [caption.split() for caption in captions]
    hashes = [hashlib.sha256(f"{word}".encode()).digest()[:FEATURES] for caption in words for word in caption]
    values = torch.tensor([list(digest) for digest in hashes], dtype=torch.float32).reshape(-1, FEATURES)
    return TextEmbeddings(values, tuple(map(len, words)))
