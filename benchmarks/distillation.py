"""Whether distillation does what it should, in a minute: a teacher that is known exactly, and small students of it.

    python -m benchmarks.distillation

Pixels are of one of two Gaussians, with a caption of the first; so the teacher's estimates with the caption and without
are known in closed form, and guidance pushes away from the second. A student is a small network of its own for each
pixel. The first learns the guided estimate, told its weight; the next ones halve the steps: 16, 8, 4, each from the one
before. Printed is how far pictures are from those that the teacher makes of the same noise in 64 guided steps, as root
mean square over pixels; beside them the teacher's own in as few steps.
"""

import argparse
import math
import time
from collections.abc import Callable

import torch
from torch import nn

from imagen.diffusion.conditioning import Conditioning, TextSignal
from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.distillation.steps import Lesson, OneEstimate, StepsInOne, student_target
from imagen.diffusion.distillation.teacher import GuidedTeacher
from imagen.diffusion.distillation.told import GUIDANCE, GuidanceWeight, ToldGuidance
from imagen.diffusion.guidance import ClassifierFreeGuidance, Guidance
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.parameterisations import VPrediction
from imagen.diffusion.samplers import DDIMSampler
from imagen.diffusion.schedules import CosineSchedule
from imagen.diffusion.spacing import UniformTime
from imagen.diffusion.thresholding import NoThresholding
from imagen.diffusion.weightings import TruncatedSNRWeighting
from imagen.networks.embedding import fourier_features
from imagen.randomness import make_generator
from imagen.tensors import Images, PerImage

MEANS, STD = (0.4, -0.4), 0.3
UP_TO, WEIGHTS = 8.0, (1.0, 3.0, 6.0)
ROUNDS = (None, 16, 8, 4)
MANY = 64
SCHEDULE = CosineSchedule()
SHAPE = (1, 4, 4)
BATCH = 64

Denoise = Callable[[Images, NoiseLevel, Conditioning], Images]


def exact(z: Images, level: NoiseLevel, conditioning: Conditioning) -> Images:
    """E[x0 | z]: of the first Gaussian where there is a caption, of both where there is none."""
    variance = level.alpha.square() * STD**2 + level.sigma.square()
    means = torch.tensor(MEANS).reshape(-1, 1, 1, 1, 1)
    near = -(z - level.alpha * means).square() / (2 * variance)
    told = conditioning["text"].mask.any(dim=1)[:, None, None, None]
    near[1] = torch.where(told, -math.inf, near[1])
    estimates = means + level.alpha * STD**2 / variance * (z - level.alpha * means)
    return (near.softmax(dim=0) * estimates).sum(dim=0)


class PixelNetwork(nn.Module):
    """The same small MLP for every pixel, which is told noise level and guidance weight."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.told = nn.Linear(2 * 128, width)
        self.first, self.last = nn.Linear(1, width), nn.Linear(width, 1)
        self.middle = nn.ModuleList(nn.Linear(width, width) for _ in range(2))

    def forward(self, z: Images, log_snr: PerImage, conditioning: Conditioning) -> Images:
        weight = conditioning[GUIDANCE].weight
        told = self.told(torch.cat([fourier_features(log_snr), fourier_features(weight.log())], dim=1))
        x = nn.functional.silu(self.first(z.flatten(1)[..., None]) + told[:, None])
        for layer in self.middle:
            x = x + nn.functional.silu(layer(x))
        return self.last(x)[..., 0].reshape(z.shape)


def captioned(weights: torch.Tensor) -> Conditioning:
    text = TextSignal(torch.ones(len(weights), 1, 1), torch.ones(len(weights), 1, dtype=torch.bool))
    return Conditioning(text=text, **{GUIDANCE: GuidanceWeight(weights)})


def distil(student: Denoiser, teacher: GuidedTeacher, lesson: Lesson, steps: int, lr: float) -> None:
    """`steps` of Adam, the learning rate annealed to 0."""
    optimizer = torch.optim.Adam(student.parameters(), lr=lr)
    annealed = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for step in range(steps):
        generator = make_generator("distil", step)
        x0 = MEANS[0] + STD * torch.randn(BATCH, *SHAPE, generator=generator)
        paths = lesson.draw(BATCH, generator)
        conditioning = captioned(1 + (UP_TO - 1) * torch.rand(BATCH, generator=generator))
        level = NoiseLevel(paths[0].float())
        z = level.add_noise(x0, torch.randn(x0.shape, generator=generator))
        with torch.no_grad():
            target = student_target(lambda z, level, told=conditioning: teacher(z, level, told), z, paths)
        eps = (z - level.alpha * target) / level.sigma
        student.loss(target, eps, level, conditioning).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        annealed.step()


def pictures(denoise: Denoise, guidance: Guidance, steps: int, count: int) -> Images:
    noise = torch.randn(count, *SHAPE, generator=make_generator("noise"))
    conditioning = captioned(torch.ones(count))
    with torch.no_grad():
        sampler = DDIMSampler(steps, UniformTime())
        return sampler(lambda z, level: guidance(denoise, z, level, conditioning), SCHEDULE, noise, [])


def unlike(one: Images, other: Images) -> float:
    return (one - other).square().mean().sqrt().item()


def row(steps: int, passes: int, who: str, distances: list[float]) -> None:
    print(f"| {steps} | {passes} | {who} | " + " | ".join(f"{one:.4f}" for one in distances) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distillation", description=__doc__)
    parser.add_argument("--first", type=int, default=2000, help="training steps of the first student")
    parser.add_argument("--next", type=int, default=1000, help="training steps of every other student")
    parser.add_argument("--count", type=int, default=128, help="pictures, of 16 pixels each")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    began = time.process_time()
    plain = {weight: ClassifierFreeGuidance(weight) for weight in WEIGHTS}
    whole = {weight: pictures(exact, rule, MANY, arguments.count) for weight, rule in plain.items()}
    print("| steps | passes | who | " + " | ".join(f"w = {weight:g}" for weight in WEIGHTS) + " |")
    teacher = GuidedTeacher(exact, NoThresholding(), told=False)
    for steps in ROUNDS:
        student = Denoiser(PixelNetwork(), VPrediction(), TruncatedSNRWeighting())
        if isinstance(teacher.denoiser, Denoiser):
            student.load_state_dict(teacher.denoiser.state_dict())
        lesson = OneEstimate(SCHEDULE) if steps is None else StepsInOne(SCHEDULE, steps, UniformTime())
        first = steps is None
        distil(student, teacher, lesson, arguments.first if first else arguments.next, 3e-3 if first else 1e-3)
        walked = steps or MANY
        theirs = [pictures(exact, plain[weight], walked, arguments.count) for weight in WEIGHTS]
        row(walked, 2 * walked, "teacher", [unlike(one, whole[w]) for one, w in zip(theirs, WEIGHTS, strict=True)])
        mine = [pictures(student, ToldGuidance(weight), walked, arguments.count) for weight in WEIGHTS]
        row(walked, walked, "student", [unlike(one, whole[w]) for one, w in zip(mine, WEIGHTS, strict=True)])
        teacher = GuidedTeacher(student, NoThresholding(), told=True)
    spread = ", ".join(f"{whole[weight].std():.3f}" for weight in WEIGHTS)
    print(f"standard deviation of the pictures of {MANY} steps: {spread}")
    print(f"{time.process_time() - began:.0f} s of processor time")


if __name__ == "__main__":
    main()
