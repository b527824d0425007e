import pytest
import torch

from imagen.diffusion.noise_level import NoiseLevel


def test_alpha_and_sigma_preserve_variance_and_have_the_given_ratio():
    log_snr = torch.linspace(-20, 20, 41, dtype=torch.float64)
    level = NoiseLevel(log_snr)
    assert level.alpha.shape == level.sigma.shape == (41, 1, 1, 1)
    torch.testing.assert_close(level.alpha**2 + level.sigma**2, torch.ones(41, 1, 1, 1, dtype=torch.float64))
    torch.testing.assert_close((level.alpha**2 / level.sigma**2).log().flatten(), log_snr)


def test_float32_keeps_sigma_precise_at_the_clean_end():
    """1 - alpha² would be zero here."""
    single, double = (NoiseLevel(torch.tensor([20.0], dtype=dtype)).sigma for dtype in (torch.float32, torch.float64))
    torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=0)


def test_each_image_gets_its_own_noise():
    x0, eps = torch.ones(2, 3, 4, 4), torch.full((2, 3, 4, 4), -1.0)
    z = NoiseLevel(torch.tensor([30.0, -30.0])).add_noise(x0, eps)
    torch.testing.assert_close(z, torch.stack([x0[0], eps[1]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(), (2, 1), (2, 1, 1, 1)])
def test_anything_but_one_number_for_each_image_is_refused(shape):
    with pytest.raises((ValueError, TypeError), match=r"log_snr"):
        NoiseLevel(torch.zeros(shape))
