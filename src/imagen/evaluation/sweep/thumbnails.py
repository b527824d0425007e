"""Pictures reduced to a size at which each can be compared with every training picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from imagen.data.pixels import as_pixels
from imagen.data.transforms import resize_picture
from imagen.errors import UserError
from imagen.evaluation.sweep.reference import BATCH, Reference
from imagen.files import fingerprint, replacing
from imagen.progress import track
from imagen.tensors import Pixels

SIDE = 32
"""Pixels per side of a thumbnail. Smaller pictures are compared as they are."""


def thumbnails(pixels: Pixels) -> UInt8[Tensor, "batch side side 3"]:
    """The pictures, antialiased to `SIDE` pixels per side if they are larger."""
    side = min(SIDE, *pixels.shape[1:3])
    if not len(pixels):
        return torch.empty((0, side, side, 3), dtype=torch.uint8)
    return as_pixels(np.stack([resize_picture(picture, (side, side)) for picture in pixels.numpy()]))


def stored_thumbnails(
    reference: Reference, count: int, resolution: int, folder: Path, description: str
) -> UInt8[np.ndarray, "pictures side side 3"]:
    """Thumbnails of the first `count` pictures at `resolution`, mapped from a file in `folder`: 3 kB for each.

    The first call reads the pictures and writes the file. Its name is a hash of the pictures, their files' state and
    their size.

    Raises:
        UserError: if a picture cannot be used, or the file is damaged or cannot be written.
    """
    path = folder / f"thumbnails-{_key(reference, count, resolution)}.npy"
    side = min(SIDE, resolution)
    try:
        if not path.exists():
            _write(reference, range(count), resolution, path, description)
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise UserError(f"{path} cannot be written or read: {error.strerror or error}", environment=True) from error
    except (ValueError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it, and it is made again") from error
    if stored.shape != (count, side, side, 3) or stored.dtype != np.uint8:
        raise UserError(f"{path} holds {stored.dtype} {stored.shape}, not {count} thumbnails; delete it")
    return stored


def _write(reference: Reference, rows: Sequence[int], resolution: int, path: Path, description: str) -> None:
    """Batch after batch, so memory holds one."""
    side = min(SIDE, resolution)
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), side, side, 3)}
    starts = range(0, len(rows), BATCH)
    with replacing(path) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for start in track(starts, description, len(starts)):
            pictures = [reference.picture(row, resolution) for row in rows[start : start + BATCH]]
            stream.write(thumbnails(as_pixels(np.stack(pictures))).numpy().tobytes())


def _key(reference: Reference, count: int, resolution: int) -> str:
    content = {"reference": dict(reference.identity), "state": reference.state, "count": count}
    return fingerprint({**content, "resolution": resolution, "side": SIDE, "resize": "bicubic"})[:16]
