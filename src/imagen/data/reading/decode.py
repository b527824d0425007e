"""From the bytes of a picture file to RGB pixels, as a person sees the picture.

Orientation is applied, transparency is composited on white, 16 bits are scaled to 8, and the first frame of an
animation is used. Colour profiles are not applied. Pillow's own conversions would clip 16-bit grey to white, turn float
into black and show the colours hidden under transparent pixels.
"""

import re
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from imagen.data.reading.example import Picture, PictureFile
from imagen.data.reading.problems import BadExampleError, Fault, Problem
from imagen.data.reading.side_data import without_side_data
from imagen.errors import UserError
from imagen.files import open_regular
from imagen.tensors import Size

# Pillow reads more formats. Those that need another program (PostScript: Ghostscript) or are rarely used are left out.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")

SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}
"""The suffix of files in a format that is not called like it."""

MAX_PIXELS = 64_000_000

MAX_BYTES = 1 << 28
"""Larger files are not read into memory."""

QUARTER_TURNS = (5, 6, 7, 8)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that makes a picture upright, by EXIF orientation."""

OTHERS = (
    (rb"\x1f\x8b", "gzip (of an SVG drawing?)", Fault.DRAWING),
    (rb"%PDF", "a PDF", Fault.DRAWING),
    (rb"%!PS", "PostScript", Fault.DRAWING),
    (rb"....ftyp(heic|heix|hevc|mif1|msf1)", "HEIC", Fault.OTHER_FORMAT),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL", Fault.OTHER_FORMAT),
    (rb"8BPS", "a Photoshop file", Fault.OTHER_FORMAT),
    (rb"gimp xcf", "a GIMP file", Fault.OTHER_FORMAT),
    (rb"\x00\x00\x01\x00", "a Windows icon", Fault.OTHER_FORMAT),
    (rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI ", "a film", Fault.OTHER_FORMAT),
)
"""Other files that people keep among their pictures, by their first bytes."""

Seen = TypeVar("Seen")


class UnreadableImageError(ValueError):
    """A picture cannot be decoded; the message says why."""

    def __init__(self, reason: str, fault: Fault = Fault.DAMAGED) -> None:
        super().__init__(reason)
        self.fault = fault


class DamagedImageError(UnreadableImageError):
    """Pillow finds no valid picture in a file. The fault may lie outside its pixels, in the side data."""


def image_size(file: Path | bytes, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height of the upright picture, from the header alone.

    A PNG may store its orientation after its pixels; that is not read here.

    Raises:
        UnreadableImageError: if it is not a picture, or has more than `max_pixels`.
        UserError: if the file cannot be read for reasons that are not its own (permissions, a broken disk).
    """
    return _read(file, max_pixels, _upright_size)


def size_or_problem(row: int, where: str, file: Path | bytes, max_pixels: int) -> Size | Problem:
    """Height and width of the picture in a row, from its header; or why it cannot be read. `where` names the row."""
    try:
        width, height = image_size(file, max_pixels)
    except UnreadableImageError as error:
        return Problem(row, error.fault, f"{where}: {error}")
    return height, width


def common_size(found: Iterable[Size | Problem]) -> Size | Problem:
    """The size of the first picture of a row, or the first problem of any of its pictures."""
    sizes = list(found)
    return next((one for one in sizes if isinstance(one, Problem)), sizes[0])


def decoded_row(file: Path | bytes, max_pixels: int, where: str) -> Picture:
    """`decode` for a row of a source. Raises BadExampleError, which names `where`, if it cannot be decoded."""
    try:
        return decode(file, max_pixels)
    except UnreadableImageError as error:
        raise BadExampleError(f"{where}: {error}", error.fault) from error


def picture_file(file: Path | bytes, max_pixels: int, where: str) -> PictureFile:
    """The file of a picture as it is. Its header is read, not its pixels.

    Raises:
        BadExampleError: naming `where`, if the header cannot be read, or the file is too large to be read again.
        UserError: as `decode`.
    """
    try:
        kind = _read(file, max_pixels, lambda image: image.format or "")
        content = _content(file)
        if len(content) >= MAX_BYTES:
            raise UnreadableImageError(f"a file of {MAX_BYTES} bytes or more", Fault.LARGE)
    except UnreadableImageError as error:
        raise BadExampleError(f"{where}: {error}", error.fault) from error
    return PictureFile(content, SUFFIXES.get(kind, kind.lower()))


def decode(file: Path | bytes, max_pixels: int = MAX_PIXELS) -> Picture:
    """RGB pixels of the picture in a file or in its bytes.

    Raises:
        UnreadableImageError: if it is not a picture, is damaged, has more than `max_pixels`, or has pixels without a
            defined range (float, 32-bit integers beyond 16 bits).
        UserError: if the file cannot be read for reasons that are not its own (permissions, a broken disk).
    """
    return _read(file, max_pixels, rgb_pixels)


def _read(file: Path | bytes, max_pixels: int, look: Callable[[Image.Image], Seen]) -> Seen:
    """`look` applied to the picture; if that fails, to the picture without its side data."""
    try:
        with _opened(file, max_pixels) as image:
            return look(image)
    except DamagedImageError:
        for content in without_side_data(_content(file)):
            with suppress(DamagedImageError), _opened(content, max_pixels) as image:
                return look(image)
        raise


def _content(file: Path | bytes) -> bytes:
    """The bytes of a file; only its beginning if it is too large for a picture."""
    if isinstance(file, bytes):
        return file
    with open_regular(file) as stream:
        return stream.read(MAX_BYTES)


@contextmanager
def _opened(file: Path | bytes, max_pixels: int) -> Iterator[Image.Image]:
    """Open the picture and read its header. Every failure inside the block becomes an `UnreadableImageError`."""
    try:
        with warnings.catch_warnings(), _stream(file) as stream:
            warnings.simplefilter("ignore")  # bombs are refused below; odd metadata does not matter
            with Image.open(stream, formats=_formats()) as image:
                if image.width * image.height > max_pixels:
                    size = f"{image.width} × {image.height} pixels"
                    raise UnreadableImageError(f"{size} are more than max_pixels={max_pixels}", Fault.LARGE)
                yield image
    except (UnreadableImageError, UserError):
        raise
    except FileNotFoundError:
        raise UnreadableImageError("there is no such file", Fault.MISSING) from None
    except Image.DecompressionBombError:  # raised before the size can be read
        assert Image.MAX_IMAGE_PIXELS is not None  # otherwise Pillow has no limit
        limit = min(max_pixels, 2 * Image.MAX_IMAGE_PIXELS)
        reason = f"more than max_pixels={limit} pixels (a decompression bomb?)"
        raise UnreadableImageError(reason, Fault.LARGE) from None
    except UnidentifiedImageError:
        raise DamagedImageError(*_other_format(file)) from None
    except OSError as error:
        if error.errno is None:  # Pillow's
            raise DamagedImageError(f"damaged ({error})") from error
        raise UserError(f"{file} cannot be read: {error.strerror}", environment=True) from error
    except Exception as error:  # Pillow raises a dozen types for damaged files, among them SyntaxError and KeyError
        text = " ".join(str(error).split()) or type(error).__name__
        raise DamagedImageError(f"damaged ({text})") from error


def _stream(file: Path | bytes) -> BytesIO | BufferedReader:
    if isinstance(file, bytes):
        return BytesIO(file)
    if file.is_dir():
        raise UnreadableImageError("a folder, not a picture")
    try:
        return open_regular(file)
    except UserError:  # reading it would block for ever
        raise UnreadableImageError("a pipe, socket or device, not a file") from None


@cache
def picture_suffixes() -> frozenset[str]:
    """File name suffixes of the `FORMATS`, in lower case, with the dot."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)


@cache
def _formats() -> tuple[str, ...]:
    """The `FORMATS` that this build of Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _other_format(file: Path | bytes) -> tuple[str, Fault]:
    with _stream(file) as stream:
        head = stream.read(1024)
    if not head:
        return "empty (0 bytes)", Fault.DAMAGED
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if re.match(rb"<svg|<\?xml.*<svg|<!--.*<svg|<!DOCTYPE svg", text, re.DOTALL):
        return "an SVG drawing, which has no pixels", Fault.DRAWING
    for beginning, name, fault in OTHERS:
        if re.match(beginning, head, re.DOTALL):
            return f"{name}, which is not read", fault
    if text.startswith(b"<"):
        return f"a web page or XML, not a picture (begins with {text[:15].decode('ascii', 'replace')!r})", Fault.DAMAGED
    return f"not a picture in any of {', '.join(FORMATS)} (begins with {head[:8]!r})", Fault.DAMAGED


def rgb_pixels(image: Image.Image) -> Picture:
    image.load()
    turn = TURNS.get(_orientation(image.getexif))
    return _to_rgb(image if turn is None else image.transpose(turn))


def _upright_size(image: Image.Image) -> tuple[int, int]:
    if image.format == "TIFF":  # Pillow has already rotated it
        return image.size
    # Not PNG's own `getexif`, which decodes the whole picture to read what follows the pixels.
    turned = _orientation(lambda: Image.Image.getexif(image)) in QUARTER_TURNS
    return (image.height, image.width) if turned else image.size


def _orientation(getexif: Callable[[], Image.Exif]) -> int:
    """Orientation by EXIF or XMP, 1 to 8; 1 if it cannot be read. No other metadata is used."""
    try:
        orientation = getexif().get(ExifTags.Base.Orientation)
    except (SyntaxError, TypeError, ValueError, struct.error):  # damaged metadata says nothing about the pixels
        return 1
    return orientation if isinstance(orientation, int) else 1


def _to_rgb(image: Image.Image) -> Picture:
    if image.mode == "F":
        raise UnreadableImageError("float pixels have no defined range", Fault.RANGE)
    if image.mode.startswith("I"):
        return _sixteen_bit_grey_to_rgb(image)
    if image.has_transparency_data:
        # Before any resizing, so that the colours hidden under transparent pixels never mix with visible ones.
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def _sixteen_bit_grey_to_rgb(image: Image.Image) -> Picture:
    """Scale from 0…65535; Pillow would clip at 255. 32-bit integers are accepted if they fit in 16 bits."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableImageError(f"integer pixels from {values.min()} to {values.max()}", Fault.RANGE)
    grey = ((values * 255 + 32767) // 65535).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return np.repeat(grey[:, :, None], 3, axis=2)
