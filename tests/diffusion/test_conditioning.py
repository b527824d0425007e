import pytest
import torch

from imagen.diffusion.conditioning import Conditioning, LowResImage, resize
from imagen.diffusion.noise_level import NoiseLevel
from imagen.randomness import make_generator, randn_per_image


@pytest.fixture
def text():
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    return Conditioning(torch.randn(3, 3, 4, generator=make_generator("text")) * mask[..., None], mask)


def pictures(side, key="pictures"):
    return randn_per_image([make_generator(key, index) for index in range(3)], (3, side, side))


def test_dropping_text_leaves_zeros_and_touches_no_other_image(text):
    dropped = text.drop_text(torch.tensor([False, True, False]))
    kept = [0, 2]
    assert not dropped.text_mask[1].any()
    assert not dropped.text[1].any()
    assert torch.equal(dropped.text[kept], text.text[kept])
    assert torch.equal(dropped.text_mask[kept], text.text_mask[kept])


def test_without_text_is_all_text_dropped_and_keeps_the_low_resolution_image(text):
    low_res = LowResImage(pictures(4), NoiseLevel(torch.zeros(3)))
    full = Conditioning(text.text, text.text_mask, low_res)
    dropped = full.drop_text(torch.ones(3, dtype=torch.bool))
    unconditional = full.without_text()
    assert torch.equal(unconditional.text, dropped.text)
    assert torch.equal(unconditional.text_mask, dropped.text_mask)
    assert unconditional.low_res is dropped.low_res is low_res


def test_concatenation_puts_the_other_batch_behind_and_refuses_to_mix_stages(text):
    low_res = LowResImage(pictures(4), NoiseLevel(torch.arange(3.0)))
    full = Conditioning(text.text, text.text_mask, low_res)
    both = full.concat(full.without_text())
    assert torch.equal(both.text[:3], text.text)
    assert not both.text_mask[3:].any()
    assert torch.equal(both.low_res.image[3:], low_res.image)
    assert both.low_res.level.log_snr.tolist() == [0, 1, 2, 0, 1, 2]
    assert text.concat(text).low_res is None
    with pytest.raises(ValueError, match="low-resolution"):
        full.concat(text)


def test_augmentation_is_the_resized_image_noised_to_the_level():
    image, eps, level = pictures(4), pictures(8, "eps"), NoiseLevel(torch.tensor([-2.0, 0.0, 3.0]))
    augmented = LowResImage.augment(image, 8, level, eps)
    assert augmented.level is level
    torch.testing.assert_close(augmented.image, level.add_noise(resize(image, 8), eps))


def test_resizing_keeps_the_mean_when_it_makes_images_smaller_and_does_nothing_at_their_size():
    image = pictures(16)
    assert resize(image, 16) is image
    smaller = resize(image, 4)
    assert smaller.shape == (3, 3, 4, 4)
    constant = torch.full((1, 3, 16, 16), 0.3)
    torch.testing.assert_close(resize(constant, 4), torch.full((1, 3, 4, 4), 0.3))
    stripes = torch.tensor([-1.0, 1.0]).repeat(8).expand(1, 3, 16, 16)
    assert resize(stripes, 4).abs().max() < 0.2  # without antialiasing, some pixels would be near ±1
