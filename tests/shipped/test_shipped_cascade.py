"""The cascade in assets/: whole, small, and better than chance on compositions it never saw."""

from pathlib import Path

import numpy as np
import pytest
import torch

from imagen.data.pixels import to_uint8
from imagen.places import ROOT
from imagen.sampling.configured import configured_settings
from imagen.sampling.opening import open_model
from imagen.shapes import check, sample_scene

PROMPTS = 24


@pytest.fixture
def verdicts(compose_config):
    config = compose_config("sample", "cascade=fast", "cascade.device=cpu")
    model = open_model(config)
    scenes = [sample_scene(77, index, "held_out") for index in range(PROMPTS)]
    settings = configured_settings(config, model.roles, list(config.guidance_weights))
    pictures = to_uint8(model.sample([scene.caption for scene in scenes], range(PROMPTS), settings, 0)[-1])
    return [check(picture, scene.description) for picture, scene in zip(pictures, scenes, strict=True)]


def test_it_paints_the_background_and_the_colours_that_the_caption_names(verdicts):
    # By chance: a third of the backgrounds, a sixth of the colours of one object. Of 1,408 captions .92 are all right.
    assert np.mean([all(verdict.parts.values()) for verdict in verdicts]) > 0.7
    assert np.mean([verdict.parts["background"] for verdict in verdicts]) > 0.8
    assert np.mean([verdict.parts["colours"] for verdict in verdicts]) > 0.6


@pytest.mark.parametrize("entry", ["sample", "evaluate"])
def test_fast_means_few_steps_unless_told_otherwise(entry, compose_config):
    config = compose_config(entry, "cascade=fast")
    assert (config.sampler.num_steps, config.sr_sampler.num_steps) == (10, 2)
    assert [Path(stage) for stage in config.cascade.stages] == [
        ROOT / "assets/cascade" / name for name in ("base", "sr1")
    ]
    assert (config.sampling.base.guidance_weight, config.sampling.sr1.guidance_weight) == (None, 1)
    told = compose_config(
        entry, "cascade=fast", "sampler=ddim", "sampler.num_steps=32", "sampling.sr1.guidance_weight=2"
    )
    assert told.sampler._target_.endswith("DDIMSampler")
    assert (told.sampler.num_steps, told.sampling.sr1.guidance_weight) == (32, 2)


@pytest.mark.skipif(not torch.cpu._is_amx_tile_supported(), reason="promised where it was measured: on AMX")
@pytest.mark.parametrize(("weights", "fewest"), [([3.0, 1.5], 1), ([1.0], 2)], ids=["guided", "without guidance"])
def test_in_bfloat16_on_one_thread_pictures_are_the_same_bits_in_any_batch(compose_config, weights, fewest):
    """Of at least two rows in the network, that is two pictures without guidance: linear layers round one row alone in
    another way."""
    config = compose_config("sample", "sampler.num_steps=3", "sr_sampler.num_steps=2", "cascade.device=cpu",
                            "cascade.precision=bf16-mixed")  # fmt: skip
    captions = ["a red circle", "two green triangles", "a blue square below a red ring",
                "a blue ring to the left of a red square on a white background"]  # fmt: skip

    def images(batch_size, ids):
        model = open_model(config)  # a new one, that remembers no caption
        model.batch_size = batch_size
        settings = configured_settings(config, model.roles, [weights[0], weights[-1]])
        return model.sample([captions[i] for i in ids], ids, settings, 0)

    whole, few, turned = images(4, [0, 1, 2, 3]), images(fewest, [0, 1, 2, 3]), images(2, [3, 2, 1, 0])
    for one, two, three in zip(whole, few, turned, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three.flip(0))


def test_all_that_is_shipped_takes_at_most_70_megabytes():
    assert sum(path.stat().st_size for path in (ROOT / "assets").rglob("*") if path.is_file()) < 70e6
