"""The conditioning of a super-resolution stage on the smaller image in training."""

import torch

from imagen.data.batch import Batch
from imagen.diffusion.conditioning import resize
from imagen.diffusion.schedules import CosineSchedule
from imagen.stages.conditioners import CleanLowResConditioner, LowResConditioner

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
