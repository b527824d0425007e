"""The cascade in assets/: whole, small, and better than chance on compositions it never saw."""

import numpy as np
import pytest
from conftest import ROOT

from imagen.app.sampling import open_studio, settings_for
from imagen.data.shapes import check, sample_scene

PROMPTS = 24


@pytest.fixture
def verdicts(compose_config):
    config = compose_config("sample", "sampler.num_steps=8", "sr_sampler.num_steps=4", "cascade.device=cpu")
    studio = open_studio(config)
    scenes = [sample_scene(77, index, "held_out") for index in range(PROMPTS)]
    settings = settings_for(config, len(studio.cascade.stages), [2.0, 1.0])
    pictures = studio.pictures([scene.caption for scene in scenes], range(PROMPTS), settings)
    return [check(np.asarray(picture), scene.description) for picture, scene in zip(pictures[-1], scenes, strict=True)]


def test_it_paints_the_background_and_the_colours_that_the_caption_names(verdicts):
    # By chance: a third of the backgrounds, a sixth of the colours of one object.
    assert np.mean([verdict.parts["background"] for verdict in verdicts]) > 0.8
    assert np.mean([verdict.parts["colours"] for verdict in verdicts]) > 0.6


def test_all_that_is_shipped_takes_at_most_40_megabytes():
    assert sum(path.stat().st_size for path in (ROOT / "assets").rglob("*") if path.is_file()) < 40e6
