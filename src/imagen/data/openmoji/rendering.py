"""OpenMoji's drawings as pixels, drawn once for each resolution and then mapped from a file."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from imagen.data.openmoji.names import all_emoji, openmoji_version, svg_folder
from imagen.data.source import Picture
from imagen.errors import UserError
from imagen.files import fingerprint, replacing
from imagen.locks import hold
from imagen.progress import track

Pictures = UInt8[np.ndarray, "pictures side side 3"]


@cache
def rendered(folder: Path, resolution: int) -> Pictures:
    """Every picture of `all_emoji` on white, `resolution` pixels per side, mapped from a file in `folder`.

    The first call draws them and writes the file: 11 s and 194 MB at 128 pixels. Other processes wait for it.

    Raises:
        UserError: if a package is missing, or the file is damaged or cannot be written.
    """
    stems = tuple(emoji.stem for emoji in all_emoji())
    drawn_by = f"{openmoji_version()}-resvg-{version('resvg-py')}"
    path = folder / f"{drawn_by}-{fingerprint(stems)[:8]}-{resolution}.npy"
    shape = (len(stems), resolution, resolution, 3)
    try:
        if not path.exists():
            with hold(path.with_suffix(".lock"), wait=True):
                if not path.exists():
                    _write(path, stems, resolution)
        pictures = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise UserError(f"{path} cannot be written or read: {error.strerror or error}", environment=True) from error
    except (ValueError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it, and it is drawn again") from error
    if pictures.shape != shape or pictures.dtype != np.uint8:
        raise UserError(f"{path} holds {pictures.dtype} {pictures.shape}, not uint8 {shape}; delete it")
    return pictures


def _write(path: Path, stems: Sequence[str], resolution: int) -> None:
    """One picture after the other, so memory holds one."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(stems), resolution, resolution, 3)}
    with replacing(path) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for stem in track(stems, f"Drawing OpenMoji at {resolution} × {resolution} into {path}"):
            stream.write(draw(stem, resolution).tobytes())


def draw(stem: str, resolution: int) -> Picture:
    """One picture on white, `resolution` pixels per side, from OpenMoji's file `stem`.svg."""
    import resvg_py

    file = svg_folder() / f"{stem}.svg"
    png = resvg_py.svg_to_bytes(svg_path=str(file), width=resolution, height=resolution, background="white")
    with Image.open(BytesIO(bytes(png))) as image:
        return np.asarray(image.convert("RGB"))
