"""Network passes for a picture, worked out from the settings, against the rows that networks really got."""

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from small_stages import export_picture_reader, export_random_stage, small_cascade

from imagen.cascade.settings import SamplingSettings
from imagen.cascade.stage import passes, sample_images
from imagen.diffusion.conditioning import Conditioning, ImageSignal, TextSignal
from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.guidance import ClassifierFreeGuidance, IntervalGuidance, PerSignalGuidance
from imagen.diffusion.rules.plus_plus import PlusPlusGuidance
from imagen.diffusion.rules.projected import ProjectedGuidance
from imagen.diffusion.samplers import DDIMSampler, DDPMSampler, DPMSolverPP2M, HeunSampler
from imagen.diffusion.thresholding import StaticThresholding
from imagen.randomness import make_generator
from imagen.stages.export import load_stage
from imagen.stages.guides.autoguidance import Autoguidance

COUNT = 2
FLAT = ImageSignal(torch.zeros(COUNT, 3, 8, 8))
GIVEN = Conditioning(
    text=TextSignal(torch.ones(COUNT, 4, 8), torch.ones(COUNT, 4) > 0), smaller=FLAT, start=FLAT, condition=FLAT
)
TEN = DDIMSampler(10)
MIDDLE = {"log_snr_min": -3.0, "log_snr_max": 3.0}


@dataclass(frozen=True)
class Silent:
    """A rule of one's own that does not say what it costs."""

    weight: float = 1.0

    def __call__(self, denoiser, z, level, conditioning):
        return denoiser(z, level, conditioning)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def stages(folder):
    base, sr1 = small_cascade(folder)
    return {"base": base.model, "sr1": sr1.model}


@pytest.fixture
def rows(monkeypatch):
    """The rows that all networks got, one number for each call."""
    seen, forward = [], Denoiser.forward
    monkeypatch.setattr(Denoiser, "forward", lambda self, z, *args: seen.append(len(z)) or forward(self, z, *args))
    return seen


def sampled(model, settings):
    sample_images(model, GIVEN, settings, [make_generator(i) for i in range(COUNT)])


def settings_of(guidance, sampler=TEN, **changes):
    return SamplingSettings(sampler, guidance, StaticThresholding(), **changes)


def assert_counted(model, settings, expected, rows):
    assert passes(model, settings) == expected
    assert rows == []  # nothing was asked of a network
    sampled(model, settings)
    assert sum(rows) == COUNT * expected


@pytest.mark.parametrize(
    ("guidance", "expected"),
    [
        (ClassifierFreeGuidance(3.0), 20),
        (ClassifierFreeGuidance(3.0, batched=False), 20),
        (ClassifierFreeGuidance(1.0), 10),
        (ClassifierFreeGuidance(0.0), 10),
        (ClassifierFreeGuidance(0.0, rescale=0.7), 20),
        (IntervalGuidance(3.0, **MIDDLE), 17),
        (IntervalGuidance(1.0, **MIDDLE), 10),
        (ProjectedGuidance(weight=3.0, momentum=-0.5), 20),
        (ProjectedGuidance(weight=1.0), 10),
        (PlusPlusGuidance(weight=3.0), 20),
    ],
)
def test_a_rule_makes_one_or_two_passes_an_estimate(stages, rows, guidance, expected):
    assert_counted(stages["base"], settings_of(guidance), expected, rows)


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [(DDPMSampler(10), 20), (DPMSolverPP2M(3), 6), (HeunSampler(10), 38), (HeunSampler(1), 2)],
)
def test_every_sampler_is_counted_by_its_own_calls(stages, rows, sampler, expected):
    assert_counted(stages["base"], settings_of(ClassifierFreeGuidance(3.0), sampler), expected, rows)


def test_the_second_call_of_a_step_of_heun_may_lie_inside_the_interval_and_the_first_not(stages, rows):
    settings = settings_of(IntervalGuidance(3.0, **MIDDLE), HeunSampler(10))
    model = stages["base"]
    path = settings.sampler.log_snrs(model.schedule)
    calls = [level for here, there in pairwise(path) for level in (here, there)] + [path[-1]]
    assert_counted(model, settings, sum(2 if -3 <= level <= 3 else 1 for level in calls), rows)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"strength": 0.5}, 10), ({"strength": 0.0}, 0), ({"resample": 2}, 38), ({"aug_level": 0.2}, 20)],
)
def test_what_begins_later_or_goes_back_makes_as_many_passes_as_it_has_steps(stages, rows, changes, expected):
    assert_counted(stages["sr1"], settings_of(ClassifierFreeGuidance(3.0), **changes), expected, rows)


def test_every_tile_is_a_pass(stages, rows):
    settings = settings_of(ClassifierFreeGuidance(3.0), size=(16, 8), tile_overlap=0.5)
    assert_counted(stages["base"], settings, 20 * 3, rows)


def test_a_weight_for_each_signal_makes_a_pass_for_each_estimate_that_is_needed(folder, rows):
    export_picture_reader(folder / "reader")
    model = load_stage(folder / "reader").model
    for weights, each in (((1, 1), 1), ((1, 3), 2), ((3, 1), 3), ((0, 3), 3)):
        rule = PerSignalGuidance(dict(zip(("condition", "text"), map(float, weights), strict=True)))
        assert_counted(model, settings_of(rule), 10 * each, rows)
        rows.clear()


def test_the_passes_of_the_weaker_network_count(stages, folder, rows):
    export_random_stage(folder / "weaker", "base", 8, None)
    rule = Autoguidance(3.0, str(folder / "weaker"))
    assert_counted(stages["base"], settings_of(rule), 20, rows)
    rows.clear()
    assert_counted(stages["base"], settings_of(replace(rule, weight=1.0)), 10, rows)


def test_what_does_not_say_its_passes_is_not_guessed(stages):
    assert passes(stages["base"], settings_of(Silent())) is None
