import math

import pytest
import torch

from imagen.diffusion.schedules import CosineSchedule, LinearSchedule
from imagen.diffusion.spacing import RhoSpacing, UniformLogSNR, UniformTime
from imagen.errors import UserError

SPACINGS = [UniformTime(), UniformLogSNR(), RhoSpacing()]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("schedule", [CosineSchedule(), LinearSchedule()])
@pytest.mark.parametrize("num_steps", [1, 2, 17])
def test_levels_go_from_noise_to_image_within_the_schedule(spacing, schedule, num_steps):
    log_snr = spacing(schedule, num_steps)
    lowest, highest = schedule.log_snr_range
    assert log_snr.shape == (num_steps,)
    assert log_snr.dtype == torch.float64
    assert (log_snr.diff() > 0).all()
    assert log_snr[0] >= lowest - 1e-9
    assert log_snr[-1] <= highest + 1e-9


def test_uniform_time_starts_at_time_one_and_steps_evenly_towards_zero():
    schedule = LinearSchedule()
    time = schedule.time_of(UniformTime()(schedule, 4))
    torch.testing.assert_close(time, torch.tensor([1.0, 0.75, 0.5, 0.25], dtype=torch.float64))


def test_uniform_log_snr_steps_evenly_from_the_noisy_end():
    log_snr = UniformLogSNR()(CosineSchedule(-10.0, 10.0), 4)
    torch.testing.assert_close(log_snr, torch.tensor([-10.0, -5.0, 0.0, 5.0], dtype=torch.float64))


def test_rho_spacing_is_the_one_of_edm():
    log_snr = RhoSpacing()(CosineSchedule(), 18)
    steps = torch.arange(18, dtype=torch.float64)
    edm = (80 ** (1 / 7) + steps / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7  # Karras et al. 2022, eq. 5
    torch.testing.assert_close((-log_snr / 2).exp(), edm)


def test_rho_spacing_does_not_leave_the_schedule():
    log_snr = RhoSpacing()(CosineSchedule(-5.0, 6.0), 9)
    assert (log_snr[0].item(), log_snr[-1].item()) == pytest.approx((-5, 6))
    with pytest.raises(UserError, match=r"sigma_min=50\.0"):
        RhoSpacing(sigma_min=50.0)(CosineSchedule(-5.0, 6.0), 9)


@pytest.mark.parametrize("wrong", [{"rho": 0.0}, {"sigma_min": -1.0}, {"sigma_min": 90.0}, {"sigma_max": math.nan}])
def test_an_impossible_rho_spacing_is_refused_with_its_values(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=f"{name}={value}"):
        RhoSpacing(**wrong)
