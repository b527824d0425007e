import math

import pytest
import torch

from imagen.diffusion.schedules import (
    CosineSchedule,
    FlowSchedule,
    LinearSchedule,
    LogNormalSchedule,
    ShiftedSchedule,
)
from imagen.errors import UserError
from imagen.randomness import make_generator

SCHEDULES = [
    CosineSchedule(),
    CosineSchedule(-20.0, 10.0),
    LinearSchedule(),
    LinearSchedule(beta_min=2.0, beta_max=2.0),
    LinearSchedule(beta_min=0.0),
    ShiftedSchedule(CosineSchedule(), resolution=256),
    ShiftedSchedule(CosineSchedule(), resolution=16),
    ShiftedSchedule(LinearSchedule(), resolution=1024, reference_resolution=256),
    FlowSchedule(),
    FlowSchedule(shift=3.0),
    LogNormalSchedule(),
    LogNormalSchedule(p_mean=0.5, p_std=0.7, sigma_min=0.1, sigma_max=3.0),
]
TIME = torch.linspace(0, 1, 1001, dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_time_to_log_snr_and_back_is_the_identity(schedule):
    torch.testing.assert_close(schedule.time_of(schedule(TIME).log_snr), TIME, atol=1e-10, rtol=0)
    single = TIME.float()
    torch.testing.assert_close(schedule.time_of(schedule(single).log_snr), single, atol=1e-5, rtol=0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_log_snr_falls_strictly_with_time_and_is_finite_at_both_ends(schedule):
    log_snr = schedule(TIME).log_snr
    assert log_snr.isfinite().all()
    assert (log_snr.diff() < 0).all()
    lowest, highest = schedule.log_snr_range
    assert (lowest, highest) == (log_snr[-1].item(), log_snr[0].item())
    assert schedule(torch.tensor([0.0, 1.0])).log_snr.isfinite().all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_log_snr_out_of_range_is_at_the_nearer_end_of_time(schedule):
    assert schedule.time_of(torch.tensor([-50.0, 50.0])).tolist() == [1.0, 0.0]


def test_cosine_is_the_cosine_and_reaches_its_bounds():
    level = CosineSchedule(-20.0, 20.0)(TIME)
    torch.testing.assert_close(level.alpha.flatten(), torch.cos(math.pi / 2 * TIME), atol=1e-4, rtol=0)
    assert CosineSchedule(-12.0, 9.0).log_snr_range == pytest.approx((-12, 9), abs=1e-9)


def test_linear_follows_the_thousand_discrete_betas_of_the_paper():
    discrete = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    log_alpha_squared = torch.log1p(-discrete).cumsum(0)
    log_snr = log_alpha_squared - (-log_alpha_squared.expm1()).log()
    time = torch.arange(1000, dtype=torch.float64) / 999
    torch.testing.assert_close(LinearSchedule()(time).log_snr, log_snr, atol=0.1, rtol=0)
    torch.testing.assert_close(LinearSchedule().time_of(log_snr), time, atol=4e-3, rtol=0)


def test_shift_leaves_the_noise_of_the_reference_resolution_after_averaging_pixels():
    inner = CosineSchedule()
    shifted = ShiftedSchedule(inner, resolution=256, reference_resolution=64)
    level = shifted(TIME[1:-1])
    averaged_snr = 16 * level.log_snr.exp()  # the mean of 4 x 4 pixels has a sixteenth of the noise's variance
    time = inner.time_of(averaged_snr.log())
    assert (time.diff() > 0).all()
    torch.testing.assert_close(time, TIME[1:-1], atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("resolution", "ends"), [(256, (-15, 15 - 4 * math.log(2))), (16, (-15 + 4 * math.log(2), 15))]
)
def test_shifted_schedule_stays_in_the_range_of_the_one_it_shifts(resolution, ends):
    assert ShiftedSchedule(CosineSchedule(), resolution).log_snr_range == pytest.approx(ends, abs=1e-6)


def test_shift_by_nothing_changes_nothing():
    torch.testing.assert_close(ShiftedSchedule(FlowSchedule(), 64)(TIME).log_snr, FlowSchedule()(TIME).log_snr)


def test_flow_is_the_straight_path_from_image_to_noise():
    level = FlowSchedule(log_snr_min=-30.0, log_snr_max=30.0)(TIME[1:-1])
    share_of_noise = (level.sigma / (level.alpha + level.sigma)).flatten()
    torch.testing.assert_close(share_of_noise, TIME[1:-1], atol=1e-6, rtol=0)


def test_shift_of_flow_matches_the_formula_of_stable_diffusion_3():
    inner = TIME[1:-1]
    wide = {"log_snr_min": -40.0, "log_snr_max": 40.0}
    moved = 3 * inner / (1 + 2 * inner)
    torch.testing.assert_close(
        FlowSchedule(3.0, **wide)(inner).log_snr, FlowSchedule(**wide)(moved).log_snr, rtol=1e-5, atol=1e-5
    )
    assert FlowSchedule(3.0).log_snr_range == pytest.approx((-15, 15), abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_training_draws_put_one_time_in_each_stratum(batch_size):
    schedule = CosineSchedule()
    level = schedule.sample(batch_size, make_generator(0, "levels"), "cpu")
    assert level.log_snr.shape == (batch_size,)
    assert level.log_snr.dtype == torch.float32
    position = schedule.time_of(level.log_snr.double()) * batch_size
    assert sorted(position.floor().int().tolist()) == list(range(batch_size))
    offsets = position - position.floor()
    torch.testing.assert_close(offsets, offsets[:1].expand(batch_size), atol=1e-3, rtol=0)


def test_training_draws_come_in_random_order_and_from_the_generator_alone():
    draws = [CosineSchedule().sample(64, make_generator(seed), "cpu").log_snr for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0].argsort(), draws[2].argsort())
    assert not torch.equal(draws[0], draws[0].sort(descending=True).values)


def test_every_place_in_the_batch_sees_all_times_equally():
    schedule = FlowSchedule()
    generator = make_generator(0)
    first = torch.stack([schedule.sample(4, generator, "cpu").log_snr[0] for _ in range(2000)])
    counts = torch.histc(schedule.time_of(first), bins=10, min=0, max=1)
    assert (counts - 200).abs().max() < 5 * math.sqrt(180)  # five standard deviations of a binomial


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: CosineSchedule(5.0, -5.0), "5"),
        (lambda: CosineSchedule(-math.inf, 5.0), "-inf"),
        (lambda: CosineSchedule(math.nan, 5.0), "nan"),
        (lambda: LinearSchedule(beta_min=-1.0), "-1"),
        (lambda: LinearSchedule(log_snr_max=-20.0), "-20"),
        (lambda: FlowSchedule(shift=0.0), "0"),
        (lambda: FlowSchedule(shift=math.nan), "nan"),
        (lambda: ShiftedSchedule(CosineSchedule(), resolution=0), "0"),
        (lambda: LogNormalSchedule(p_std=0.0), r"p_std=0\.0"),
        (lambda: LogNormalSchedule(p_mean=math.inf), "p_mean=inf"),
        (lambda: LogNormalSchedule(sigma_min=90.0), r"sigma_min=90\.0"),
        (lambda: ShiftedSchedule(CosineSchedule(-1.0, 1.0), resolution=1024), "1024"),
    ],
)
def test_an_impossible_schedule_is_refused_with_its_value(make, names):
    with pytest.raises(UserError, match=names):
        make()
