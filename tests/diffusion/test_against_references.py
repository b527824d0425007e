"""Against diffusers' schedulers and the posterior of discrete DDPM: same noise and denoiser, same path."""

from dataclasses import dataclass

import pytest
import torch
from exact_denoisers import TWO_PEAKS, constant_level

from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.samplers import DDIMSampler, DDPMSampler, DPMSolverPP2M, HeunSampler
from imagen.diffusion.schedules import CosineSchedule
from imagen.diffusion.spacing import Spacing
from imagen.randomness import make_generator, randn_per_image

SHAPE = (3, 8, 8)
LINEAR = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
COSINE = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"}
UNUSED = CosineSchedule()


@dataclass(frozen=True)
class DiscreteLevels(Spacing):
    """The noise levels of a discrete scheduler, whatever the schedule."""

    log_snrs: tuple[float, ...]

    def __call__(self, schedule, num_steps):
        assert num_steps == len(self.log_snrs)
        return torch.tensor(self.log_snrs, dtype=torch.float64)

    @classmethod
    def of_timesteps(cls, scheduler):
        alpha_squared = scheduler.alphas_cumprod.double()[scheduler.timesteps]
        return cls(tuple((alpha_squared / (1 - alpha_squared)).log().tolist()))

    @classmethod
    def of_sigmas(cls, scheduler):
        return cls(tuple((-2 * scheduler.sigmas[scheduler.sigmas > 0].double().unique().flip(0).log()).tolist()))


@pytest.fixture
def noise():
    return randn_per_image(generators("noise"), SHAPE)


@pytest.fixture(scope="module")
def diffusers():
    return pytest.importorskip("diffusers")


def generators(key):
    return [make_generator(key, index) for index in range(2)]


def eps_of(z, log_snr):
    """What the perfect network predicts; the other samplers get the x0 that goes with it."""
    level = constant_level(log_snr, z)
    return (z - level.alpha * TWO_PEAKS.denoise(z, level)) / level.sigma


def trajectory(sampler, noise):
    """Every z the sampler asks about, then the picture."""
    seen = []

    def denoise(z, level):
        seen.append(z)
        return TWO_PEAKS.denoise(z, level)

    picture = sampler(denoise, UNUSED, noise, generators("ancestral"))
    return torch.stack([*seen, picture])


def reference(scheduler, levels, noise, **step):
    """The same of a diffusers scheduler in variance-preserving scale."""
    z, seen = noise, [noise]
    for timestep, log_snr in zip(scheduler.timesteps, levels.log_snrs, strict=True):
        z = scheduler.step(eps_of(z, log_snr), timestep, z, **step).prev_sample
        seen.append(z)
    return torch.stack(seen)


def assert_equal_to_1e_4(ours, theirs):
    assert ours.shape == theirs.shape
    distance = (ours - theirs).flatten(1).norm(dim=1) / theirs.flatten(1).norm(dim=1)
    assert distance.max() <= 1e-4, f"relative distance {distance.max():.2e}"


@pytest.mark.parametrize(
    ("variance_type", "gamma", "num_steps"),
    [("fixed_small", 0.0, 1000), ("fixed_small", 0.0, 40), ("fixed_large", 1.0, 50)],
)
def test_ancestral_trajectory_is_that_of_diffusers_ddpm(diffusers, noise, variance_type, gamma, num_steps):
    scheduler = diffusers.DDPMScheduler(
        **LINEAR, variance_type=variance_type, clip_sample=False, timestep_spacing="leading"
    )
    scheduler.set_timesteps(num_steps)
    levels = DiscreteLevels.of_timesteps(scheduler)
    theirs = reference(scheduler, levels, noise, generator=generators("ancestral"))
    assert_equal_to_1e_4(trajectory(DDPMSampler(num_steps, levels, gamma=gamma), noise), theirs)


@pytest.mark.parametrize("betas", [LINEAR, COSINE], ids=["linear", "cosine"])
@pytest.mark.parametrize("num_steps", [7, 100])
def test_deterministic_trajectory_is_that_of_diffusers_ddim(diffusers, noise, betas, num_steps):
    scheduler = diffusers.DDIMScheduler(**betas, clip_sample=False, timestep_spacing="leading", set_alpha_to_one=True)
    scheduler.set_timesteps(num_steps)
    levels = DiscreteLevels.of_timesteps(scheduler)
    theirs = reference(scheduler, levels, noise, eta=0.0)
    assert_equal_to_1e_4(trajectory(DDIMSampler(num_steps, levels), noise)[:-1], theirs[:-1])


@pytest.mark.parametrize("num_steps", [8, 20, 50])
def test_second_order_trajectory_is_that_of_diffusers_dpm_solver_multistep(diffusers, noise, num_steps):
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **LINEAR, algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint", final_sigmas_type="zero"
    )
    scheduler.set_timesteps(num_steps)
    levels = DiscreteLevels.of_sigmas(scheduler)
    assert_equal_to_1e_4(trajectory(DPMSolverPP2M(num_steps, levels), noise), reference(scheduler, levels, noise))


@pytest.mark.parametrize("num_steps", [5, 18])
def test_heun_trajectory_is_that_of_diffusers_heun(diffusers, noise, num_steps):
    scheduler = diffusers.HeunDiscreteScheduler(**LINEAR, use_karras_sigmas=True)
    scheduler.set_timesteps(num_steps)
    levels = DiscreteLevels.of_sigmas(scheduler)
    asked = [log_snr for log_snr in levels.log_snrs for _ in range(2)][1:]  # each level twice but the first
    alpha = [constant_level(log_snr, noise).alpha for log_snr in asked]
    z, theirs = noise / alpha[0], [noise]
    for index, (timestep, log_snr) in enumerate(zip(scheduler.timesteps, asked, strict=True)):
        z = scheduler.step(eps_of(alpha[index] * z, log_snr), timestep, z).prev_sample
        theirs.append(alpha[index + 1] * z if index + 1 < len(alpha) else z)
    assert_equal_to_1e_4(trajectory(HeunSampler(num_steps, levels), noise), torch.stack(theirs))


@pytest.mark.parametrize("step", [999, 500, 1])
def test_one_ancestral_step_is_the_posterior_of_discrete_ddpm(step):
    """Ho et al. 2020, eq. 7, in their own symbols."""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alphas_bar = torch.cumprod(1 - betas, dim=0)
    beta, bar, bar_before = betas[step], alphas_bar[step], alphas_bar[step - 1]
    z, x0 = (randn_per_image(generators(key), SHAPE).double() for key in ("z", "x0"))
    mean = bar_before.sqrt() * beta / (1 - bar) * x0 + (1 - beta).sqrt() * (1 - bar_before) / (1 - bar) * z
    variance = (1 - bar_before) / (1 - bar) * beta
    expected = mean + variance.sqrt() * randn_per_image(generators("ancestral"), SHAPE)

    levels = DiscreteLevels(tuple((a / (1 - a)).log().item() for a in (bar, bar_before)))
    seen = []

    def denoise(z, level: NoiseLevel):
        seen.append(z)
        return x0

    DDPMSampler(2, levels)(denoise, UNUSED, z, generators("ancestral"))
    torch.testing.assert_close(seen[1], expected, rtol=1e-9, atol=1e-9)
