"""Removes side data from a picture file: text, colour profiles, camera data and comments.

Pillow reads side data before the pixels, and calls a picture damaged if a comment is damaged or a colour profile is too
large. Pictures that it refuses are tried again without side data.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator

PNG = b"\x89PNG\r\n\x1a\n"
PNG_ORIENTATIONS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")

TIFF_ORIENTATION = 274
TIFF_PIXELS = frozenset(
    # size, depth, compression, colours, strips, tiles, sample format, JPEG tables and the YCbCr scale
    {254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 280, 281, 284, 292, 293, 317, 320, 322, 323, 324, 325}
    | {332, 338, 339, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532}
)


def without_side_data(content: bytes) -> Iterator[bytes]:
    """Yield `content` without side data except the orientation, then without that too; nothing for other formats.

    The pixels stay the same. Data that is not understood is left unchanged.
    """
    bare = next((bare for head, bare in FORMATS.items() if re.match(head, content, re.DOTALL)), None)
    if bare is not None:
        for keep_orientation in (True, False):
            yield bare(content, keep_orientation)


def _bare_png(content: bytes, keep_orientation: bool) -> bytes:
    """Keeps the critical chunks (their first letter is a capital) and the transparent colour.

    Animation chunks are removed as well: the first frame, or the still picture, is in the other chunks.
    """
    kept, place = [PNG], len(PNG)
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        chunk = content[place : place + length + 12]
        place += len(chunk)
        if (
            not kind.isalpha()
            or kind[:1].isupper()
            or kind == b"tRNS"
            or (keep_orientation and _holds_orientation(chunk))
        ):
            kept.append(chunk)
    return b"".join(kept) + content[place:]


def _holds_orientation(chunk: bytes) -> bool:
    kind, data, checksum = chunk[4:8], chunk[8:-4], chunk[-4:]
    return (kind == b"eXIf" or data.startswith(PNG_ORIENTATIONS)) and checksum == zlib.crc32(kind + data).to_bytes(4)


def _bare_jpeg(content: bytes, keep_orientation: bool) -> bytes:
    """Removes application data and comments before the first scan, except the two segments with the colour space."""
    kept, place = [content[:2]], 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        if content[place + 1] == 0xFF:  # padding
            place += 1
            continue
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4])
        if marker == 0xDA:
            break
        segment = content[place : place + 2 + length]
        place += len(segment)
        is_side_data = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not is_side_data or _names_colours(segment) or (keep_orientation and _has_camera_data(segment)):
            kept.append(segment)
    return b"".join(kept) + content[place:]


def _names_colours(segment: bytes) -> bool:
    """The conditions of libjpeg, so that it decodes the same colours as before."""
    jfif = segment[1] == 0xE0 and segment[4:9] == b"JFIF\0" and len(segment) >= 18
    return jfif or (segment[1] == 0xEE and segment[4:9] == b"Adobe" and len(segment) >= 16)


def _has_camera_data(segment: bytes) -> bool:
    return segment[1] == 0xE1 and segment[4:].startswith((b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"))


def _bare_webp(content: bytes, keep_orientation: bool) -> bytes:
    kept, place = [b"WEBP"], 12
    side = (b"ICCP",) if keep_orientation else (b"ICCP", b"EXIF", b"XMP ")
    while place + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, place)
        chunk = content[place : place + 8 + length + length % 2]
        place += len(chunk)
        if kind in side or (kind in (b"EXIF", b"XMP ") and len(chunk) < 8 + length):
            continue
        # The flags of a VP8X chunk announce other chunks: only animation and transparency remain.
        kept.append(chunk[:8] + bytes([chunk[8] & 0x12]) + chunk[9:] if kind == b"VP8X" and length else chunk)
    body = b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _bare_tiff(content: bytes, keep_orientation: bool) -> bytes:
    """Keeps only the tags that affect pixels in the first directory. The length stays, so all offsets stay valid."""
    order = "<" if content[:2] == b"II" else ">"
    tags = TIFF_PIXELS | ({TIFF_ORIENTATION} if keep_orientation else set())
    (start,) = struct.unpack_from(order + "I", content, 4)
    if start + 2 > len(content):
        return content
    (count,) = struct.unpack_from(order + "H", content, start)
    places = range(start + 2, min(start + 2 + 12 * count, len(content) - 11), 12)
    entries = [content[place : place + 12] for place in places]
    kept = [entry for entry in entries if struct.unpack_from(order + "H", entry)[0] in tags]
    directory = struct.pack(order + "H", len(kept)) + b"".join(kept) + bytes(4)  # no second page
    return content[:start] + directory + content[start + len(directory) :]


def _bare_avif(content: bytes, keep_orientation: bool) -> bytes:
    """Renames the type of camera data to one that no reader uses. AVIF stores the orientation with the picture."""
    del keep_orientation
    return re.sub(rb"(infe(?:\x02\0\0.....|\x03\0\0.......))Exif", rb"\1free", content, flags=re.DOTALL)


FORMATS: dict[bytes, Callable[[bytes, bool], bytes]] = {
    re.escape(PNG): _bare_png,
    b"\xff\xd8\xff": _bare_jpeg,
    b"RIFF....WEBP": _bare_webp,
    b"II\\*\0....|MM\0\\*....": _bare_tiff,
    b"....ftyp": _bare_avif,
}
"""The function for each format, by a regular expression for the first bytes of the file."""
