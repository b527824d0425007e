import math

import pytest
import torch

from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.parameterisations import EpsPrediction, FlowPrediction, VPrediction, X0Prediction
from imagen.diffusion.weightings import (
    ConstantEpsWeighting,
    MinSNRWeighting,
    SigmoidWeighting,
    TruncatedSNRWeighting,
    UnweightedLoss,
)
from imagen.errors import UserError

LEVEL = NoiseLevel(torch.linspace(-10, 10, 21, dtype=torch.float64))
SNR = LEVEL.log_snr.exp()
ALPHA_SQUARED = SNR / (1 + SNR)


def test_constant_eps_weights_are_those_of_the_published_table():
    constant = ConstantEpsWeighting()
    torch.testing.assert_close(constant(LEVEL, EpsPrediction()), torch.ones_like(SNR))
    torch.testing.assert_close(constant(LEVEL, X0Prediction()), SNR)
    torch.testing.assert_close(constant(LEVEL, VPrediction()), SNR / (1 + SNR))


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights_are_those_of_the_published_table(gamma):
    clipped = SNR.clamp(max=gamma)
    weighting = MinSNRWeighting(gamma)
    torch.testing.assert_close(weighting(LEVEL, X0Prediction()), clipped)
    torch.testing.assert_close(weighting(LEVEL, EpsPrediction()), clipped / SNR)
    torch.testing.assert_close(weighting(LEVEL, VPrediction()), clipped / (SNR + 1))


def test_truncated_snr_weights_are_those_of_the_paper():
    weighting = TruncatedSNRWeighting()
    torch.testing.assert_close(weighting(LEVEL, X0Prediction()), SNR.clamp(min=1))
    torch.testing.assert_close(weighting(LEVEL, EpsPrediction()), (1 / SNR).clamp(min=1))
    torch.testing.assert_close(weighting(LEVEL, VPrediction()), torch.maximum(ALPHA_SQUARED, 1 - ALPHA_SQUARED))


@pytest.mark.parametrize("bias", [-3.0, 0.0, 2.0])
def test_sigmoid_weights_are_those_of_the_published_table(bias):
    weighting, log_snr = SigmoidWeighting(bias), LEVEL.log_snr
    torch.testing.assert_close(weighting(LEVEL, EpsPrediction()), torch.sigmoid(bias - log_snr))
    torch.testing.assert_close(weighting(LEVEL, X0Prediction()), math.exp(bias) * torch.sigmoid(log_snr - bias))
    torch.testing.assert_close(weighting(LEVEL, VPrediction()), torch.sigmoid(bias - log_snr) * ALPHA_SQUARED)


@pytest.mark.parametrize(
    "weighting", [ConstantEpsWeighting(), MinSNRWeighting(), SigmoidWeighting(1.0), TruncatedSNRWeighting()]
)
@pytest.mark.parametrize("parameterisation", [X0Prediction(), VPrediction(), FlowPrediction()])
def test_what_is_predicted_does_not_change_what_is_weighted(weighting, parameterisation):
    in_eps = weighting(LEVEL, EpsPrediction())
    converted = weighting(LEVEL, parameterisation) / parameterisation.eps_loss_factor(LEVEL)
    torch.testing.assert_close(converted, in_eps)


@pytest.mark.parametrize("parameterisation", [EpsPrediction(), X0Prediction(), VPrediction(), FlowPrediction()])
def test_unweighted_is_one_whatever_is_predicted(parameterisation):
    assert torch.equal(UnweightedLoss()(LEVEL, parameterisation), torch.ones_like(SNR))


@pytest.mark.parametrize(
    "weighting", [ConstantEpsWeighting(), MinSNRWeighting(), SigmoidWeighting(2.0), TruncatedSNRWeighting()]
)
@pytest.mark.parametrize("parameterisation", [EpsPrediction(), X0Prediction(), VPrediction(), FlowPrediction()])
def test_weights_are_finite_and_positive_in_float32_at_the_ends(weighting, parameterisation):
    weights = weighting(NoiseLevel(torch.tensor([-20.0, 20.0])), parameterisation)
    assert weights.isfinite().all()
    assert (weights > 0).all()


@pytest.mark.parametrize("make", [lambda: MinSNRWeighting(0.0), lambda: SigmoidWeighting(math.inf)])
def test_an_impossible_weighting_is_refused(make):
    with pytest.raises(UserError, match=r"0\.0|inf"):
        make()
