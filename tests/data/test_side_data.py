"""Side data in a picture file affects nothing but the orientation of the picture."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, TiffImagePlugin

from imagen.data.reading.decode import UnreadableImageError, decode, image_size

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
LARGE = zlib.compress(b"a" * (1 << 21))
IMAGE_WIDTH, X_RESOLUTION, XMP = 0x100, 0x11A, 700
TEXT, SIGNED = 2, 9
XMP_ORIENTATION_6 = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def camera_data(orientation: int, tag: int = 0x131, kind: int = TEXT, value: bytes = b"abc\0") -> bytes:
    """EXIF with an orientation and one more tag of 4 bytes."""
    entries = [struct.pack("<HHIHH", 0x112, 3, 1, orientation, 0)]
    entries.append(struct.pack("<HHI4s", tag, kind, 4 if kind == TEXT else 1, value))
    return b"Exif\0\0II*\0\x08\0\0\0\x02\0" + b"".join(sorted(entries)) + bytes(4)


def chunk(kind: bytes, data: bytes, spoil: int = 0) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ spoil)


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


@pytest.fixture
def png(encoded):
    """A PNG with chunks before and after its pixels."""

    def make(before: bytes = b"", after: bytes = b"") -> bytes:
        plain = encoded(Image.fromarray(PIXELS))
        return plain[:33] + before + plain[33:-12] + after + plain[-12:]

    return make


@pytest.fixture
def jpeg(encoded):
    def make(*segments: bytes) -> bytes:
        plain = encoded(Image.fromarray(PIXELS), "JPEG")
        return plain[:2] + b"".join(segments) + plain[2:]

    return make


@pytest.fixture
def tiff(encoded):
    def make(**tags: tuple[int, object]) -> bytes:
        directory = TiffImagePlugin.ImageFileDirectory_v2()
        for name, (kind, value) in tags.items():
            directory.tagtype[int(name[1:])] = kind
            directory[int(name[1:])] = value
        return encoded(Image.fromarray(PIXELS), "TIFF", tiffinfo=directory)

    return make


def turned(orientation: int) -> np.ndarray:
    """The pixels as Pillow turns them."""
    image = Image.fromarray(PIXELS)
    image.getexif()[0x112] = orientation
    return np.array(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_all_orientations_are_those_of_pillow(encoded, tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"WEBP": {"lossless": True}, "TIFF": {"compression": "tiff_lzw"}}.get(kind, {})
    (tmp_path / "picture").write_bytes(encoded(Image.fromarray(PIXELS), kind, exif=exif, **options))
    with Image.open(tmp_path / "picture") as image:
        expected = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    assert expected.shape == ((60, 40, 3) if orientation >= 5 else (40, 60, 3))
    assert np.array_equal(decode(tmp_path / "picture"), expected)
    assert image_size(tmp_path / "picture") == expected.shape[1::-1]


@pytest.mark.parametrize(
    "value", [b'tiff:Orientation="6"', b"<tiff:Orientation>6</tiff:Orientation>", b'tiff:Orientation="0"']
)
def test_an_orientation_in_xmp_is_that_of_pillow(encoded, png, jpeg, tmp_path, value):
    files = [
        png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + value)),
        jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + value)),
        encoded(Image.fromarray(PIXELS), "WEBP", xmp=value),
    ]
    for content in files:
        (tmp_path / "picture").write_bytes(content)
        with Image.open(tmp_path / "picture") as image:
            expected = np.array(ImageOps.exif_transpose(image))
        assert np.array_equal(decode(content), expected)
        assert image_size(content) == expected.shape[1::-1]


@pytest.mark.parametrize(("kind", "value"), [(TEXT, b"xyz\0"), (SIGNED, b"\xff\xff\xff\xff")])
def test_a_picture_is_turned_whatever_its_other_camera_data(encoded, png, jpeg, kind, value):
    """Pillow cannot write such a width, and need not."""
    odd = camera_data(6, IMAGE_WIDTH, kind, value)
    assert np.array_equal(decode(png(chunk(b"eXIf", odd[6:]))), turned(6))
    assert np.array_equal(decode(encoded(Image.fromarray(PIXELS), "WEBP", lossless=True, exif=odd)), turned(6))
    assert np.array_equal(decode(jpeg(segment(0xE1, odd))), decode(jpeg(segment(0xE1, camera_data(6)))))
    avif = encoded(Image.fromarray(PIXELS), "AVIF", exif=camera_data(6))
    spoilt = avif  # Pillow would not write it: change the tag in place
    for order in ("<", ">"):
        old = struct.pack(order + "HHI", 0x131, TEXT, 4) + b"abc\0"
        spoilt = spoilt.replace(old, struct.pack(order + "HHI", IMAGE_WIDTH, kind, 4 if kind == TEXT else 1) + value)
    assert spoilt != avif
    assert np.array_equal(decode(spoilt), decode(avif))
    assert image_size(spoilt) == (40, 60)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (chunk(b"iCCP", b"profile\0\0" + LARGE), b""),
        (chunk(b"zTXt", b"note\0\0" + LARGE), b""),
        (chunk(b"iTXt", b"note\0\1\0\0\0" + LARGE), b""),
        (b"", chunk(b"zTXt", b"note\0\0" + LARGE)),
        (b"".join(chunk(b"zTXt", b"%d\0\0" % i + zlib.compress(b"a" * (1 << 20))) for i in range(65)), b""),
        (chunk(b"tEXt", b"note\0text", spoil=1), b""),
        (chunk(b"zTXt", b"note\0\1text"), b""),
        (chunk(b"iCCP", b"profile\0\1"), b""),
        (chunk(b"gAMA", b""), b""),
        (chunk(b"pHYs", b"ab"), b""),
        (chunk(b"acTL", b""), b""),
        (chunk(b"tEXt", b"interlace\0yes"), b""),
        (chunk(b"tEXt", b"transparency\0yes"), b""),
        (chunk(b"eXIf", b"nothing"), b""),
        (chunk(b"tEXt", b"Raw profile type exif\0\nexif\n3\nzz\n"), b""),
    ],
)
def test_the_side_data_of_a_png_cost_nothing(png, before, after):
    assert np.array_equal(decode(png(before, after)), PIXELS)
    assert image_size(png(before, after)) == (60, 40)
    # Turned all the same, whether EXIF or XMP says so.
    for telling in (
        chunk(b"eXIf", camera_data(6)[6:]),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP_ORIENTATION_6),
    ):
        if b"exif" not in before.lower():
            assert np.array_equal(decode(png(telling + before, after)), turned(6))
            assert image_size(png(telling + before, after)) == (40, 60)


def test_text_that_is_cut_behind_the_pixels_costs_nothing_and_cut_pixels_are_damaged(png):
    text = chunk(b"tEXt", b"note\0" + b"a" * 100)
    assert np.array_equal(decode(png(after=text)[:-60]), PIXELS)
    with pytest.raises(UnreadableImageError, match="damaged"):
        decode(png()[:-60])
    whole = png(chunk(b"zTXt", b"note\0\0" + LARGE))
    with pytest.raises(UnreadableImageError, match="damaged"):
        decode(whole[: len(whole) // 2])


def test_a_bomb_in_a_text_takes_no_memory(png):
    one = zlib.compressobj(9)
    bomb = b"".join(one.compress(bytes(1 << 20)) for _ in range(128)) + one.flush()
    chunks = [chunk(b"zTXt", b"note\0\0" + bomb), chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb)]
    for content in map(png, chunks):
        tracemalloc.start()
        try:
            assert np.array_equal(decode(content), PIXELS)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "damaged",
    [
        segment(0xE0, b"JFIF\0"),
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xEE, b"Adobe"),
        segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed"),
        segment(0xE2, b"MPF\0II*\0\x08\0\0\0"),
        segment(0xE1, b"Exif\0\0nothing"),
    ],
)
def test_the_side_data_of_a_jpeg_cost_nothing(jpeg, damaged):
    assert np.array_equal(decode(jpeg(damaged)), decode(jpeg()))
    sound = jpeg(segment(0xE1, camera_data(6)))
    assert decode(sound).shape == (60, 40, 3)
    if b"Exif" not in damaged:
        assert np.array_equal(decode(jpeg(segment(0xE1, camera_data(6)), damaged)), decode(sound))


def test_the_colours_of_a_jpeg_survive_without_its_side_data(encoded):
    spoilt = segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed")
    for image, options in ((Image.new("CMYK", (8, 8), (0, 255, 255, 0)), {}), (Image.new("RGB", (8, 8), "teal"), {})):
        plain = encoded(image, "JPEG", quality=100, **options)
        assert np.array_equal(decode(plain[:2] + spoilt + plain[2:]), decode(plain))
    as_rgb = encoded(Image.new("RGB", (8, 8), "teal"), "JPEG", quality=100, keep_rgb=True)
    assert np.array_equal(decode(as_rgb[:2] + spoilt + as_rgb[2:]), decode(as_rgb))


def test_the_side_data_of_a_tiff_cost_nothing(tiff):
    odd = {"t282": (TEXT, "abc"), "t283": (TEXT, "x"), "t296": (3, 3)}
    assert np.array_equal(decode(tiff(**odd)), PIXELS)
    assert np.array_equal(decode(tiff(t274=(3, 6), t700=(TEXT, "abc"))), turned(6))
    assert image_size(tiff(t274=(3, 6), **odd)) == (40, 60)
    assert np.array_equal(decode(tiff(t274=(3, 6), **odd)), turned(6))


def test_camera_data_that_are_cut_behind_the_pixels_of_a_webp_cost_nothing(encoded):
    plain = encoded(Image.fromarray(PIXELS), "WEBP", lossless=True)
    content = encoded(Image.fromarray(PIXELS), "WEBP", lossless=True, exif=camera_data(6))
    assert np.array_equal(decode(content), turned(6))
    assert np.array_equal(decode(content[:-20]), PIXELS)
    with pytest.raises(UnreadableImageError, match="damaged"):
        decode(plain[: len(plain) // 2])
