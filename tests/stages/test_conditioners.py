"""What stages are told, in training and in sampling."""

from dataclasses import replace

import pytest
import torch

from imagen.data.batch import Batch
from imagen.diffusion.conditioning import Conditioning, ImageSignal, TextSignal, resize
from imagen.diffusion.schedules import CosineSchedule
from imagen.errors import UserError
from imagen.randomness import make_generator
from imagen.stages.conditioners import CleanLowResConditioner, LowResConditioner, PictureConditioner, TextConditioner
from imagen.stages.self_conditioner import SelfConditioner

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


MANY = 4000
PICTURES = Batch(
    torch.zeros(MANY, 3, 1, 1), torch.ones(MANY, 1, 4), torch.ones(MANY, 1) > 0, torch.arange(MANY), ("a",) * MANY, 0,
    condition=torch.ones(MANY, 3, 1, 1),
)  # fmt: skip


@pytest.mark.parametrize("dropout", [0.0, 0.2, 1.0])
def test_the_picture_is_dropped_with_its_own_probability_and_nothing_else_is(dropout):
    generator = torch.Generator().manual_seed(0)
    told = PictureConditioner(TextConditioner(), dropout).for_training(PICTURES, generator)
    assert told.keys() == {"text", "condition"}
    assert told["text"].mask.all()
    kept = told["condition"].images
    assert set(kept.unique().tolist()) <= {0.0, 1.0}
    assert kept[:, 0, 0, 0].mean().item() == pytest.approx(1 - dropout, abs=0.03)


def test_in_validation_no_picture_is_dropped():
    generator = torch.Generator().manual_seed(0)
    told = PictureConditioner(TextConditioner(), 1.0).for_validation(PICTURES, generator)
    around = SelfConditioner(PictureConditioner(TextConditioner(), 1.0)).for_validation(PICTURES, generator)
    assert torch.equal(told["condition"].images, PICTURES.condition)
    assert torch.equal(around["condition"].images, PICTURES.condition)


def test_pictures_are_dropped_apart_from_captions_and_by_the_generator_alone():
    def dropped(seed):
        generator = torch.Generator().manual_seed(seed)
        text = torch.rand(MANY, generator=generator) < 0.5  # as `DiffusionStage` draws it
        told = PictureConditioner(TextConditioner(), 0.5).for_training(PICTURES, generator)
        return text, told["condition"].images[:, 0, 0, 0] == 0

    text, picture = dropped(0)
    assert (text & picture).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(picture, dropped(0)[1])
    assert not torch.equal(picture, dropped(1)[1])


def test_around_a_super_resolution_stage_the_other_signals_stay_what_they_are():
    others = LowResConditioner(4, 8, CosineSchedule(-15.0, 15.0))
    conditioner = PictureConditioner(others, 0.5)
    assert conditioner.factor == 2
    batch = Batch(IMAGES, torch.ones(16, 2, 4), torch.ones(16, 2) > 0, torch.arange(16), ("a",) * 16, 0, IMAGES)
    alone = others.for_training(batch, make_generator("same"))
    told = conditioner.for_training(batch, make_generator("same"))
    assert told.keys() == {"text", "low_res", "condition"}
    assert torch.equal(told["low_res"].image, alone["low_res"].image)
    given, generators = conditioner.given(batch), [make_generator(i) for i in range(16)]
    assert given.keys() == {"text", "smaller", "condition"}
    assert conditioner.for_sampling(given, (8, 8), 0.0, generators).keys() == told.keys()


def test_sampling_takes_a_picture_of_any_size_or_none():
    conditioner, generators = PictureConditioner(TextConditioner()), [make_generator(i) for i in range(16)]
    text, picture = TextSignal.none(16, 4), ImageSignal(IMAGES)
    told = conditioner.for_sampling(Conditioning(text=text, condition=picture), (4, 4), 0.0, generators)
    assert torch.equal(told["condition"].images, resize(IMAGES, 4))
    without = conditioner.for_sampling(Conditioning(text=text), (4, 4), 0.0, generators)
    assert torch.equal(without["condition"].images, told["condition"].null().images)


def test_data_without_pictures_to_condition_on_and_impossible_shares_are_refused():
    with pytest.raises(
        UserError, match=r"the data give none; name them, such as data\.train\.source\.condition_column="
    ):
        PictureConditioner(TextConditioner()).for_training(replace(PICTURES, condition=None), make_generator("any"))
    with pytest.raises(UserError, match=r"dropout=1\.5 .* must be in"):
        PictureConditioner(TextConditioner(), 1.5)
