"""Newer guidance rules: off at a weight of 1, equal to the papers' own forms, and what they cost."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from exact_denoisers import TWO_PEAKS, ExactNetwork, constant_level, some_text

from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.guidance import ClassifierFreeGuidance, Guidance, IntervalGuidance, begun
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.parameterisations import VPrediction
from imagen.diffusion.rules.plus_plus import PlusPlusGuidance
from imagen.diffusion.rules.projected import ProjectedGuidance
from imagen.diffusion.rules.weight_schedule import ScheduledGuidance
from imagen.diffusion.rules.zero_star import ZeroStarGuidance
from imagen.diffusion.samplers import DDIMSampler, alpha, level_of, sigma
from imagen.diffusion.schedules import CosineSchedule
from imagen.diffusion.weightings import UnweightedLoss
from imagen.errors import UserError
from imagen.randomness import make_generator, randn_per_image

LEVEL = NoiseLevel(torch.tensor([-4.0, -1.0, 1.0, 4.0]))
Z = randn_per_image([make_generator("z", index) for index in range(4)], (3, 8, 8))
TEXT = some_text(4)
PATH = [-4.0, -1.0, 0.5, 3.0]
LINE = {"log_snr_min": -2.0, "log_snr_max": 2.0}

RULES = {
    "scheduled": lambda weight: ScheduledGuidance(weight=weight, **LINE, share_noisy=0.0, share_clean=2.0),
    "projected": lambda weight: ProjectedGuidance(weight=weight),
    "projected with all": lambda weight: ProjectedGuidance(weight=weight, eta=0.5, norm_threshold=0.05, momentum=-0.5),
    "zero-star": lambda weight: ZeroStarGuidance(weight=weight),
    "zero-star from zero": lambda weight: ZeroStarGuidance(weight=weight, zero_below=-3.0),
    "plus-plus": lambda weight: PlusPlusGuidance(weight=weight),
}


@pytest.fixture
def denoiser():
    return Denoiser(ExactNetwork(TWO_PEAKS, VPrediction()), VPrediction(), UnweightedLoss())


def both(denoiser, z=Z, level=LEVEL):
    return denoiser(z, level, TEXT), denoiser(z, level, TEXT.without("text"))


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_the_conditional_estimate_at_weight_one_from_one_pass(denoiser, name):
    rule = RULES[name](1.0)
    assert isinstance(rule, Guidance)
    expected = denoiser(Z, LEVEL, TEXT)
    denoiser.network.calls = denoiser.network.images = 0
    assert torch.equal(begun(rule, PATH)(denoiser, Z, LEVEL, TEXT), expected)
    assert (denoiser.network.calls, denoiser.network.images) == (1, len(Z))


@pytest.mark.parametrize("name", RULES)
def test_every_other_weight_costs_two_estimates_and_changes_the_picture(denoiser, name):
    level = constant_level(0.5, Z)
    for batched, calls in ((True, 1), (False, 2)):
        denoiser.network.calls = denoiser.network.images = 0
        x0 = begun(replace(RULES[name](3.0), batched=batched), PATH)(denoiser, Z, level, TEXT)
        assert (denoiser.network.calls, denoiser.network.images) == (calls, 2 * len(Z))
        assert not torch.allclose(x0, denoiser(Z, level, TEXT), atol=1e-3)


@pytest.mark.parametrize("name", RULES)
def test_each_picture_is_guided_by_itself(denoiser, name):
    level = constant_level(0.5, Z)
    alone = [
        begun(RULES[name](3.0), PATH)(denoiser, Z[i : i + 1], constant_level(0.5, Z[:1]), some_text(1))
        for i in range(4)
    ]
    torch.testing.assert_close(begun(RULES[name](3.0), PATH)(denoiser, Z, level, TEXT), torch.cat(alone))


def test_a_rule_chooses_which_signals_the_unconditional_estimate_lacks(denoiser):
    seen = []

    def remember(z, level, conditioning):
        seen.append(conditioning)
        return denoiser(z, level, conditioning)

    ProjectedGuidance(weight=3.0, batched=False, without=())(remember, Z, LEVEL, TEXT)
    assert all(told["text"].mask.all() for told in seen)


def test_a_schedule_gives_each_picture_the_weight_of_its_own_level(denoiser):
    x0 = ScheduledGuidance(weight=3.0, **LINE, share_noisy=0.0, share_clean=2.0)(denoiser, Z, LEVEL, TEXT)
    weights = [1.0, 1 + 2 * 0.5, 1 + 2 * 1.5, 1 + 2 * 2.0]  # at log-SNR -4, -1, 1, 4
    for row, weight in enumerate(weights):
        expected = ClassifierFreeGuidance(weight)(denoiser, Z, LEVEL, TEXT)[row]
        torch.testing.assert_close(x0[row], expected)


def test_a_flat_schedule_is_classifier_free_guidance(denoiser):
    flat = ScheduledGuidance(weight=4.0, **LINE, share_noisy=1.0, share_clean=1.0)(denoiser, Z, LEVEL, TEXT)
    torch.testing.assert_close(flat, ClassifierFreeGuidance(4.0)(denoiser, Z, LEVEL, TEXT))


@pytest.mark.parametrize("momentum", [0.0, -0.5])
@pytest.mark.parametrize(("eta", "norm_threshold"), [(0.0, None), (1.0, 0.05), (0.3, 0.02), (0.3, 0.6)])
def test_projected_guidance_over_several_steps_is_that_of_diffusers(denoiser, eta, norm_threshold, momentum):
    theirs = pytest.importorskip("diffusers.guiders.adaptive_projected_guidance")
    rule = ProjectedGuidance(weight=4.0, eta=eta, norm_threshold=norm_threshold, momentum=momentum)
    ours, buffer = begun(rule, PATH), theirs.MomentumBuffer(momentum)
    norm = norm_threshold and norm_threshold * math.sqrt(Z[0].numel())  # theirs is of the whole picture
    for log_snr in PATH:
        level = constant_level(log_snr, Z)
        x0_cond, x0_uncond = both(denoiser, level=level)
        # Their original formulation starts from the conditional estimate, as the paper does: its scale is weight - 1.
        expected = theirs.normalized_guidance(x0_cond, x0_uncond, 3.0, buffer, eta, norm or 0.0, True)
        torch.testing.assert_close(ours(denoiser, Z, level, TEXT), expected, atol=1e-5, rtol=1e-5)


def test_projected_guidance_with_nothing_taken_away_is_classifier_free_guidance(denoiser):
    plain = ProjectedGuidance(weight=4.0, eta=1.0)(denoiser, Z, LEVEL, TEXT)
    torch.testing.assert_close(plain, ClassifierFreeGuidance(4.0)(denoiser, Z, LEVEL, TEXT))


def test_each_batch_of_projected_guidance_begins_without_memory(denoiser):
    rule = ProjectedGuidance(weight=4.0, momentum=-0.5)
    first, second = begun(rule, PATH), begun(rule, PATH)
    before = first(denoiser, Z, LEVEL, TEXT)
    assert not torch.allclose(first(denoiser, Z, LEVEL, TEXT), before)
    assert torch.equal(second(denoiser, Z, LEVEL, TEXT), before)


@pytest.mark.parametrize(("step", "zero_below"), [(0, None), (0, 9.0), (1, None)])
def test_zero_star_is_that_of_diffusers_on_the_velocity_of_the_straight_path(denoiser, step, zero_below):
    guiders = pytest.importorskip("diffusers.guiders")
    theirs = guiders.ClassifierFreeZeroStarGuidance(
        guidance_scale=4.0, zero_init_steps=0 if zero_below is None else 1, use_original_formulation=False
    )
    theirs._step, theirs._num_inference_steps = step, 10
    level = constant_level(0.5, Z)

    def velocity(x0):
        return (Z - level.alpha * x0) / level.sigma - x0

    expected = theirs.forward(*map(velocity, both(denoiser, level=level))).pred
    ours = ZeroStarGuidance(weight=4.0, zero_below=zero_below)(denoiser, Z, level, TEXT)
    torch.testing.assert_close(velocity(ours), expected, atol=2e-5, rtol=1e-4)


def literal_plus_plus(denoiser, path, z, strength):
    """Algorithm 2 of the paper: the guided estimate, renoised with the unconditional eps."""
    for here, there in pairwise(path):
        x0_cond, x0_uncond = both(denoiser, z, level_of(z, here))
        eps_uncond = (z - alpha(here) * x0_uncond) / sigma(here)
        z = alpha(there) * torch.lerp(x0_uncond, x0_cond, strength) + sigma(there) * eps_uncond
    x0_cond, x0_uncond = both(denoiser, z, level_of(z, path[-1]))
    return torch.lerp(x0_uncond, x0_cond, strength)


@pytest.mark.parametrize("weight", [0.7, 2.5])
@pytest.mark.parametrize("steps", [3, 12])
def test_ddim_with_plus_plus_is_the_papers_algorithm(denoiser, weight, steps):
    sampler, schedule = DDIMSampler(steps), CosineSchedule()
    path = sampler.log_snrs(schedule)
    rule = PlusPlusGuidance(weight=weight)
    guided = begun(rule, path)
    ours = sampler(lambda z, level: guided(denoiser, z, level, TEXT), schedule, Z, [])
    theirs = literal_plus_plus(denoiser, path, Z, rule.strength(path))
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_plus_plus_on_steps_of_equal_length_is_classifier_free_guidance_but_for_the_last(denoiser):
    path = [-4.0, -2.0, 0.0, 2.0]
    rule = PlusPlusGuidance(weight=3.0)
    everywhere = rule.strength(path) / -math.expm1(-1.0)
    guided = begun(rule, path)
    for log_snr, weight in zip(path, [everywhere] * 3 + [rule.strength(path)], strict=True):
        level = constant_level(log_snr, Z)
        expected = ClassifierFreeGuidance(weight)(denoiser, Z, level, TEXT)
        torch.testing.assert_close(guided(denoiser, Z, level, TEXT), expected)
    assert (3 * everywhere + rule.strength(path)) / 4 == pytest.approx(3.0)


def test_plus_plus_knows_its_steps_on_a_path_that_goes_back(denoiser):
    back = [-4.0, -2.0, -4.0, -2.0, 1.0]
    assert PlusPlusGuidance(weight=2.0).strength(back) == PlusPlusGuidance(weight=2.0).strength([-4.0, -2.0, 1.0])


def test_plus_plus_counts_no_step_back_towards_the_noise():
    there_and_back = [-4.0, -1.0, -3.0, 0.0, 1.0]  # from -1 to -3 nothing is estimated
    gains = [1 / (1 - math.exp(-length / 2)) for length in (3, 3, 1)] + [1.0]
    assert PlusPlusGuidance(weight=2.0).strength(there_and_back) == pytest.approx(2.0 * 4 / sum(gains))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: ProjectedGuidance(weight=math.nan), "guidance weight is nan"),
        (lambda: ProjectedGuidance(weight=2.0, norm_threshold=0.0), r"norm_threshold of the guidance is 0\.0"),
        (lambda: ProjectedGuidance(weight=2.0, momentum=1.0), r"momentum of the guidance is 1\.0"),
        (lambda: ScheduledGuidance(weight=2.0, log_snr_min=1, log_snr_max=1, share_noisy=0, share_clean=1), "1 to 1"),
        (lambda: ScheduledGuidance(weight=2.0, **LINE, share_noisy=-1.0, share_clean=1), r"share_noisy .* is -1\.0"),
        (lambda: ScheduledGuidance(weight=2.0, **LINE, share_noisy=0, share_clean=math.nan), "share_clean .* is nan"),
    ],
)  # fmt: skip
def test_what_a_rule_cannot_be_is_refused_with_its_value(make, complaint):
    with pytest.raises(UserError, match=complaint):
        make()


@pytest.mark.parametrize("guidance", [ClassifierFreeGuidance(3.0), IntervalGuidance(3.0, -1.0, 1.0)])
def test_rules_that_look_at_one_estimate_alone_need_no_beginning(guidance):
    assert begun(guidance, PATH) is guidance
