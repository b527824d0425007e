from pathlib import Path

import pytest
from omegaconf import OmegaConf

from imagen.diffusion.parameterisations import Parameterisation
from imagen.diffusion.samplers import Sampler
from imagen.diffusion.schedules import NoiseSchedule
from imagen.diffusion.weightings import LossWeighting
from imagen.instantiation import instantiate

CONF = Path(__file__).parents[2] / "conf"


def files(group):
    found = sorted((CONF / group).glob("*.yaml"))
    assert found
    return found


def arguments(config):
    return {name for name in config if name != "_target_"}


@pytest.mark.parametrize("path", files("sampler"), ids=lambda path: path.stem)
def test_every_sampler_can_be_built_and_states_all_its_settings(path):
    config = OmegaConf.load(path)
    sampler = instantiate(config)
    assert isinstance(sampler, Sampler)
    assert arguments(config) == set(vars(sampler))
    assert arguments(config.spacing) == set(vars(sampler.spacing))


@pytest.mark.parametrize("path", files("thresholding"), ids=lambda path: path.stem)
def test_every_thresholding_can_be_built_and_states_all_its_settings(path):
    config = OmegaConf.load(path)
    assert arguments(config) == set(vars(instantiate(config)))


@pytest.mark.parametrize("path", files("stage/diffusion"), ids=lambda path: path.stem)
def test_every_diffusion_can_be_built_and_states_all_its_settings(path):
    stage = OmegaConf.create({"stage": {"resolution": 256, **OmegaConf.load(path)}}).stage
    parts = {
        NoiseSchedule: stage.schedule,
        Parameterisation: stage.denoiser.parameterisation,
        LossWeighting: stage.denoiser.weighting,
    }
    for kind, config in parts.items():
        built = instantiate(config)
        assert isinstance(built, kind)
        assert arguments(config) == set(vars(built))
