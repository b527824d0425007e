"""EDM against its own formulas (Karras et al. 2022, table 1), as ElucidatedImagen of imagen-pytorch 2.1.0 has them."""

import math

import pytest
import torch
from exact_denoisers import TWO_PEAKS, some_text
from torch import nn

from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.parameterisations import EDMPrediction, VPrediction
from imagen.diffusion.samplers import HeunSampler
from imagen.diffusion.schedules import LogNormalSchedule
from imagen.diffusion.spacing import RhoSpacing
from imagen.diffusion.weightings import UnweightedLoss
from imagen.errors import UserError
from imagen.randomness import make_generator, randn_per_image

LOG_SNR = torch.linspace(-8.7, 12.4, 8, dtype=torch.float64)
LEVEL = NoiseLevel(LOG_SNR)
SIGMA = (-LOG_SNR / 2).exp()[:, None, None, None]
"""EDM's sigma, the noise beside an image of scale 1."""


def c_skip(sigma_data, sigma):
    return (sigma_data**2) / (sigma**2 + sigma_data**2)


def c_out(sigma_data, sigma):
    return sigma * sigma_data * (sigma_data**2 + sigma**2) ** -0.5


def c_in(sigma_data, sigma):
    return 1 * (sigma**2 + sigma_data**2) ** -0.5


def loss_weight(sigma_data, sigma):
    return (sigma**2 + sigma_data**2) * (sigma * sigma_data) ** -2


def images(name, scale=1.0, count=8):
    return scale * randn_per_image([make_generator(name, i) for i in range(count)], (3, 32, 32)).double()


class SomeNetwork(nn.Module):
    """Not linear in its input, so that the scale of the input shows."""

    def forward(self, z, log_snr, conditioning):
        return torch.sin(2 * z) + 0.1 * log_snr[:, None, None, None]


@pytest.fixture(params=[0.5, 1.0, 2.0])
def sigma_data(request):
    return request.param


@pytest.fixture
def denoiser(sigma_data):
    return Denoiser(SomeNetwork(), EDMPrediction(sigma_data), UnweightedLoss())


def preconditioned(x, sigma_data):
    """D(x; sigma), their equation 7."""
    output = SomeNetwork()(c_in(sigma_data, SIGMA) * x, LOG_SNR, None).float()
    return c_skip(sigma_data, SIGMA) * x + c_out(sigma_data, SIGMA) * output


def test_the_denoiser_is_the_preconditioned_network(sigma_data, denoiser):
    x = images("x0") + SIGMA * images("eps")
    expected = preconditioned(x, sigma_data)
    torch.testing.assert_close(denoiser(LEVEL.alpha * x, LEVEL, some_text(8)), expected, rtol=1e-5, atol=1e-6)


def test_the_loss_is_the_weighted_error_of_the_clean_image(sigma_data, denoiser):
    x0, eps = images("x0"), images("eps")
    error = (preconditioned(x0 + SIGMA * eps, sigma_data) - x0).square().mean(dim=(1, 2, 3))
    expected = loss_weight(sigma_data, SIGMA).flatten() * error
    torch.testing.assert_close(denoiser.loss(x0, eps, LEVEL, some_text(8)), expected, rtol=1e-4, atol=0)


def test_input_and_target_have_variance_one_at_every_level(sigma_data):
    edm, x0, eps = EDMPrediction(sigma_data), images("x0", sigma_data), images("eps")
    for tensor in (edm.network_input(LEVEL.add_noise(x0, eps), LEVEL), edm.target(x0, eps, LEVEL)):
        deviations = tensor.std(dim=(1, 2, 3))
        torch.testing.assert_close(deviations, torch.ones_like(deviations), atol=0.05, rtol=0)


def test_with_unit_data_it_is_the_prediction_of_v_with_the_other_sign():
    x0, eps = images("x0"), images("eps")
    z = LEVEL.add_noise(x0, eps)
    torch.testing.assert_close(EDMPrediction(1.0).target(x0, eps, LEVEL), -VPrediction().target(x0, eps, LEVEL))
    torch.testing.assert_close(EDMPrediction(1.0).network_input(z, LEVEL), z)


@pytest.mark.parametrize("sigma_data", [0.0, -1.0, math.inf])
def test_an_impossible_deviation_of_the_data_is_refused(sigma_data):
    with pytest.raises(UserError, match=str(sigma_data)):
        EDMPrediction(sigma_data)


def test_training_noise_is_log_normal_between_the_sampler_s_ends():
    levels = LogNormalSchedule().sample(20_000, make_generator(0), "cpu")
    log_sigma = -levels.log_snr / 2
    for share in (0.001, 0.1, 0.5, 0.9, 0.999):
        expected = -1.2 + 1.2 * math.sqrt(2) * torch.erfinv(torch.tensor(2 * share - 1)).item()
        assert log_sigma.quantile(share).item() == pytest.approx(expected, abs=0.02)
    ends = [math.exp(-log_snr / 2) for log_snr in LogNormalSchedule().log_snr_range]
    assert ends == pytest.approx([80, 0.002], rel=1e-6)
    single = LogNormalSchedule()(torch.tensor([1.0, 0.0])).log_snr / -2
    assert single.exp().tolist() == pytest.approx([80, 0.002], rel=1e-5)


class ExactEDMNetwork(nn.Module):
    """What a perfectly trained network of EDM gives for its scaled input."""

    def forward(self, z, log_snr, conditioning):
        level, edm = NoiseLevel(log_snr), EDMPrediction()
        z = z / edm.network_input(torch.ones_like(z), level)
        x0 = TWO_PEAKS.denoise(z, level)
        return edm.target(x0, (z - level.alpha * x0) / level.sigma, level)


def test_heun_takes_an_edm_stage_to_the_pictures():
    denoiser = Denoiser(ExactEDMNetwork(), EDMPrediction(), UnweightedLoss())
    noise = images("noise", count=2)
    errors = []
    for num_steps in (18, 36):
        sampler = HeunSampler(num_steps, RhoSpacing())
        exact = TWO_PEAKS.transport(noise, sampler.log_snrs(LogNormalSchedule())[0])
        pictures = sampler(lambda z, level: denoiser(z, level, some_text(2)), LogNormalSchedule(), noise, [])
        errors.append((pictures - exact).square().mean().sqrt().item())
    assert errors[1] < min(0.01, errors[0] / 2.5)
