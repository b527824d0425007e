"""Sampling through stages."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_stages import FEATURES, export_picture_reader, export_random_stage, small_cascade

from imagen.cascade import Cascade, SamplingSettings
from imagen.diffusion.conditioning import Conditioning, ImageSignal, TextSignal
from imagen.diffusion.corrections import KnownPixels
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


def given_text(text, ids):
    values, mask = (part[ids] for part in text)
    return Conditioning(text=TextSignal(values * mask[..., None], mask))


def sample(cascade, text, ids, how=None, seed=0, corrections=None):
    how = how or [settings(), settings()]
    return cascade.sample(given_text(text, ids), seed, ids, how, corrections=corrections)


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


def test_the_cascade_goes_on_from_the_pictures_of_a_stage_before(cascade, text):
    base, large = sample(cascade, text, [0, 3])
    given = Conditioning(given_text(text, [0, 3]), smaller=ImageSignal(base))
    (again,) = cascade.sample(given, 0, [0, 3], [settings(), settings()], first=1)
    assert torch.equal(again, large)
    with pytest.raises(UserError, match="no signal 'smaller' here, only text"):
        cascade.sample(given_text(text, [0, 3]), 0, [0, 3], [settings(), settings()], first=1)


def test_a_negative_prompt_is_what_the_pictures_are_guided_away_from(cascade, text):
    values, mask = (part[[0]] for part in text)
    negative = TextSignal(*(part[[2]] for part in text))
    shunned = Conditioning(text=TextSignal(values, mask, without=negative))
    guided, unguided = (settings(weight) for weight in (2.0, 1.0))
    (away,) = cascade.sample(shunned, 0, [0], [guided])
    assert not torch.allclose(away, sample(cascade, text, [0], [guided])[0])
    (same,) = cascade.sample(shunned, 0, [0], [unguided])
    assert torch.equal(same, sample(cascade, text, [0], [unguided])[0])


def test_a_correction_holds_in_every_stage_and_for_its_own_picture_alone(cascade, text):
    known = KnownPixels(torch.rand(3, 16, 16) * 2 - 1, torch.arange(16).expand(16, 16) < 8)
    free = sample(cascade, text, [0, 1, 2])
    corrected = sample(cascade, text, [0, 1, 2], corrections=[None, known, None])
    for one, other in zip(free, corrected, strict=True):
        assert torch.equal(one[[0, 2]], other[[0, 2]])
        assert not torch.equal(one[1], other[1])
    assert torch.equal(corrected[1][1, :, :, :8], known.picture[:, :, :8])


def test_what_is_given_must_be_one_row_for_each_picture(cascade, text):
    with pytest.raises(UserError, match="text: 2 rows for 3 pictures"):
        cascade.sample(given_text(text, [0, 1]), 0, [0, 1, 2], [settings()])
    with pytest.raises(UserError, match="corrections: 1 rows for 2 pictures"):
        sample(cascade, text, [0, 1], corrections=[None])


@pytest.mark.parametrize("ids", [np.arange(2), torch.arange(2), range(2)], ids=lambda ids: type(ids).__name__)
def test_a_picture_has_a_number_and_not_a_type_of_number(cascade, text, ids):
    found = cascade.sample(given_text(text, [0, 1]), 0, ids, [settings()])[0]
    assert torch.equal(found, sample(cascade, text, [0, 1], [settings()])[0])


def test_stages_that_do_not_follow_each_other_are_refused(cascade, tmp_path):
    base, sr1 = cascade.stages
    with pytest.raises(UserError, match="'sr1' expects input images of 8 × 8 but follows no stage"):
        Cascade([sr1])
    with pytest.raises(UserError, match="'base' expects no input image but follows a stage of 8 × 8"):
        Cascade([base, base])
    export_random_stage(tmp_path, "sr1", 16, 8, text={"model": "another", "max_length": 16})
    with pytest.raises(UserError, match=r"different text encoders \(model: small and another\)"):
        Cascade([base, load_stage(tmp_path)])
    export_random_stage(tmp_path / "again", "sr1", 32, 16)
    with pytest.raises(UserError, match=r"^two stages are called 'sr1', .*: leave one out$"):
        Cascade([base, sr1, load_stage(tmp_path / "again")])
    with pytest.raises(UserError, match="at least one stage"):
        Cascade([])


def test_an_aug_level_outside_its_range_is_refused():
    with pytest.raises(UserError, match=r"aug_level=1\.5"):
        settings(aug_level=1.5)


def test_a_stage_that_reads_a_picture_samples_from_it_or_without(cascade, text, tmp_path):
    export_picture_reader(tmp_path)
    reader = Cascade([load_stage(tmp_path), *cascade.stages[1:]])

    def sampled(ids, **signals):
        how = [settings(), settings()]
        return reader.sample(Conditioning(given_text(text, ids), **signals), 0, ids, how)

    pictures = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    with_picture = sampled([0, 1, 2, 3], condition=ImageSignal(pictures))
    without, null = sampled([0, 1, 2, 3]), sampled([0, 1, 2, 3], condition=ImageSignal(pictures).null())
    assert [images.shape[-1] for images in with_picture] == [8, 16]
    for other, same in zip(without, null, strict=True):
        assert torch.equal(other, same)
    assert (with_picture[0] - without[0]).abs().max() > 1e-2
    for batch, single in zip(with_picture, sampled([2], condition=ImageSignal(pictures[2:3])), strict=True):
        torch.testing.assert_close(batch[2:3], single, atol=1e-5, rtol=1e-4)
    with pytest.raises(UserError, match="condition: 3 rows for 4 pictures"):
        sampled([0, 1, 2, 3], condition=ImageSignal(pictures[:3]))
