import pytest
import torch
from exact_denoisers import TWO_PEAKS, ExactNetwork, some_text
from torch import nn

from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.parameterisations import EpsPrediction, FlowPrediction, VPrediction, X0Prediction
from imagen.diffusion.schedules import CosineSchedule
from imagen.diffusion.weightings import ConstantEpsWeighting, MinSNRWeighting, UnweightedLoss
from imagen.randomness import make_generator, randn_per_image

PARAMETERISATIONS = [EpsPrediction(), X0Prediction(), VPrediction(), FlowPrediction()]
LEVEL = NoiseLevel(torch.tensor([-6.0, -1.0, 2.0, 7.0]))


def images(name):
    return randn_per_image([make_generator(name, index) for index in range(4)], (3, 4, 4))


class Wrong(nn.Module):
    """The exact network, off by the same error in x0 whatever is predicted."""

    def __init__(self, parameterisation):
        super().__init__()
        self.exact = ExactNetwork(TWO_PEAKS, X0Prediction())
        self.parameterisation = parameterisation

    def forward(self, z, log_snr, conditioning):
        x0 = self.exact(z, log_snr, conditioning) + 0.1 * images("error")
        level = NoiseLevel(log_snr)
        return self.parameterisation.target(x0, (z - level.alpha * x0) / level.sigma, level)


@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
def test_a_perfect_network_of_any_parameterisation_denoises_perfectly(parameterisation):
    z = images("z")
    denoiser = Denoiser(ExactNetwork(TWO_PEAKS, parameterisation), parameterisation, UnweightedLoss())
    without_text = some_text(4).without("text")
    torch.testing.assert_close(denoiser(z, LEVEL, without_text), TWO_PEAKS.denoise(z, LEVEL), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("weighting", [ConstantEpsWeighting(), MinSNRWeighting()])
@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS[1:])
def test_the_same_error_costs_the_same_whatever_is_predicted(parameterisation, weighting):
    x0, eps = images("x0"), images("eps")
    losses = [
        Denoiser(Wrong(predicted), predicted, weighting).loss(x0, eps, LEVEL, some_text(4))
        for predicted in (EpsPrediction(), parameterisation)
    ]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-7)


def test_the_paper_s_loss_is_the_mean_squared_error_of_eps_of_each_image():
    x0, eps = images("x0"), images("eps")
    denoiser = Denoiser(Wrong(VPrediction()), VPrediction(), ConstantEpsWeighting())
    z = LEVEL.add_noise(x0, eps)
    eps_hat = (z - LEVEL.alpha * denoiser(z, LEVEL, some_text(4))) / LEVEL.sigma
    loss = denoiser.loss(x0, eps, LEVEL, some_text(4))
    assert loss.shape == (4,)
    torch.testing.assert_close(loss, (eps_hat - eps).square().mean((1, 2, 3)), rtol=1e-3, atol=1e-6)


def test_the_exact_denoiser_has_a_lower_loss_than_any_near_it():
    generator = make_generator("pixels")
    component = torch.randint(2, (64, 3, 8, 8), generator=generator)
    x0 = torch.tensor(TWO_PEAKS.means)[component] + TWO_PEAKS.std * torch.randn(component.shape, generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    level = CosineSchedule(-5.0, 5.0).sample(64, generator, "cpu")

    def loss(offset, gain):
        class Changed(ExactNetwork):
            def forward(self, *inputs):
                return offset + gain * super().forward(*inputs)

        denoiser = Denoiser(Changed(TWO_PEAKS, X0Prediction()), X0Prediction(), UnweightedLoss())
        return denoiser.loss(x0, eps, level, some_text(64).without("text")).mean()

    best = loss(0.0, 1.0)
    assert all(best < other for other in (loss(0.05, 1.0), loss(-0.05, 1.0), loss(0.0, 1.1), loss(0.0, 0.9)))


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, z, log_snr, conditioning):
        assert z.dtype == log_snr.dtype == torch.float32
        self.prediction = self.layer(z)
        return self.prediction


@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
def test_under_autocast_only_the_network_is_in_low_precision(parameterisation):
    network = Convolution()
    denoiser = Denoiser(network, parameterisation, ConstantEpsWeighting())
    z = images("z")
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        loss = denoiser.loss(z, images("eps"), LEVEL, some_text(4))
        x0 = denoiser(z, LEVEL, some_text(4))
    assert network.prediction.dtype == torch.bfloat16
    assert x0.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(x0, parameterisation.to_x0(network.prediction.float(), z, LEVEL), rtol=0, atol=0)


def test_gradients_reach_the_network_through_the_loss():
    network = Convolution()
    denoiser = Denoiser(network, FlowPrediction(), MinSNRWeighting())
    denoiser.loss(images("x0"), images("eps"), LEVEL, some_text(4)).mean().backward()
    assert network.layer.weight.grad.abs().sum() > 0
