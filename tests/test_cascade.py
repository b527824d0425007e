"""Sampling through stages."""

import pytest
import torch
import torch.nn.functional as F
from small_stages import FEATURES, export_random_stage, small_cascade

from imagen.cascade import Cascade, SamplingSettings
from imagen.diffusion.conditioning import Conditioning, TextSignal
from imagen.diffusion.guidance import ClassifierFreeGuidance
from imagen.diffusion.samplers import DDPMSampler
from imagen.diffusion.thresholding import StaticThresholding
from imagen.errors import UserError
from imagen.stages.export import load_stage


def settings(weight: float = 2.0, aug_level: float = 0.2) -> SamplingSettings:
    return SamplingSettings(DDPMSampler(num_steps=3), ClassifierFreeGuidance(weight), StaticThresholding(), aug_level)


@pytest.fixture(scope="module")
def cascade(tmp_path_factory):
    return Cascade(small_cascade(tmp_path_factory.mktemp("stages")))


@pytest.fixture(scope="module")
def text():
    return torch.randn(4, 5, FEATURES), torch.arange(5)[None, :] < torch.tensor([5, 1, 3, 4])[:, None]


def sample(cascade, text, ids, how=None, seed=0):
    values, mask = (part[ids] for part in text)
    given = Conditioning(text=TextSignal(values * mask[..., None], mask))
    return cascade.sample(given, seed, ids, how or [settings(), settings()])


def test_a_picture_does_not_depend_on_its_batch(cascade, text):
    together = sample(cascade, text, [0, 1, 2, 3])
    alone = sample(cascade, text, [2])
    assert [images.shape[-1] for images in together] == [8, 16]
    for batch, single in zip(together, alone, strict=True):
        torch.testing.assert_close(batch[2:3], single, atol=1e-5, rtol=1e-4)


def in_bfloat16(cascade, text, ids, tokens=5):
    """As `sample`, the captions cut or padded to so many tokens: those beyond their own are masked."""
    values, mask = text
    resized = F.pad(values, (0, 0, 0, tokens - 5)), F.pad(mask, (0, tokens - 5))
    with torch.autocast("cpu", torch.bfloat16):
        return sample(cascade, resized, ids)


def test_a_longer_caption_in_the_batch_moves_no_bit_of_the_others(cascade, text):
    for tokens in (6, 13, 32):
        expected, found = (in_bfloat16(cascade, text, [0, 1, 2, 3], padded) for padded in (5, tokens))
        assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


def test_seed_caption_weight_and_aug_level_all_matter(cascade, text):
    base, large = sample(cascade, text, [0, 1])
    assert not torch.allclose(base, sample(cascade, text, [0, 1], seed=1)[0])
    assert not torch.allclose(base[0], base[1])
    assert not torch.allclose(base, sample(cascade, text, [0, 1], [settings(5.0)])[0])
    other = sample(cascade, text, [0, 1], [settings(), settings(aug_level=0.8)])
    torch.testing.assert_close(other[0], base)
    assert not torch.allclose(other[1], large)


def test_fewer_settings_stop_earlier(cascade, text):
    assert len(sample(cascade, text, [0], [settings()])) == 1


def test_stages_that_do_not_follow_each_other_are_refused(cascade, tmp_path):
    base, sr1 = cascade.stages
    with pytest.raises(UserError, match="'sr1' enlarges 8 × 8 but gets no image"):
        Cascade([sr1])
    with pytest.raises(UserError, match="'base' enlarges no image but gets 8 × 8"):
        Cascade([base, base])
    export_random_stage(tmp_path, "sr1", 16, 8, text={"model": "another", "max_length": 16})
    with pytest.raises(UserError, match=r"different text encoders \(model: small and another\)"):
        Cascade([base, load_stage(tmp_path)])
    with pytest.raises(UserError, match="at least one stage"):
        Cascade([])


def test_an_aug_level_outside_its_range_is_refused():
    with pytest.raises(UserError, match=r"aug_level=1\.5"):
        settings(aug_level=1.5)
