"""The bytes of a picture file without what says nothing about its pixels: text, colour profiles, camera data, comments.

Pillow reads all of it before the pixels, and calls a picture damaged when a comment is, or when a colour profile is
larger than its limit. What it refuses is tried again without.
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
    """`content` without its side data but the orientation, then without that too; nothing for other formats.

    The pixels that a reader finds in it are those of `content`. What is not understood is left as it is.
    """
    bare = next((bare for head, bare in FORMATS.items() if re.match(head, content, re.DOTALL)), None)
    if bare is not None:
        for keep_orientation in (True, False):
            yield bare(content, keep_orientation)


def _bare_png(content: bytes, keep_orientation: bool) -> bytes:
    """Chunks that a decoder must know (their first letter is a capital), and the transparent colour.

    Those of an animation go as well: its first frame, or the picture in its place, is in the others.
    """
    kept, place = [PNG], len(PNG)
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        chunk = content[place : place + length + 12]
        place += len(chunk)
        if not kind.isalpha() or kind[:1].isupper() or kind == b"tRNS" or (keep_orientation and _tells_turn(chunk)):
            kept.append(chunk)
    return b"".join(kept) + content[place:]


def _tells_turn(chunk: bytes) -> bool:
    kind, data, checksum = chunk[4:8], chunk[8:-4], chunk[-4:]
    return (kind == b"eXIf" or data.startswith(PNG_ORIENTATIONS)) and checksum == zlib.crc32(kind + data).to_bytes(4)


def _bare_jpeg(content: bytes, keep_orientation: bool) -> bytes:
    """All before the first scan but application data and comments; of those the two that name the colour space."""
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
    """libjpeg's conditions, so that it sees the colours that it saw before."""
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
        # The flags of a VP8X chunk say what else there is: animation and transparency only, from here on.
        kept.append(chunk[:8] + bytes([chunk[8] & 0x12]) + chunk[9:] if kind == b"VP8X" and length else chunk)
    body = b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _bare_tiff(content: bytes, keep_orientation: bool) -> bytes:
    """The first directory with the tags that pixels depend on; the file keeps its length, so all offsets hold."""
    order = "<" if content[:2] == b"II" else ">"
    wanted = TIFF_PIXELS | ({TIFF_ORIENTATION} if keep_orientation else set())
    (start,) = struct.unpack_from(order + "I", content, 4)
    if start + 2 > len(content):
        return content
    (count,) = struct.unpack_from(order + "H", content, start)
    places = range(start + 2, min(start + 2 + 12 * count, len(content) - 11), 12)
    entries = [content[place : place + 12] for place in places]
    kept = [entry for entry in entries if struct.unpack_from(order + "H", entry)[0] in wanted]
    directory = struct.pack(order + "H", len(kept)) + b"".join(kept) + bytes(4)  # no second page
    return content[:start] + directory + content[start + len(directory) :]


def _bare_avif(content: bytes, keep_orientation: bool) -> bytes:
    """Camera data become an item of a kind that nobody reads. The picture itself says how it is turned."""
    del keep_orientation
    return re.sub(rb"(infe(?:\x02\0\0.....|\x03\0\0.......))Exif", rb"\1free", content, flags=re.DOTALL)


FORMATS: dict[bytes, Callable[[bytes, bool], bytes]] = {
    re.escape(PNG): _bare_png,
    b"\xff\xd8\xff": _bare_jpeg,
    b"RIFF....WEBP": _bare_webp,
    b"II\\*\0....|MM\0\\*....": _bare_tiff,
    b"....ftyp": _bare_avif,
}
"""By how a file begins, a regular expression."""
