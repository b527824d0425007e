"""What stages are told, in training and in sampling."""

import pytest
import torch

from imagen.data.batch import Batch
from imagen.diffusion.conditioning import Conditioning, ImageSignal, TextSignal, resize
from imagen.diffusion.schedules import CosineSchedule
from imagen.errors import UserError
from imagen.randomness import make_generator
from imagen.stages.conditioners import CleanLowResConditioner, LowResConditioner, TextConditioner

IMAGES = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def conditioned(kind: type) -> tuple[torch.Tensor, torch.Tensor]:
    """The low-resolution images and their log-SNR."""
    text, mask = torch.zeros(16, 1, 4), torch.ones(16, 1, dtype=torch.bool)
    batch = Batch(IMAGES, text, mask, torch.arange(16), ("a",) * 16, 0)
    conditioner = kind(4, 8, CosineSchedule(-15.0, 15.0))
    low_res = conditioner.for_training(batch, torch.Generator().manual_seed(1))["low_res"]
    return low_res.image, low_res.level.log_snr


def test_aug_levels_are_drawn_all_over_the_schedule_or_stay_at_zero():
    _, drawn = conditioned(LowResConditioner)
    assert drawn.min() < -2
    assert drawn.max() > 2
    images, clean = conditioned(CleanLowResConditioner)
    assert torch.allclose(clean, torch.tensor(15.0), atol=1e-3)
    assert torch.allclose(images, resize(resize(IMAGES, 4), 8), atol=0.01)


def test_without_augmentation_an_aug_level_still_has_its_meaning_for_sampling():
    kept = CleanLowResConditioner(4, 8, CosineSchedule(-15.0, 15.0))
    assert kept.factor == 2
    assert kept.augmentation == CosineSchedule(-15.0, 15.0)


@pytest.mark.parametrize("kind", [LowResConditioner, CleanLowResConditioner])
def test_sampling_is_told_what_training_was(kind):
    """The same smaller images at the same level with the same noise are the same signals."""
    conditioner, aug_level = kind(4, 8, CosineSchedule(-15.0, 15.0)), 0.3
    batch = Batch(IMAGES[:1], torch.ones(1, 2, 4), torch.ones(1, 2) > 0, torch.arange(1), ("a",), 0)
    level = conditioner.augmentation(torch.tensor([aug_level]))
    trained = LowResConditioner(4, 8, conditioner.augmentation).at(level, batch, make_generator("eps"))
    text, smaller = TextSignal(batch.text, batch.text_mask), ImageSignal(resize(IMAGES[:1], 4))
    given = Conditioning(text=text, smaller=smaller, unknown=smaller)
    sampled = conditioner.for_sampling(given, (8, 8), aug_level, [make_generator("eps")])
    assert sampled.keys() == trained.keys() == {"text", "low_res"}
    assert sampled["text"] is text
    assert torch.equal(sampled["low_res"].image, trained["low_res"].image)
    assert torch.equal(sampled["low_res"].level.log_snr, level.log_snr)


def test_pictures_outside_of_the_range_are_clamped_before_they_are_enlarged():
    conditioner = LowResConditioner(4, 8, CosineSchedule(-15.0, 15.0))
    text = TextSignal.none(1, 4)

    def told(images):
        given = Conditioning(text=text, smaller=ImageSignal(images))
        return conditioner.for_sampling(given, (8, 8), 0.0, [make_generator("eps")])["low_res"].image

    assert torch.equal(told(torch.full((1, 3, 4, 4), 2.0)), told(torch.ones(1, 3, 4, 4)))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="from 6 to 8 is impossible: the larger size must be a multiple"):
        LowResConditioner(6, 8, CosineSchedule())


@pytest.mark.parametrize("kind", [LowResConditioner, CleanLowResConditioner])
def test_what_a_batch_would_be_given_is_what_sampling_needs(kind):
    batch = Batch(IMAGES, torch.ones(16, 2, 4), torch.ones(16, 2) > 0, torch.arange(16), ("a",) * 16, 0)
    conditioner = kind(4, 8, CosineSchedule(-15.0, 15.0))
    given = conditioner.given(batch)
    assert torch.equal(given["smaller"].images, resize(IMAGES, 4))
    generators = [make_generator(i) for i in range(16)]
    assert conditioner.for_sampling(given, (8, 8), 0.0, generators).keys() == {"text", "low_res"}
    assert TextConditioner().given(batch).keys() == {"text"}
