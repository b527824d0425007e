"""Tiled sampling: a large picture from tiles of the size that a network was trained on."""

from itertools import pairwise

import pytest
import torch
from exact_denoisers import GAUSSIAN, constant_level

from imagen.diffusion.conditioning import Conditioning, ImageSignal, LowResImage, TextSignal
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.tiling import TiledDenoiser
from imagen.randomness import make_generator

NOTHING = Conditioning()


def noise(*shape):
    return torch.randn(shape, generator=make_generator("tiles"))


def pixelwise(z, level, conditioning):
    return GAUSSIAN.denoise(z, level)


@pytest.mark.parametrize("size", [(8, 8), (8, 12), (20, 8), (21, 29), (6, 30)])
def test_a_denoiser_that_looks_at_one_pixel_at_a_time_is_not_changed(size):
    z = noise(2, 3, *size)
    level = constant_level(0.5, z)
    tiled = TiledDenoiser(pixelwise, side=8, overlap=0.25)
    torch.testing.assert_close(tiled(z, level, NOTHING), pixelwise(z, level, NOTHING))


@pytest.mark.parametrize(("length", "overlap", "multiple"), [(64, 0.25, 1), (70, 0.25, 1), (68, 0.5, 4), (16, 0.5, 1)])
def test_tiles_cover_the_picture_and_share_what_they_should(length, overlap, multiple):
    starts = TiledDenoiser(pixelwise, 16, overlap, multiple).starts(length)
    assert starts[0] == 0
    assert starts[-1] == length - 16
    assert all(start % multiple == 0 for start in starts)
    gaps = [16 - (there - here) for here, there in pairwise(starts)]
    assert all(gap >= overlap * 16 for gap in gaps)


def test_a_tile_gets_its_own_part_of_every_signal():
    seen = []

    def remember(z, level, conditioning):
        seen.append((z.clone(), conditioning))
        return z

    canvas = noise(1, 3, 8, 12)
    text = TextSignal(torch.ones(1, 2, 4), torch.ones(1, 2, dtype=torch.bool))
    level = constant_level(2.0, canvas)
    signals = Conditioning(text=text, low_res=LowResImage(canvas, level), condition=ImageSignal(canvas))
    TiledDenoiser(remember, side=8, overlap=0.25, multiple=2)(canvas, level, signals)
    assert len(seen) == 2
    for tile, told in seen:
        assert torch.equal(told["low_res"].image, tile)
        assert torch.equal(told["condition"].images, tile)
        assert torch.equal(told["text"].values, text.values)


def test_there_is_no_seam_where_tiles_disagree():
    """Every tile says something else; between them the estimate changes gradually, not at an edge."""
    numbers = iter(range(100))

    def disagree(z, level, conditioning):
        return torch.full_like(z, float(next(numbers)))

    canvas = torch.zeros(1, 3, 16, 52)
    x0 = TiledDenoiser(disagree, side=16, overlap=0.5)(canvas, NoiseLevel(torch.zeros(1)), NOTHING)
    steps = x0[0, 0].diff(dim=1).abs()
    assert x0.max() - x0.min() > 3
    assert steps.max() < 0.3
