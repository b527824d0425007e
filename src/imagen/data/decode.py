"""From the bytes of a picture file to RGB pixels, the way a person sees the picture.

Orientation is applied, transparency is composited on white, 16 bits are scaled to 8, of an animation the first frame
is taken. Colour profiles are not applied. Pillow's own conversions clip 16-bit grey to white, turn float into black
and show the colours hidden under transparent pixels.
"""

import warnings
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from imagen.data.source import Picture
from imagen.errors import UserError

# Pillow reads more (PostScript by running Ghostscript): nothing that needs another program or is rarely exercised.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")

MAX_PIXELS = 64_000_000


class UnreadableImageError(ValueError):
    """Why a picture cannot be decoded, in words."""


def image_size(file: Path | bytes, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height, from the header alone.

    Raises:
        UnreadableImageError: if it is not a picture, or has more than `max_pixels`.
    """
    with _opened(file, max_pixels) as image:
        return image.size


def decode(file: Path | bytes, max_pixels: int = MAX_PIXELS) -> Picture:
    """RGB pixels of the picture in a file or in the bytes of one.

    Raises:
        UnreadableImageError: if it is not a picture, is damaged, has more than `max_pixels`, or has pixels without a
            defined range (float, 32-bit integers beyond 16 bits).
        UserError: if the file cannot be read for reasons that are not its own (permissions, a broken disk).
    """
    with _opened(file, max_pixels) as image:
        image.load()
        return _to_rgb(_upright(image))


@contextmanager
def _opened(file: Path | bytes, max_pixels: int):
    """The picture, its header read. Whatever goes wrong inside is an `UnreadableImageError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # bombs are refused here; odd metadata is not the user's concern
            with Image.open(BytesIO(file) if isinstance(file, bytes) else file, formats=_formats()) as image:
                if image.width * image.height > max_pixels:
                    raise UnreadableImageError(
                        f"{image.width} × {image.height} pixels are more than max_pixels={max_pixels}"
                    )
                yield image
    except UnreadableImageError:
        raise
    except FileNotFoundError:
        raise UnreadableImageError("there is no such file") from None
    except IsADirectoryError:
        raise UnreadableImageError("a folder, not a picture") from None
    except Image.DecompressionBombError:  # raised before the header can be asked
        limit = min(max_pixels, 2 * Image.MAX_IMAGE_PIXELS)
        raise UnreadableImageError(f"more than max_pixels={limit} pixels (a decompression bomb?)") from None
    except UnidentifiedImageError:
        raise UnreadableImageError(_what_it_is_instead(file)) from None
    except OSError as error:
        if error.errno is None:  # Pillow's
            raise UnreadableImageError(f"damaged ({error})") from error
        raise UserError(f"{file} cannot be read: {error.strerror}", environment=True) from error
    except Exception as error:  # Pillow raises a dozen types for damaged files, among them SyntaxError and KeyError
        text = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImageError(f"damaged ({text})") from error


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this build of Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _what_it_is_instead(file: Path | bytes) -> str:
    if isinstance(file, Path):
        with file.open("rb") as stream:
            head = stream.read(64)
    else:
        head = file[:64]
    if not head:
        return "empty (0 bytes)"
    if head.lstrip().startswith(b"<"):
        return f"a web page or XML, not a picture (begins with {head.lstrip()[:15].decode('ascii', 'replace')!r})"
    return f"not a picture in any of {', '.join(FORMATS)} (begins with {head[:8]!r})"


def _upright(image: Image.Image) -> Image.Image:
    """The picture as the camera was held (EXIF orientation)."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged metadata says nothing about the pixels
        return image


def _to_rgb(image: Image.Image) -> Picture:
    if image.mode == "F":
        raise UnreadableImageError("float pixels have no defined range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return _sixteen_bit_grey_to_rgb(image)
    if image.has_transparency_data:
        # Before any resizing, so that the colours hidden under transparent pixels never mix with visible ones.
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def _sixteen_bit_grey_to_rgb(image: Image.Image) -> Picture:
    """Scaled from 0…65535; Pillow would clip at 255. 32-bit integers are taken if they stay within 16 bits."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableImageError(f"integer pixels from {values.min()} to {values.max()}; save it with 8 or 16 bits")
    grey = ((values * 255 + 32767) // 65535).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return np.repeat(grey[:, :, None], 3, axis=2)
