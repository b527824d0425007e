import numpy as np
import pytest
import torch
from PIL import Image

from imagen.data.transforms import Geometry, TooSmallError, random_windows, resize_picture


def positions(height: int, width: int) -> np.ndarray:
    """A picture whose red is the row and whose green is the column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)


def test_the_centre_crop_takes_the_middle_square():
    square = Geometry()(positions(8, 20), 8, key=0)
    assert square.shape == (8, 8, 3)
    assert square[0, :, 1].tolist() == list(range(6, 14))
    square = Geometry()(positions(21, 8), 8, key=0)
    assert square[:, 0, 0].tolist() == list(range(6, 14))


def test_the_random_crop_is_a_function_of_its_key_and_reaches_both_ends():
    geometry = Geometry(random_crop=True)
    picture = positions(4, 8)
    lefts = [int(geometry(picture, 4, key)[0, 0, 1]) for key in range(80)]
    assert lefts == [int(geometry(picture, 4, key)[0, 0, 1]) for key in range(80)]
    assert set(lefts) == set(range(5))


def test_the_flip_mirrors_about_half_of_the_pictures_and_only_left_to_right():
    geometry = Geometry(horizontal_flip=True)
    picture = positions(8, 8)
    flipped = 0
    for key in range(200):
        out = geometry(picture, 8, key)
        assert np.array_equal(out, picture) or np.array_equal(out, picture[:, ::-1])
        flipped += not np.array_equal(out, picture)
    assert 70 < flipped < 130
    assert np.array_equal(geometry.fixed()(picture, 8, 3), picture)


def test_resizing_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = resize_picture(stripes, (8, 8))
    assert np.abs(small[:, 1:-1].astype(int) - 127).max() <= 3  # point sampling would give 0 or 255


def test_resizing_moves_nothing():
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32, :32] = 255
    small = resize_picture(picture, (8, 8))
    assert (small[:3, :3] > 250).all()
    assert (small[5:, 5:] < 5).all()


def test_transparent_pictures_do_not_leak_hidden_colour_into_their_edges(encoded):
    from imagen.data.reading.decode import decode

    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., 0] = 255  # red everywhere, and only the black disc is opaque
    rows, columns = np.mgrid[:64, :64]
    pixels[(rows - 31) ** 2 + (columns - 31) ** 2 < 400] = [0, 0, 0, 255]
    out = Geometry()(decode(encoded(Image.fromarray(pixels, "RGBA"))), 16, key=0)
    assert (out.max(axis=-1).astype(int) - out.min(axis=-1)).max() == 0  # greys only


def test_a_picture_that_would_be_enlarged_is_refused_unless_that_is_allowed():
    with pytest.raises(TooSmallError, match="20 × 7 pixels are fewer than the 8 × 8 needed"):
        Geometry()(positions(7, 20), 8, key=0)
    assert Geometry(upscale=True)(positions(7, 20), 8, key=0).shape == (8, 8, 3)


def test_each_window_is_a_function_of_its_own_key():
    images = torch.arange(64.0).reshape(1, 1, 8, 8).repeat(6, 3, 1, 1)
    keys = [5, 6, 7, 8, 9, 5]
    windows = random_windows(images, 3, keys)
    assert windows.shape == (6, 3, 3, 3)
    assert torch.equal(windows[0], windows[5])
    assert torch.equal(random_windows(images[2:3], 3, [7])[0], windows[2])
    for window in windows:
        top, left = divmod(int(window[0, 0, 0]), 8)
        assert torch.equal(window, images[0, :, top : top + 3, left : left + 3])


def test_windows_reach_every_place():
    images = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(300, 1, 1, 1)
    corners = random_windows(images, 2, list(range(300)))[:, 0, 0, 0].tolist()
    assert set(corners) == {0, 1, 2, 4, 5, 6, 8, 9, 10}
