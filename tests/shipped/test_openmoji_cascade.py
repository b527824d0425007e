"""The cascade in assets/openmoji: people whom training never saw have the skin tone that is asked for."""

import pytest
import torch

from imagen.data.pixels import to_uint8
from imagen.evaluation.judges.openmoji_checker import OpenMojiChecker
from imagen.evaluation.prompts.openmoji import openmoji_prompts
from imagen.places import ROOT
from imagen.sampling.configured import configured_settings
from imagen.sampling.opening import open_model
from imagen.stages.export import CARD

PROMPTS = 16


def test_people_whom_training_never_saw_have_the_asked_skin_tone(compose_config):
    config = compose_config(
        "sample", "cascade=openmoji", "sampler.num_steps=8", "sr_sampler.num_steps=4", "cascade.device=cpu"
    )
    model = open_model(config)
    prompts = openmoji_prompts("held_out", PROMPTS, seed=5)
    settings = configured_settings(config, model.roles, [1.5, 1.0])
    images = model.sample(prompts.texts, range(PROMPTS), settings, 0)[-1]
    assert images.shape == (PROMPTS, 3, 128, 128)
    verdicts = OpenMojiChecker()(torch.from_numpy(to_uint8(images)), prompts.prompts)
    right = [verdict["correct"] for verdict in verdicts if verdict is not None]
    assert len(right) >= PROMPTS - 2
    assert sum(right) / len(right) > 0.6  # by chance a fifth


@pytest.mark.parametrize("entry", ["sample", "evaluate"])
def test_it_is_sampled_as_suits_flat_pictures_unless_told_otherwise(entry, compose_config):
    config = compose_config(entry, "cascade=openmoji")
    assert config.thresholding._target_.endswith("StaticThresholding")
    assert config.sampling.sr1.guidance_weight == 1
    told = compose_config(entry, "cascade=openmoji", "thresholding=dynamic", "sampling.sr1.guidance_weight=null")
    assert told.thresholding._target_.endswith("DynamicThresholding")
    assert told.sampling.sr1.guidance_weight is None


def test_every_card_names_the_pictures_and_their_licence():
    for stage in ("base", "sr1"):
        card = (ROOT / "assets" / "openmoji" / stage / CARD).read_text()
        assert "OpenMoji" in card
        assert "CC BY-SA 4.0" in card
