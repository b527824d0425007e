"""Guidance by a weaker version of the same stage."""

import shutil

import pytest
import torch
from small_stages import denoiser_config, export_random_stage, small_cascade

from imagen.cascade.cascade import Cascade
from imagen.cascade.settings import SamplingSettings
from imagen.diffusion.conditioning import Conditioning, TextSignal
from imagen.diffusion.guidance import ClassifierFreeGuidance
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.samplers import DDIMSampler
from imagen.diffusion.thresholding import StaticThresholding
from imagen.errors import UserError
from imagen.instantiation import configuration_of, instantiate
from imagen.stages.export import load_stage
from imagen.stages.guides.autoguidance import Autoguidance

LEVEL = NoiseLevel(torch.tensor([-2.0, 1.0]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cascade, and two weaker base stages: one of the same network, one of a smaller one."""
    folder = tmp_path_factory.mktemp("stages")
    small_cascade(folder)
    smaller = denoiser_config(low_res=False)
    smaller["network"] |= {"stem_channels": 16}
    torch.manual_seed(1)
    export_random_stage(folder / "smaller", "base", 8, None, denoiser=smaller)
    return folder


@pytest.fixture
def z():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def text():
    values = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(3))
    return Conditioning(text=TextSignal(values, torch.ones(2, 4, dtype=torch.bool)))


@torch.inference_mode()
def test_the_weaker_estimate_is_told_the_caption_and_left_behind(folder, z, text):
    main, weaker = (load_stage(folder / name).model.denoiser for name in ("base", "smaller"))
    guided = Autoguidance(2.5, str(folder / "smaller"))(main, z, LEVEL, text)
    expected = weaker(z, LEVEL, text) + 2.5 * (main(z, LEVEL, text) - weaker(z, LEVEL, text))
    torch.testing.assert_close(guided, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(guided, ClassifierFreeGuidance(2.5)(main, z, LEVEL, text), atol=1e-3)


@torch.inference_mode()
def test_weight_one_is_the_conditional_estimate_and_loads_no_weaker_stage(folder, z, text, monkeypatch):
    main = load_stage(folder / "base").model.denoiser
    monkeypatch.setattr("imagen.stages.guides.autoguidance._loaded", None)
    assert torch.equal(Autoguidance(1.0, str(folder / "smaller"))(main, z, LEVEL, text), main(z, LEVEL, text))


def test_a_stage_guided_by_itself_is_not_guided(folder, z, text):
    main = load_stage(folder / "base").model.denoiser
    with torch.inference_mode():
        guided = Autoguidance(3.0, str(folder / "base"))(main, z, LEVEL, text)
        torch.testing.assert_close(guided, main(z, LEVEL, text), atol=1e-5, rtol=1e-5)


def test_the_weights_of_the_weaker_stage_are_part_of_the_description(folder, tmp_path):
    copied = shutil.copytree(folder / "smaller", tmp_path / "weaker")
    rule = Autoguidance(2.0, str(copied))
    described = configuration_of(rule)
    assert described["sha256"] == load_stage(copied).description.weights_sha256
    assert instantiate(described) == rule
    shutil.rmtree(copied)
    shutil.copytree(folder / "base", copied)
    with pytest.raises(UserError, match=r"^guidance_rule\.weaker=.*: its weights are .*, and sha256 is "):
        instantiate(described)
    with pytest.raises(UserError, match="no exported stage"):
        Autoguidance(2.0, str(tmp_path / "nowhere"))


def sampled(folder, guidance, text, size=None):
    settings = SamplingSettings(DDIMSampler(2), guidance, StaticThresholding(), size=size, tile_overlap=size and 0.5)
    return Cascade([load_stage(folder / "base")]).sample(text, 0, range(2), [settings])[0]


def test_the_pictures_of_a_cascade_are_guided_also_in_tiles(folder, text):
    rule = Autoguidance(3.0, str(folder / "smaller"))
    for size in (None, (8, 16)):
        guided, plain = (sampled(folder, one, text, size) for one in (rule, ClassifierFreeGuidance(1.0)))
        assert guided.shape[-2:] == (size or (8, 8))
        assert not torch.allclose(guided, plain, atol=1e-3)


def test_in_tiles_the_weaker_stage_is_asked_for_tiles_too(folder, text):
    itself = Autoguidance(3.0, str(folder / "base"))
    guided, plain = (sampled(folder, one, text, (8, 16)) for one in (itself, ClassifierFreeGuidance(1.0)))
    torch.testing.assert_close(guided, plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"resolution": 16},
            r"its resolution is 16, that of the stage 'base' is 8; give a weaker version of ",
        ),
        ({"text": {"model": "other"}}, r"its text is \{'model': 'other'\}, that of the stage 'base' is"),
    ],
)
def test_a_stage_that_is_told_or_makes_something_else_is_no_weaker_version(folder, text, tmp_path, changes, complaint):
    export_random_stage(tmp_path, "base", **({"resolution": 8, "low_resolution": None} | changes))
    with pytest.raises(UserError, match=complaint):
        sampled(folder, Autoguidance(3.0, str(tmp_path)), text)
