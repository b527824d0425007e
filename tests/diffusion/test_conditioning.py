from dataclasses import dataclass

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from imagen.diffusion.conditioning import Conditioning, ImageSignal, LowResImage, Signal, TextSignal, resize
from imagen.diffusion.noise_level import NoiseLevel
from imagen.errors import UserError
from imagen.randomness import make_generator, randn_per_image


def caption(key):
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    return TextSignal(torch.randn(3, 3, 4, generator=make_generator(key)) * mask[..., None], mask)


@pytest.fixture
def text():
    return caption("text")


def pictures(side, key="pictures"):
    return randn_per_image([make_generator(key, index) for index in range(3)], (3, side, side))


def assert_equal(one, other):
    assert torch.equal(one.values, other.values)
    assert torch.equal(one.mask, other.mask)


def test_dropping_text_leaves_zeros_and_touches_no_other_image(text):
    dropped = Conditioning(text=text).drop("text", torch.tensor([False, True, False]))["text"]
    assert not dropped.mask[1].any()
    assert not dropped.values[1].any()
    assert_equal(dropped.take([0, 2]), text.take([0, 2]))


def test_without_text_is_all_text_dropped_and_keeps_the_other_signals(text):
    low_res = LowResImage(pictures(4), NoiseLevel(torch.zeros(3)))
    full = Conditioning(text=text, low_res=low_res)
    dropped = full.drop("text", torch.ones(3, dtype=torch.bool))
    unconditional = full.without("text")
    assert_equal(unconditional["text"], dropped["text"])
    assert not unconditional["text"].values.any()
    assert unconditional["low_res"] is dropped["low_res"] is low_res
    assert full["text"] is text


def test_what_without_text_means_is_a_value_of_the_signal(text):
    negative = caption("negative")
    conditioning = Conditioning(text=TextSignal(text.values, text.mask, without=negative))
    assert_equal(conditioning.without("text")["text"], negative)
    both = conditioning.concat(conditioning.without("text"))["text"]
    assert_equal(both.take(slice(3)), text)
    assert_equal(both.take(slice(3, 6)), negative)
    dropped = conditioning.drop("text", torch.tensor([True, False, False]))
    assert_equal(dropped["text"].take([0]), negative.take([0]))
    assert_equal(dropped["text"].take([1, 2]), text.take([1, 2]))
    assert_equal(dropped.without("text")["text"], negative)
    padded = conditioning["text"].padded(32)
    assert padded.values.shape == padded.without.values.shape == (3, 32, 4)
    with pytest.raises(ValueError, match="pad both alike"):
        TextSignal(text.values, text.mask, without=negative.padded(32))


def test_several_signals_are_left_out_together(text):
    low_res = LowResImage(pictures(4), NoiseLevel(torch.arange(3.0)))
    neither = Conditioning(text=text, low_res=low_res).without("text", "low_res")
    assert not neither["text"].mask.any()
    assert not neither["low_res"].image.any()
    assert neither["low_res"].level is low_res.level


def test_concatenation_puts_the_other_batch_behind_and_refuses_to_mix_stages(text):
    low_res = LowResImage(pictures(4), NoiseLevel(torch.arange(3.0)))
    full = Conditioning(text=text, low_res=low_res)
    both = full.concat(full.without("text"))
    assert torch.equal(both["text"].values[:3], text.values)
    assert not both["text"].mask[3:].any()
    assert torch.equal(both["low_res"].image[3:], low_res.image)
    assert both["low_res"].level.log_snr.tolist() == [0, 1, 2, 0, 1, 2]
    with pytest.raises(ValueError, match=r"\['low_res', 'text'\] and \['text'\]"):
        full.concat(Conditioning(text=text))


def test_a_signal_that_is_not_there_is_named(text):
    with pytest.raises(UserError, match="no signal 'low_res' here, only text"):
        Conditioning(text=text).without("low_res")
    with pytest.raises(UserError, match="only none at all"):
        Conditioning()["text"]


def test_a_new_signal_says_only_what_its_absence_is(text):
    @dataclass(frozen=True)
    class Style(Signal):
        vector: Float[Tensor, "batch features"]

        def null(self):
            return Style(torch.full_like(self.vector, -1.0))

    conditioning = Conditioning(text=text, style=Style(torch.arange(6.0).reshape(3, 2)))
    dropped = conditioning.drop("style", torch.tensor([True, False, False]))
    assert dropped["style"].vector.tolist() == [[-1, -1], [2, 3], [4, 5]]
    assert len(conditioning.concat(dropped)["style"]) == 6
    assert conditioning.take([2])["style"].vector.tolist() == [[4, 5]]
    assert conditioning.to("meta")["style"].vector.is_meta


def test_no_images_are_mid_grey_of_the_same_size():
    assert torch.equal(ImageSignal(pictures(4)).null().images, torch.zeros(3, 3, 4, 4))


def test_augmentation_is_the_resized_image_noised_to_the_level():
    image, eps, level = pictures(4), pictures(8, "eps"), NoiseLevel(torch.tensor([-2.0, 0.0, 3.0]))
    augmented = LowResImage.augment(image, level, eps)
    assert augmented.level is level
    torch.testing.assert_close(augmented.image, level.add_noise(resize(image, 8), eps))


def test_resizing_keeps_the_mean_when_it_makes_images_smaller_and_does_nothing_at_their_size():
    image = pictures(16)
    assert resize(image, 16) is image
    smaller = resize(image, 4)
    assert smaller.shape == (3, 3, 4, 4)
    assert resize(image, (4, 8)).shape == (3, 3, 4, 8)
    constant = torch.full((1, 3, 16, 16), 0.3)
    torch.testing.assert_close(resize(constant, 4), torch.full((1, 3, 4, 4), 0.3))
    stripes = torch.tensor([-1.0, 1.0]).repeat(8).expand(1, 3, 16, 16)
    assert resize(stripes, 4).abs().max() < 0.2  # without antialiasing, some pixels would be near ±1
