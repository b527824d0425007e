"""Networks on a table of whole-numbered times: the table, its spacings, and the learned variance of a step."""

import math

import pytest
import torch

from imagen.diffusion.discrete.schedule import DiscreteSchedule
from imagen.diffusion.discrete.spacing import LeadingSpacing, ListedTimes
from imagen.diffusion.samplers import DDPMSampler
from imagen.diffusion.schedules import CosineSchedule
from imagen.diffusion.thresholding import DynamicThresholding
from imagen.errors import UserError
from imagen.randomness import make_generator

TABLES = [DiscreteSchedule(), DiscreteSchedule("linear"), DiscreteSchedule(steps=50)]


@pytest.mark.parametrize(("betas", "name"), [("cosine", "squaredcos_cap_v2"), ("linear", "linear")])
def test_table_is_that_of_diffusers(betas, name):
    scheduler = pytest.importorskip("diffusers").DDPMScheduler(beta_schedule=name)
    bars = scheduler.alphas_cumprod.double()
    expected = (bars / (1 - bars)).log()  # in float32, whose rounding is largest at t = 0
    torch.testing.assert_close(DiscreteSchedule(betas).table, expected, rtol=0, atol=2e-3)
    torch.testing.assert_close(DiscreteSchedule(betas).table[100:], expected[100:], rtol=0, atol=5e-5)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_levels_of_the_table_are_its_whole_numbered_times_again(table, dtype):
    t = torch.arange(table.steps)
    assert torch.equal(table.index_of(table.table.to(dtype)), t)
    assert torch.equal(table.index_of(table((t / table.steps).to(dtype)).log_snr), t)
    assert torch.equal(table(table.time_of(table.table.to(dtype))).log_snr, table.table.to(dtype))


@pytest.mark.parametrize("table", TABLES)
def test_a_level_between_two_of_the_table_is_told_as_the_nearer(table):
    low, high = table.table[10], table.table[9]
    near = torch.stack([low + 0.4 * (high - low), low + 0.6 * (high - low), high + 100, torch.tensor(-100.0)])
    assert table.index_of(near).tolist() == [10, 9, 0, table.steps - 1]


def test_training_draws_every_time_equally_often():
    table = DiscreteSchedule(steps=50)
    drawn = table.sample(5000, make_generator(0, "levels"), "cpu")
    counts = table.index_of(drawn.log_snr).bincount(minlength=50)
    assert drawn.log_snr.dtype == torch.float32
    assert counts.min() >= 99
    assert counts.max() <= 101


def test_leading_spacing_leaves_out_the_noisiest_times():
    table = DiscreteSchedule()
    t = table.index_of(LeadingSpacing()(table, 100))
    assert t.tolist() == list(range(990, -1, -10))
    assert table.index_of(LeadingSpacing()(table, 27)).tolist() == [37 * i for i in range(26, -1, -1)]


def test_listed_times_are_taken_as_they_are():
    table = DiscreteSchedule()
    assert torch.equal(ListedTimes([999, 500, 0])(table, 3), table.table[[999, 500, 0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiscreteSchedule("sigmoid"), r"betas of a discrete schedule are 'sigmoid'; choose cosine or linear"),
        (lambda: DiscreteSchedule(steps=1), r"steps of a discrete schedule are 1; they must be 2 to"),
        (lambda: DiscreteSchedule("linear", beta_end=1.0), r"they must be in \(0, 1\)"),
        (lambda: LeadingSpacing()(DiscreteSchedule(steps=5), 6), "num_steps of the sampler is 6, and the stage has 5"),
        (lambda: LeadingSpacing()(CosineSchedule(), 6), "leading spacing needs a stage .* has a CosineSchedule"),
        (lambda: ListedTimes([3, 3]), "each must be below the one before"),
        (lambda: ListedTimes([3, -1]), "whole numbers from 0 up"),
        (lambda: ListedTimes([]), "whole numbers from 0 up"),
        (lambda: ListedTimes([3, 1])(DiscreteSchedule(), 3), "num_steps of the sampler is 3 and 2 times are listed"),
        (lambda: ListedTimes([50, 1])(DiscreteSchedule(steps=50), 2), "is 50; the stage has 0 to 49"),
        (lambda: DynamicThresholding(cap=0.5), "cap of dynamic thresholding is 0.5; it must be at least 1"),
        (lambda: DynamicThresholding(cap=math.inf), "it must be at least 1, or null"),
    ],
)
def test_what_makes_no_table_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


class Told:
    """A denoiser that knows its picture, and says the same share for every value."""

    def __init__(self, x0, share):
        self.x0, self.gamma = x0, torch.full_like(x0, share)

    def __call__(self, z, level):
        return self.x0


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_learned_share_of_the_variance_is_that_which_a_number_would_give(share):
    x0, noise = torch.randn(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).unbind()
    paths = [
        sampler(Told(x0, share), DiscreteSchedule(), noise, [make_generator(0)])
        for sampler in (
            DDPMSampler(7, LeadingSpacing(), learned_variance=True),
            DDPMSampler(7, LeadingSpacing(), share),
        )
    ]
    seen = [
        sampler.step(Told(x0, share), noise, -3.0, -1.0, [make_generator(0)], None)[0]
        for sampler in (DDPMSampler(7, learned_variance=True), DDPMSampler(7, gamma=share))
    ]
    torch.testing.assert_close(*paths)
    torch.testing.assert_close(*seen)


def test_a_cap_clips_what_the_percentile_would_scale():
    x0 = torch.tensor([0.5, 1.0, 2.0, 4.0]).reshape(1, 1, 2, 2)
    assert DynamicThresholding(1.0)(x0).flatten().tolist() == [0.125, 0.25, 0.5, 1.0]
    assert DynamicThresholding(1.0, cap=2.0)(x0).flatten().tolist() == [0.25, 0.5, 1.0, 1.0]
    assert DynamicThresholding(1.0, cap=1.0)(x0).flatten().tolist() == [0.5, 1.0, 1.0, 1.0]
