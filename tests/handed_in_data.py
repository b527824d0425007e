"""Wrong pictures, captions and embedding caches, as calls with a `place` (see `handed_in`)."""

import json
import shutil
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from handed_in import SMALL
from PIL import Image
from safetensors.torch import load_file, save_file
from small_configurations import TINY_NETWORK

from imagen.data.loading import Refusal
from imagen.data.module import make_data
from imagen.data.sampler import BatchPlan, Draw
from imagen.errors import UserError
from imagen.files import sha256_of_file
from imagen.instantiation import instantiate
from imagen.judging.own import train_judges

PICTURES = [
    *TINY_NETWORK, "data=image_folder", "text.mode=online", "data.num_workers=0", "resolutions=[8,16,32]",
    "data.train.n=3",
]  # fmt: skip


def pictures(lines=None, files=None, read=lambda data: None):
    """Five pictures with metadata.jsonl, some lines or files of it replaced; the data is made ready and read."""

    def call(place):
        folder = place.path / "pictures"
        folder.mkdir()
        rows = [json.dumps({"file_name": f"{i}.png", "text": f"picture {i}"}).encode() for i in range(5)]
        for number, line in (lines or {}).items():
            rows[number - 1] = line
        (folder / "metadata.jsonl").write_bytes(b"\n".join(rows))
        for i in range(5):
            Image.new("RGB", (20, 20)).save(folder / f"{i}.png")
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content)
        data = make_data(place.compose("train", *PICTURES, f"data.path={folder}").data)
        data.prepare_data()
        plan = BatchPlan(0, tuple(Draw(index, key=0) for index in range(len(data.train))))
        assembled = data.train_dataloader().assembler[plan]
        if isinstance(assembled, Refusal):
            raise UserError(assembled.message)
        read(data)

    return call


def judged(captions, *overrides):
    """Judges of black pictures with these captions are trained."""

    def call(place):
        folder = place.path / "pictures"
        folder.mkdir()
        rows = [json.dumps({"file_name": f"{i}.png", "text": text}) for i, text in enumerate(captions)]
        (folder / "metadata.jsonl").write_text("\n".join(rows))
        for i in range(len(captions)):
            Image.new("RGB", (20, 20)).save(folder / f"{i}.png")
        small = ["image_size=16", "data.train.n=2", "steps=3", f"data.path={folder}", "device=cpu"]
        train_judges(place.compose("train_judge", *small, *overrides))

    return call


def empty_folder(place):
    (place.path / "empty").mkdir()
    make_data(place.compose("train", *PICTURES, f"data.path={place.path}/empty").data)


def caption(text: str) -> bytes:
    return json.dumps({"file_name": "2.png", "text": text}).encode()


def png_claiming(side: int) -> bytes:
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def png_of(side: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels))


CAPTIONS = ["a red circle", "a large blue square above a green cross"]


def embedding(*overrides, change=None):
    """The CAPTIONS are read from a cache that `change` has been at."""

    def call(place):
        folder = place.path / "embedded"
        shutil.copytree(place.cache, folder)
        if change is not None:
            change(folder)
        config = place.compose("train", *SMALL, "text.mode=cached", f"text.folder={folder}", *overrides)
        instantiate(config.text).prepare(CAPTIONS)

    return call


def shard_of(folder: Path) -> Path:
    return folder / "shard-00000.safetensors"


def flipped(folder: Path) -> None:
    content = bytearray(shard_of(folder).read_bytes())
    content[-1] ^= 1
    shard_of(folder).write_bytes(content)


def changed_manifest(**changes):
    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def by_another_encoder(folder: Path) -> None:
    fingerprint = json.loads((folder / "manifest.json").read_text())["fingerprint"]
    changed_manifest(fingerprint=fingerprint | {"model": "3f2a"})(folder)


def not_a_number(folder: Path) -> None:
    """A vector that is NaN, in a shard whose sha256 is right."""
    tensors = load_file(shard_of(folder))
    tensors["values"][0, 0] = float("nan")
    save_file(tensors, shard_of(folder))
    (record,) = json.loads((folder / "manifest.json").read_text())["shards"]
    record |= {"sha256": sha256_of_file(shard_of(folder)), "bytes": shard_of(folder).stat().st_size}
    changed_manifest(shards=[record])(folder)
