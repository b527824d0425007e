import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from imagen.data.reading.decode import UnreadableImageError, decode, image_size


def png_header_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_rgb_pixels_come_back_as_they_were(encoded):
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {})):
        assert np.array_equal(decode(encoded(Image.fromarray(pixels), kind, **options)), pixels), kind


def test_the_camera_orientation_is_applied(encoded):
    upright = np.zeros((4, 6, 3), np.uint8)
    upright[0, 0] = 255
    # Orientation 6: the stored picture must be turned clockwise by 90°, so it is stored turned the other way.
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.rot90(upright).copy())
    assert np.array_equal(decode(encoded(stored, "PNG", exif=exif)), upright)


def test_damaged_exif_does_not_cost_the_picture(encoded):
    picture = Image.new("RGB", (3, 2), "red")
    data = encoded(picture, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(data).shape == (2, 3, 3)


def test_transparent_pixels_show_white_and_not_the_colour_hidden_under_them(encoded):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :] = [[255, 0, 0, 0], [0, 0, 0, 128], [10, 20, 30, 255]]
    out = decode(encoded(Image.fromarray(pixels, "RGBA")))[0]
    assert out[0].tolist() == [255, 255, 255]
    assert np.abs(out[1].astype(int) - 127).max() <= 1
    assert out[2].tolist() == [10, 20, 30]


def test_grey_with_alpha_is_composited_on_white(encoded):
    pixels = np.array([[[0, 0], [0, 255]]], np.uint8)
    assert decode(encoded(Image.fromarray(pixels, "LA")))[0].tolist() == [[255] * 3, [0] * 3]


def test_a_palette_with_transparency_is_composited_on_white(encoded):
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        out = decode(encoded(image, kind, transparency=0))[0].tolist()
        assert out == [[255, 255, 255], [0, 200, 0]], kind


def test_a_palette_without_transparency_gives_its_colours(encoded):
    image = Image.new("P", (1, 1))
    image.putpalette([7, 8, 9])
    assert decode(encoded(image))[0, 0].tolist() == [7, 8, 9]


def test_16_bit_grey_is_scaled_and_not_clipped(encoded):
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        assert decode(encoded(Image.fromarray(values), kind))[0, :, 0].tolist() == [0, 1, 128, 255], kind


def test_16_bit_rgb_is_scaled():
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = struct.pack(">6H", 0, 32768, 65535, 257 * 10, 257 * 20, 257 * 30)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row))
    assert decode(png + chunk(b"IEND", b""))[0].tolist() == [[0, 128, 255], [10, 20, 30]]


def test_transparent_16_bit_grey_shows_white(encoded):
    values = np.array([[1000, 40000]], np.uint16)
    data = encoded(Image.fromarray(values), "PNG", transparency=1000)
    assert decode(data)[0, :, 0].tolist() == [255, 156]


@pytest.mark.parametrize(("mode", "value", "expected"), [("L", 77, 77), ("1", 1, 255), ("1", 0, 0)])
def test_grey_and_bilevel_pictures_become_rgb(encoded, mode, value, expected):
    assert decode(encoded(Image.new(mode, (2, 2), value))).tolist() == [[[expected] * 3] * 2] * 2


def test_cmyk_becomes_rgb_and_not_its_negative(encoded):
    out = decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    assert (out[..., 0] > 240).all()
    assert (out[..., 1:] < 15).all()


def test_of_an_animation_the_first_frame_is_taken(encoded):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    out = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert out[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"<!DOCTYPE html><html>404</html>", "a web page or XML"),
        (b"\n <svg xmlns=''/>", "an SVG drawing"),
        (b'<?xml version="1.0"?>\n<!-- by hand -->\n<svg xmlns="">', "an SVG drawing"),
        (b"%PDF-1.7", "a PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC, which is not read"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a film"),
        (b"hello, I am text", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript, which is not read"),
    ],
)
def test_what_is_no_picture_is_called_by_what_it_is(data, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        decode(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_truncated_file_is_damaged(encoded, kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(UnreadableImageError, match=r"damaged|not a picture"):
        decode(data[: len(data) // 2])


def test_no_cut_or_changed_byte_gets_past_as_another_exception(encoded):
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    rng = np.random.default_rng(2)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        data = encoded(picture, kind)
        for _ in range(40):
            broken = bytearray(data[: rng.integers(1, len(data) + 1)])
            broken[rng.integers(len(broken))] ^= int(rng.integers(1, 256))
            with suppress(UnreadableImageError):
                assert decode(bytes(broken)).dtype == np.uint8


@pytest.mark.parametrize(("width", "height"), [(13_000, 13_000), (20_000, 20_000)])
def test_a_decompression_bomb_is_refused_from_its_header(width, height):
    bomb = png_header_of(width, height)
    for read in (decode, image_size):
        with pytest.raises(UnreadableImageError, match="max_pixels"):
            read(bomb)


def test_the_pixel_cap_is_the_callers(encoded):
    data = encoded(Image.new("RGB", (10, 10)))
    assert image_size(data, max_pixels=100) == (10, 10)
    with pytest.raises(UnreadableImageError, match="10 × 10 pixels are more than max_pixels=99"):
        decode(data, max_pixels=99)


def test_float_pixels_are_refused_since_their_range_is_unknown(encoded):
    with pytest.raises(UnreadableImageError, match="float"):
        decode(encoded(Image.new("F", (2, 2), 0.5), "TIFF"))


def test_32_bit_integers_beyond_16_bits_are_refused(encoded):
    with pytest.raises(UnreadableImageError, match="70000"):
        decode(encoded(Image.new("I", (2, 2), 70_000), "TIFF"))


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(UnreadableImageError, match="no such file"):
        decode(tmp_path / "absent.png")


def test_files_and_bytes_decode_alike(tmp_path):
    Image.new("RGB", (3, 2), "navy").save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    assert np.array_equal(decode(data), decode(tmp_path / "a.png"))
