import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imagen.data.openmoji.names import all_emoji
from imagen.data.openmoji.rendering import rendered
from imagen.data.openmoji.splits import Split, split_of
from imagen.data.reading.problems import BadExampleError
from imagen.data.source import Example, Source
from imagen.text.embeddings import TextEmbeddings
from imagen.text.sources import TextSource


class CountingText(TextSource):
    """A caption is one token for each word, each holding the caption's length; remembers what it prepared."""

    def __init__(self) -> None:
        self.prepared: list[str] = []

    @property
    def features(self) -> int:
        return 2

    @property
    def fingerprint(self) -> dict[str, str | int]:
        return {"encoder": "counting"}

    def prepare(self, captions: Iterable[str]) -> None:
        self.prepared = list(captions)

    def embed(self, captions: Sequence[str]) -> TextEmbeddings:
        lengths = tuple(len(caption.split()) for caption in captions)
        rows = [torch.full((n, 2), float(len(caption))) for caption, n in zip(captions, lengths, strict=True)]
        return TextEmbeddings(torch.cat(rows), lengths)


class NumberedSource(Source):
    """Row i is a picture whose pixels tell i and where they are; the rows in `bad` cannot be read."""

    def __init__(self, size: int, height: int = 8, width: int = 8, bad: frozenset[int] = frozenset()) -> None:
        self.size, self.height, self.width, self.bad = size, height, width, bad

    @property
    def name(self) -> str:
        return "numbers"

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Example:
        if index in self.bad:
            raise BadExampleError(f"{self.where(index)}: damaged")
        rows, columns = np.mgrid[: self.height, : self.width]
        picture = np.stack([np.full_like(rows, index), rows, columns], axis=-1).astype(np.uint8)
        return Example(picture, (f"number {index}",), index)

    def captions_by_row(self) -> list[tuple[str, ...]]:
        return [(f"number {index}",) for index in range(self.size)]


@pytest.fixture
def tar_of(encoded):
    """tar_of(rows): an archive of captioned pictures, 12 × 10 pixels, whose colours tell their number."""

    def make(rows: Iterable[int]) -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for row in rows:
                picture = encoded(Image.new("RGB", (12, 10), (10 * row % 256, row % 256, 0)))
                for extension, content in (("png", picture), ("txt", f"picture {row}".encode())):
                    info = tarfile.TarInfo(f"{row:06d}.{extension}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        return stream.getvalue()

    return make


@pytest.fixture
def text() -> CountingText:
    return CountingText()


@pytest.fixture
def numbers():
    return NumberedSource


@pytest.fixture
def encoded():
    """The bytes of a picture file."""

    def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        return stream.getvalue()

    return encode


@pytest.fixture
def folder(tmp_path: Path):
    """A folder with six 12 × 10 pictures and their metadata, some lines or files of it replaced."""

    def write(lines: dict[int, bytes] | None = None, files: dict[str, bytes] | None = None) -> Path:
        rows = [json.dumps({"file_name": f"{i}.png", "text": f"picture {i}"}).encode() for i in range(6)]
        for number, line in (lines or {}).items():
            rows[number - 1] = line
        (tmp_path / "metadata.jsonl").write_bytes(b"\n".join(rows) + b"\n")
        for i in range(6):
            Image.new("RGB", (12, 10), (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
        for name, content in (files or {}).items():
            (tmp_path / name).write_bytes(content)
        return tmp_path

    return write


@pytest.fixture
def few(monkeypatch):
    """The first pictures of each split alone, so that drawing takes no time."""
    kept = {split: [emoji for emoji in all_emoji() if split_of(emoji) is split][:5] for split in Split}
    chosen = tuple(sorted((emoji for group in kept.values() for emoji in group), key=lambda emoji: emoji.stem))
    for module in ("rendering", "source"):
        monkeypatch.setattr(f"imagen.data.openmoji.{module}.all_emoji", lambda: chosen)
    rendered.cache_clear()
    yield chosen
    rendered.cache_clear()
