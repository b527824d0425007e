import math

import pytest
import torch
from exact_denoisers import TWO_PEAKS, ExactNetwork, constant_level, some_text

from imagen.diffusion.conditioning import Conditioning, ImageSignal, LowResImage
from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.guidance import ClassifierFreeGuidance, IntervalGuidance, PerSignalGuidance
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.parameterisations import EpsPrediction, FlowPrediction, VPrediction, X0Prediction
from imagen.diffusion.weightings import UnweightedLoss
from imagen.errors import UserError
from imagen.randomness import make_generator, randn_per_image

LEVEL = NoiseLevel(torch.tensor([-4.0, -1.0, 1.0, 4.0]))
Z = randn_per_image([make_generator("z", index) for index in range(4)], (3, 8, 8))
TEXT = some_text(4)


def denoiser_of(parameterisation):
    return Denoiser(ExactNetwork(TWO_PEAKS, parameterisation), parameterisation, UnweightedLoss())


@pytest.fixture
def denoiser():
    return denoiser_of(VPrediction())


@pytest.mark.parametrize("parameterisation", [EpsPrediction(), VPrediction(), X0Prediction(), FlowPrediction()])
@pytest.mark.parametrize("weight", [0.5, 3.0, 15.0])
def test_guidance_of_x0_is_guidance_of_what_the_network_predicts(parameterisation, weight):
    denoiser = denoiser_of(parameterisation)
    cond = denoiser.network(Z, LEVEL.log_snr, TEXT)
    uncond = denoiser.network(Z, LEVEL.log_snr, TEXT.without("text"))
    guided = weight * cond + (1 - weight) * uncond  # Imagen, eq. 2
    expected = parameterisation.to_x0(guided, Z, LEVEL)
    torch.testing.assert_close(ClassifierFreeGuidance(weight)(denoiser, Z, LEVEL, TEXT), expected, atol=1e-4, rtol=1e-4)


def test_weight_one_is_the_conditional_estimate_from_one_pass(denoiser):
    expected = denoiser(Z, LEVEL, TEXT)
    denoiser.network.calls = denoiser.network.images = 0
    for guidance in (ClassifierFreeGuidance(1.0), IntervalGuidance(1.0, -20.0, 20.0)):
        assert torch.equal(guidance(denoiser, Z, LEVEL, TEXT), expected)
    assert (denoiser.network.calls, denoiser.network.images) == (2, 2 * len(Z))


def test_weight_zero_is_the_unconditional_estimate_from_one_pass(denoiser):
    expected = denoiser(Z, LEVEL, TEXT.without("text"))
    denoiser.network.calls = denoiser.network.images = 0
    assert torch.equal(ClassifierFreeGuidance(0.0)(denoiser, Z, LEVEL, TEXT), expected)
    assert (denoiser.network.calls, denoiser.network.images) == (1, len(Z))
    torch.testing.assert_close(IntervalGuidance(0.0, -20.0, 20.0)(denoiser, Z, LEVEL, TEXT), expected)


@pytest.mark.parametrize(("batched", "calls"), [(True, 1), (False, 2)])
def test_batched_guidance_is_one_pass_and_separate_guidance_two_with_the_same_result(denoiser, batched, calls):
    guided = ClassifierFreeGuidance(4.0, batched=batched)(denoiser, Z, LEVEL, TEXT)
    assert (denoiser.network.calls, denoiser.network.images) == (calls, 2 * len(Z))
    other = ClassifierFreeGuidance(4.0, batched=not batched)(denoiser, Z, LEVEL, TEXT)
    torch.testing.assert_close(guided, other, atol=1e-6, rtol=1e-6)


def test_batched_guidance_gives_both_halves_the_low_resolution_image(denoiser):
    low_res = LowResImage(Z.flip(0), NoiseLevel(LEVEL.log_snr.flip(0)))
    seen = []

    def remember(z, level, conditioning):
        seen.append(conditioning)
        return denoiser(z, level, conditioning)

    conditioning = Conditioning(TEXT, low_res=low_res)
    ClassifierFreeGuidance(4.0)(remember, Z, LEVEL, conditioning)
    (both,) = seen
    assert torch.equal(both["low_res"].image, torch.cat([low_res.image] * 2))
    assert torch.equal(both["low_res"].level.log_snr, torch.cat([low_res.level.log_snr] * 2))
    assert both["text"].mask.any(dim=1).tolist() == [True] * 4 + [False] * 4
    assert not both["text"].values[4:].any()


def test_more_guidance_goes_further_from_the_unconditional_estimate(denoiser):
    uncond = denoiser(Z, LEVEL, TEXT.without("text"))
    distance = [
        (ClassifierFreeGuidance(weight)(denoiser, Z, LEVEL, TEXT) - uncond).norm().item() for weight in (0, 1, 2, 5)
    ]
    assert distance[0] == 0
    assert distance == pytest.approx([weight * distance[1] for weight in (0, 1, 2, 5)], rel=1e-4)


def test_interval_guides_each_image_by_its_own_level(denoiser):
    full = ClassifierFreeGuidance(5.0)(denoiser, Z, LEVEL, TEXT)
    plain = denoiser(Z, LEVEL, TEXT)
    partly = IntervalGuidance(5.0, log_snr_min=-1.0, log_snr_max=2.0)(denoiser, Z, LEVEL, TEXT)
    inside = torch.tensor([False, True, True, False])  # both ends belong to the interval
    torch.testing.assert_close(partly[inside], full[inside])
    torch.testing.assert_close(partly[~inside], plain[~inside])
    assert not torch.allclose(full[~inside], plain[~inside])


def test_outside_of_the_interval_there_is_no_unconditional_pass(denoiser):
    guidance = IntervalGuidance(5.0, log_snr_min=-1.0, log_snr_max=2.0)
    guidance(denoiser, Z, constant_level(4.0, Z), TEXT)
    assert (denoiser.network.calls, denoiser.network.images) == (1, len(Z))
    guidance(denoiser, Z, constant_level(0.0, Z), TEXT)
    assert (denoiser.network.calls, denoiser.network.images) == (2, 3 * len(Z))


@pytest.mark.parametrize(
    "make", [ClassifierFreeGuidance, lambda **kw: IntervalGuidance(**kw, log_snr_min=-9.0, log_snr_max=9.0)]
)
def test_full_rescale_gives_each_image_the_spread_of_the_conditional_estimate(denoiser, make):
    spread = denoiser(Z, LEVEL, TEXT).std(dim=(1, 2, 3))
    guided = make(weight=8.0)(denoiser, Z, LEVEL, TEXT)
    assert (guided.std(dim=(1, 2, 3)) / spread - 1).abs().max() > 0.05
    rescaled = make(weight=8.0, rescale=1.0)(denoiser, Z, LEVEL, TEXT)
    torch.testing.assert_close(rescaled.std(dim=(1, 2, 3)), spread)
    half = make(weight=8.0, rescale=0.5)(denoiser, Z, LEVEL, TEXT)
    torch.testing.assert_close(half, (guided + rescaled) / 2)


def test_rescaling_a_blank_image_does_not_divide_by_zero():
    def blank(z, level, conditioning):
        return torch.zeros_like(z)

    assert ClassifierFreeGuidance(3.0, rescale=0.7)(blank, Z, LEVEL, TEXT).isfinite().all()


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf, -0.5])
@pytest.mark.parametrize("make", [ClassifierFreeGuidance, lambda weight: IntervalGuidance(weight, -1.0, 1.0)])
def test_an_impossible_weight_is_refused_with_its_value(make, weight):
    with pytest.raises(UserError, match=f"guidance weight is {weight}"):
        make(weight)


def test_an_impossible_rescale_or_interval_is_refused():
    with pytest.raises(UserError, match=r"rescale is 1\.5"):
        ClassifierFreeGuidance(2.0, rescale=1.5)
    with pytest.raises(UserError, match=r"\[2\.0, 1\.0\]"):
        IntervalGuidance(2.0, log_snr_min=2.0, log_snr_max=1.0)
    with pytest.raises(UserError, match="nan"):
        IntervalGuidance(2.0, log_snr_min=math.nan, log_snr_max=1.0)


@pytest.mark.parametrize(
    "make", [ClassifierFreeGuidance, lambda weight, **kw: IntervalGuidance(weight, -9.0, 9.0, **kw)]
)
@pytest.mark.parametrize("batched", [True, False])
def test_the_stage_chooses_which_signals_the_unconditional_estimate_lacks(make, batched):
    low_res = LowResImage(Z, LEVEL)
    seen = []

    def remember(z, level, conditioning):
        seen.append(conditioning)
        return z

    guidance = make(3.0, batched=batched, without=["low_res"])
    guidance(remember, Z, LEVEL, Conditioning(TEXT, low_res=low_res))
    unconditional = seen[-1].take(slice(-4, None))
    assert unconditional["text"].mask.all()
    assert not unconditional["low_res"].image.any()
    assert torch.equal(seen[0]["low_res"].image[:4], Z)


PICTURE = randn_per_image([make_generator("picture", index) for index in range(4)], (3, 8, 8))
BOTH = Conditioning(TEXT, condition=ImageSignal(PICTURE), low_res=LowResImage(Z, LEVEL))


class Adding:
    """An estimate with a part of its own for each signal and for both together."""

    def __init__(self):
        self.images = []

    def __call__(self, z, level, conditioning):
        self.images.append(len(z))
        text = conditioning["text"].values.mean((1, 2)).sin()[:, None, None, None]
        picture = conditioning["condition"].images
        return z + conditioning["low_res"].image.tanh() + picture + text * (1 + picture.cos()) + level.alpha


def estimate(*without):
    return Adding()(Z, LEVEL, BOTH.without(*without))


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("order", [("condition", "text"), ("text", "condition")])
def test_guidance_per_signal_is_its_formula_in_either_order(order, batched):
    first, second = order
    none, only_first, both = estimate(first, second), estimate(second), estimate()
    expected = none + 1.5 * (only_first - none) + 4.0 * (both - only_first)
    denoiser = Adding()
    guided = PerSignalGuidance({second: 4.0, first: 1.5}, order, batched=batched)(denoiser, Z, LEVEL, BOTH)
    torch.testing.assert_close(guided, expected, atol=1e-5, rtol=1e-5)
    assert denoiser.images == ([12] if batched else [4, 4, 4])


@pytest.mark.parametrize("rescale", [0.0, 0.7])
@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
def test_one_signal_or_equal_weights_are_classifier_free_guidance(weight, rescale):
    cases = [
        (PerSignalGuidance({"text": weight}, ["text"], rescale), ["text"]),
        (PerSignalGuidance({"condition": weight}, ["condition"], rescale), ["condition"]),
        (PerSignalGuidance({"condition": weight, "text": weight}, rescale=rescale), ["condition", "text"]),
    ]
    for guidance, without in cases:
        expected = ClassifierFreeGuidance(weight, rescale, without=without)(Adding(), Z, LEVEL, BOTH)
        torch.testing.assert_close(guidance(Adding(), Z, LEVEL, BOTH), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("weights", "passes"), [((1, 1), 1), ((0, 0), 1), ((1, 0), 1), ((1, 3), 2), ((3, 1), 3), ((2, 2), 2), ((0, 3), 3)]
)
def test_estimates_that_cancel_are_not_computed(weights, passes):
    denoiser = Adding()
    guided = PerSignalGuidance(dict(zip(("condition", "text"), weights, strict=True)))(denoiser, Z, LEVEL, BOTH)
    assert denoiser.images == [4 * passes]
    if passes == 1:
        without = [name for name, weight in zip(("condition", "text"), weights, strict=True) if weight == 0]
        assert torch.equal(guided, estimate(*without))


def test_full_rescaling_of_guidance_per_signal_keeps_the_deviation_of_the_conditional_estimate():
    for weights in ({"condition": 4.0, "text": 7.0}, {"condition": 4.0, "text": 0.0}):
        guided = PerSignalGuidance(weights, rescale=1.0)(Adding(), Z, LEVEL, BOTH)
        torch.testing.assert_close(guided.std(dim=(1, 2, 3)), estimate().std(dim=(1, 2, 3)))


def test_impossible_weights_per_signal_are_refused():
    with pytest.raises(UserError, match="guidance weight is -1"):
        PerSignalGuidance({"condition": 1.0, "text": -1.0})
    with pytest.raises(UserError, match="rescale is 2"):
        PerSignalGuidance({"condition": 1.0, "text": 1.0}, rescale=2.0)
    for weights, order in (({"text": 1.0}, ("condition", "text")), ({}, ()), ({"text": 1.0}, ("text", "text"))):
        with pytest.raises(UserError, match="name the same signals, each once"):
            PerSignalGuidance(weights, order)
    with pytest.raises(UserError, match="a weight for 'condition', which this stage is not told, only text: choose"):
        PerSignalGuidance({"condition": 1.0, "text": 3.0})(Adding(), Z, LEVEL, TEXT)
