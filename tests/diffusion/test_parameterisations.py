import pytest
import torch

from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.parameterisations import (
    EDMPrediction,
    EpsPrediction,
    FlowPrediction,
    Parameterisation,
    VPrediction,
    X0Prediction,
)

PARAMETERISATIONS = [EpsPrediction(), X0Prediction(), VPrediction(), FlowPrediction(), EDMPrediction()]
each_parameterisation = pytest.mark.parametrize("parameterisation", PARAMETERISATIONS, ids=lambda p: type(p).__name__)


@pytest.fixture
def level():
    return NoiseLevel(torch.linspace(-15, 15, 7, dtype=torch.float64))


@pytest.fixture
def pair(level):
    generator = torch.Generator().manual_seed(0)
    shape = (len(level.log_snr), 3, 4, 4)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)]


@each_parameterisation
def test_the_exact_target_gives_back_the_clean_image(parameterisation, level, pair):
    x0, eps = pair
    x0_again = parameterisation.to_x0(parameterisation.target(x0, eps, level), level.add_noise(x0, eps), level)
    torch.testing.assert_close(x0_again, x0, atol=1e-10, rtol=1e-10)


@each_parameterisation
def test_float32_is_enough_for_the_round_trip_over_the_whole_range(parameterisation, level, pair):
    x0, eps = (tensor.float() for tensor in pair)
    level = NoiseLevel(level.log_snr.float())
    x0_again = parameterisation.to_x0(parameterisation.target(x0, eps, level), level.add_noise(x0, eps), level)
    torch.testing.assert_close(x0_again, x0, atol=2e-3, rtol=0)  # eps at log-SNR -15: 1/alpha = 1808 ulps


@each_parameterisation
def test_reading_x0_is_affine_in_the_prediction(parameterisation, level, pair):
    """What lets guidance be done in x0."""
    first, second = pair
    z = first + second
    mixed = parameterisation.to_x0(second + 3.5 * (first - second), z, level)
    parts = [parameterisation.to_x0(prediction, z, level) for prediction in pair]
    torch.testing.assert_close(mixed, parts[1] + 3.5 * (parts[0] - parts[1]))


@each_parameterisation
def test_eps_loss_factor_turns_the_error_of_the_prediction_into_that_of_eps(parameterisation, level, pair):
    x0, eps = pair
    z = level.add_noise(x0, eps)
    error = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x0_wrong = parameterisation.to_x0(parameterisation.target(x0, eps, level) + error, z, level)
    eps_error = (z - level.alpha * x0_wrong) / level.sigma - eps
    factor = parameterisation.eps_loss_factor(level)
    torch.testing.assert_close(eps_error.square().mean((1, 2, 3)), factor * error.square().mean((1, 2, 3)))


def test_v_is_the_one_of_salimans_and_ho_and_flow_is_eps_minus_x0(level, pair):
    x0, eps = pair
    torch.testing.assert_close(VPrediction().target(x0, eps, level), level.alpha * eps - level.sigma * x0)
    torch.testing.assert_close(FlowPrediction().target(x0, eps, level), eps - x0)


def test_the_common_ones_are_exact_in_float32(level, pair):
    """Whatever order a and b are put together in: trained weights and pictures follow from these bits."""
    x0, eps = (tensor.float() for tensor in pair)
    level = NoiseLevel(level.log_snr.float())
    alpha, sigma, z = level.alpha, level.sigma, level.add_noise(x0, eps)
    assert torch.equal(EpsPrediction().target(x0, eps, level), eps)
    assert torch.equal(EpsPrediction().to_x0(x0, z, level), (z - sigma * x0) / alpha)
    assert torch.equal(EpsPrediction().eps_loss_factor(level), torch.ones(7))
    assert torch.equal(VPrediction().target(x0, eps, level), alpha * eps - sigma * x0)
    assert torch.equal(VPrediction().to_x0(x0, z, level), alpha * z - sigma * x0)
    assert torch.equal(FlowPrediction().target(x0, eps, level), eps - x0)
    assert torch.equal(FlowPrediction().to_x0(x0, z, level), (z - sigma * x0) / (alpha + sigma))
    assert torch.equal(X0Prediction().target(x0, eps, level), x0)
    torch.testing.assert_close(X0Prediction().to_x0(x0, z, level), x0, rtol=2e-7, atol=0)


@each_parameterisation
def test_the_determinant_is_the_one_of_the_coefficients(parameterisation, level):
    a, b = parameterisation.coefficients(level)
    torch.testing.assert_close(parameterisation.determinant(level), b * level.alpha - a * level.sigma)


def test_a_new_parameterisation_is_two_coefficients(level, pair):
    class Rotated(Parameterisation):
        """Between x0 and eps, an eighth of a turn ahead of z."""

        def coefficients(self, level):
            return (level.alpha - level.sigma) / 2**0.5, (level.alpha + level.sigma) / 2**0.5

    x0, eps = pair
    z, v = level.add_noise(x0, eps), VPrediction().target(x0, eps, level)
    torch.testing.assert_close(Rotated().to_x0((z + v) / 2**0.5, z, level), x0)
    assert Rotated().network_input(z, level) is z
