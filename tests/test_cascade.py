"""Sampling through stages."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_stages import FEATURES, export_picture_reader, export_random_stage, small_cascade

from imagen.cascade.cascade import Cascade
from imagen.cascade.settings import SamplingSettings, evaluations
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


def begun(cascade, text, strength, start, ids=(0, 1), **changes):
    how = [replace(one, strength=strength, **changes) for one in (settings(), settings())]
    given = Conditioning(given_text(text, list(ids)), start=ImageSignal(start))
    return cascade.sample(given, 0, list(ids), how)


def test_a_strength_of_1_is_the_caption_alone_and_0_gives_the_picture_back(cascade, text):
    start = torch.rand(2, 3, 16, 16) * 2 - 1
    assert torch.equal(begun(cascade, text, 1.0, start)[1], sample(cascade, text, [0, 1])[1])
    assert torch.equal(begun(cascade, text, 0.0, start)[1], start)


def test_the_lower_the_strength_the_nearer_the_picture(cascade, text):
    start = torch.rand(2, 3, 16, 16) * 2 - 1
    distances = [(begun(cascade, text, strength, start)[1] - start).square().mean() for strength in (0.05, 0.3, 1.0)]
    assert distances == sorted(distances)
    alone = begun(cascade, text, 0.3, start[1:], ids=(1,))[1]
    torch.testing.assert_close(begun(cascade, text, 0.3, start)[1][1:], alone, atol=1e-5, rtol=1e-4)


def test_a_strength_without_a_picture_is_refused(cascade, text):
    with pytest.raises(UserError, match="no signal 'start' here"):
        cascade.sample(given_text(text, [0]), 0, [0], [replace(settings(), strength=0.5)])


def test_pictures_need_not_be_square(cascade, text):
    how = [replace(settings(), size=(6, 8)), replace(settings(), size=(12, 16))]
    assert [tuple(images.shape) for images in sample(cascade, text, [0, 1], how)] == [(2, 3, 6, 8), (2, 3, 12, 16)]
    with pytest.raises(UserError, match="stage 'sr1' cannot make 16 × 16 from 6 × 8: it enlarges 2 times"):
        sample(cascade, text, [0], [how[0], settings()])
    with pytest.raises(UserError, match="images of 5 x 8: each side must be a multiple of 2"):
        sample(cascade, text, [0], [replace(settings(), size=(5, 8))])


def test_a_large_picture_is_sampled_in_tiles(cascade, text):
    """A tile of the size of the picture changes nothing; a larger picture is another one than without tiles."""
    tiled = [replace(settings(), tile_overlap=0.25)] * 2
    assert torch.equal(sample(cascade, text, [0], tiled)[1], sample(cascade, text, [0])[1])
    smaller = Conditioning(given_text(text, [0]), smaller=ImageSignal(torch.rand(1, 3, 12, 20)))
    large = [replace(one, size=size) for one, size in zip(tiled, [(12, 20), (24, 40)], strict=True)]
    whole = [replace(one, tile_overlap=None) for one in large]
    pictures, others = (cascade.sample(smaller, 0, [0], how, first=1)[0] for how in (large, whole))
    assert pictures.shape == (1, 3, 24, 40)
    assert not torch.allclose(pictures, others)


def test_every_estimate_can_be_watched(cascade, text):
    seen = []
    made = cascade.sample(given_text(text, [0]), 0, [0], [settings()] * 2, watch=lambda *one: seen.append(one))
    assert [name for name, _ in seen] == ["base"] * 3 + ["sr1"] * 3
    assert torch.equal(seen[2][1].x0, made[0])
    levels = [estimate.log_snr for _, estimate in seen[:3]]
    assert levels == sorted(levels)
    assert len(seen) == sum(evaluations(stage.model, settings()) for stage in cascade.stages)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strength": 1.2}, r"strength=1.2 must be in \[0, 1\]"),
        ({"strength": float("nan")}, r"strength=nan must be in \[0, 1\]"),
        ({"tile_overlap": 0.0}, "tile_overlap=0.0 must be above 0 and at most 0.5"),
        ({"resample": 0}, "resample=0 must be a whole number of at least 1"),
        ({"size": (0, 8)}, "must be a height and a width in pixels"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        replace(settings(), **changes)


def test_settings_that_came_later_do_not_change_what_is_described_without_them():
    plain = settings().describe()
    assert plain.keys().isdisjoint({"size", "tile_overlap", "strength", "resample"})
    assert replace(settings(), strength=0.5).describe() == plain | {"strength": 0.5}


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
