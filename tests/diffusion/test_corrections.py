import jaxtyping
import pytest
import torch
from exact_denoisers import GAUSSIAN

from imagen.diffusion.conditioning import resize
from imagen.diffusion.corrections import Correction, KnownPixels, check_corrections, correct
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.samplers import DDIMSampler, DDPMSampler, DPMSolverPP2M, HeunSampler
from imagen.diffusion.schedules import CosineSchedule
from imagen.errors import UserError
from imagen.randomness import make_generator, randn_per_image

PICTURE = torch.rand(3, 8, 8, generator=make_generator("picture")) * 2 - 1
LEFT = torch.arange(8).expand(8, 8) < 4
LEVEL = NoiseLevel(torch.zeros(1))


def some_images(count=1, side=8):
    return randn_per_image([make_generator("images", i) for i in range(count)], (3, side, side))


def test_known_pixels_are_those_of_the_picture_and_the_others_stay():
    x0 = some_images()
    corrected = KnownPixels(PICTURE, LEFT)(x0, x0, LEVEL)
    assert torch.equal(corrected[0, :, :, :4], PICTURE[:, :, :4])
    assert torch.equal(corrected[0, :, :, 4:], x0[0, :, :, 4:])


def test_in_a_smaller_stage_a_pixel_is_known_if_all_that_it_is_averaged_from_is():
    x0 = torch.full((1, 3, 4, 4), 7.0)
    known = LEFT.clone()
    known[0, 0] = False
    kept = KnownPixels(PICTURE, known)(x0, x0, LEVEL)[0, 0] != 7
    assert kept[:, 0].tolist() == [False, True, True, True]
    assert not kept[:, 1:].any()  # the resize averages over one pixel more on each side


def test_each_picture_has_its_own_correction_or_none():
    x0, level = some_images(3), NoiseLevel(torch.tensor([0.0, 1.0, 2.0]))
    seen = []

    def to_level(x0, z, level):
        seen.append((tuple(x0.shape), tuple(z.shape)))
        return torch.full_like(x0, level.log_snr.item())

    corrected = correct([to_level, None, to_level], x0, x0, level)
    assert isinstance(to_level, Correction)
    assert (corrected[0] == 0).all()
    assert torch.equal(corrected[1], x0[1])
    assert (corrected[2] == 2).all()
    assert seen == [((1, 3, 8, 8),) * 2] * 2


@pytest.mark.parametrize("sampler", [DDPMSampler, DDIMSampler, DPMSolverPP2M, HeunSampler])
def test_every_sampler_ends_on_the_known_pixels_and_keeps_their_noise_on_the_way(sampler):
    noise, schedule, on_the_way = some_images(), CosineSchedule(-9.0, 9.0), []
    correction = KnownPixels(PICTURE, LEFT)

    def denoise(z, level):
        on_the_way.append(((z - level.alpha * PICTURE) / level.sigma)[..., :4])
        return correction(GAUSSIAN.denoise(z, level), z, level)

    image = sampler(16)(denoise, schedule, noise, [make_generator("picture")])
    assert torch.equal(image[0, :, :, :4], PICTURE[:, :, :4])
    assert not torch.equal(image[0, :, :, 4:], PICTURE[:, :, 4:])
    if sampler is not DDPMSampler:  # which draws new noise
        for eps in on_the_way[1:]:
            torch.testing.assert_close(eps, on_the_way[1], atol=1e-2, rtol=1e-2)


def test_a_mask_of_another_size_or_a_picture_of_another_shape_is_refused():
    with pytest.raises(UserError, match="the picture is 8 × 8 and the mask of its known pixels 4 × 8"):
        KnownPixels(PICTURE, LEFT[:4])
    flat = KnownPixels(PICTURE[:, :4], LEFT[:4])
    with pytest.raises(UserError, match="the known picture is 4 × 8 and the sampled one 8 × 8: give one of the same"):
        flat(PICTURE[None], PICTURE[None], NoiseLevel(torch.zeros(1)))
    half = flat(torch.zeros(1, 3, 2, 4), torch.zeros(1, 3, 2, 4), NoiseLevel(torch.zeros(1)))
    assert torch.equal(half[..., :1], resize(PICTURE[None, :, :4], (2, 4))[..., :1])
    assert not half[..., 1:].any()  # the second one is averaged with unknown pixels


def test_a_mask_of_numbers_and_what_is_no_correction_are_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for a user, whose types nobody checks
    with pytest.raises(UserError, match=r"^the mask of known pixels is of torch\.float32; give a tensor"):
        KnownPixels(PICTURE, LEFT.float())
    one = KnownPixels(PICTURE, LEFT)
    check_corrections([one, None], 2)
    for corrections, line in (
        (iter([one]), "is not a list; give one for each picture, or None"),
        ([one], "corrections: 1 for 2 pictures"),
        ([None, object()], r"corrections\[1\]=<object object at .* is no Correction"),
        ([KnownPixels, None], r"corrections\[0\]=<class"),
    ):
        with pytest.raises(UserError, match=line):
            check_corrections(corrections, 2)
