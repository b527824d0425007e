import numpy as np
import pytest
import torch

from imagen.data.pixels import from_uint8, to_uint8
from imagen.errors import UserError


def test_every_pixel_value_survives_the_round_trip():
    pixels = np.arange(256, dtype=np.uint8).reshape(2, 8, 16, 1).repeat(3, axis=3)
    images = from_uint8(pixels)
    assert images.dtype == torch.float32
    assert images.shape == (2, 3, 8, 16)
    assert (images.min(), images.max()) == (-1.0, 1.0)
    assert np.array_equal(to_uint8(images), pixels)


def test_values_are_clamped_then_rounded_to_the_nearest_pixel():
    values = torch.tensor([-7.0, -1.0, (99.6 / 127.5) - 1, (99.4 / 127.5) - 1, 1.0, 3.0])
    pixels = to_uint8(values.reshape(6, 1, 1, 1))
    assert pixels.flatten().tolist() == [0, 0, 100, 99, 255, 255]


def test_channels_go_last_and_stay_in_order():
    images = torch.stack([torch.full((2, 3), -1.0), torch.zeros(2, 3), torch.ones(2, 3)])[None]
    pixels = to_uint8(images)
    assert pixels.shape == (1, 2, 3, 3)
    assert pixels[0, 1, 2].tolist() == [0, 128, 255]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_no_number_is_refused_naming_the_picture(value: float):
    images = torch.zeros(3, 3, 4, 4)
    images[1, 2, 3, 3] = value
    with pytest.raises(UserError, match=r"pictures \[1\] of a batch of 3"):
        to_uint8(images)
