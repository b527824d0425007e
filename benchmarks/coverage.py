"""Coverage of the 95 % intervals of Fréchet distances, on features whose true distance is known exactly.

    python benchmarks/coverage.py

First for Gaussian features. For each number of pictures and features: the coverage, the mean plain and bias-corrected
estimates divided by the truth, and the ratio of standard deviations of a difference of two cells with common and with
independent noise. Then the coverage for other distributions: a Fréchet distance depends on mean and covariance alone,
but the sampling variation of these depends on the whole distribution.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from imagen.evaluation.statistics.frechet import Gaussian, frechet_distance
from imagen.evaluation.statistics.jackknife import jackknife_frechet

TRIALS = 300
SIZES = ((128, 32), (512, 32), (2000, 32), (256, 64))
OTHER_SIZES = ((64, 16), (100, 16), (256, 16), (1024, 16), (256, 64), (1024, 64))
SHIFT, SCALE, MOVED = 0.05, 1.06, 0.06


def main() -> None:
    print("pictures features coverage plain/truth corrected/truth common/independent")
    for count, features in SIZES:
        print(f"{count:8d} {features:8d} " + " ".join(f"{value:8.3f}" for value in trial_figures(count, features)))
    print("\npictures features " + " ".join(f"{name:>14s}" for name in DISTRIBUTIONS))
    for count, features in OTHER_SIZES:
        rates = (coverage(draw, count, features) for draw in DISTRIBUTIONS.values())
        print(f"{count:8d} {features:8d} " + " ".join(f"{rate:14.3f}" for rate in rates), flush=True)


def trial_figures(count: int, features: int) -> tuple[float, float, float, float]:
    """Coverage, two ratios to the truth, ratio of standard deviations; see the module docstring."""
    world = Gaussian(torch.zeros(features).double(), torch.eye(features).double(), 10**9)
    truth = features * (SHIFT**2 + (SCALE - 1) ** 2)
    hits, plain, corrected, common, independent = 0, [], [], [], []
    for trial in range(TRIALS):
        noise, other = (
            torch.randn(count, features, generator=torch.Generator().manual_seed(2 * trial + k)) for k in (0, 1)
        )
        found = jackknife_frechet(world, SHIFT + SCALE * noise)
        hits += found.interval.low <= truth <= found.interval.high
        plain.append(found.value)
        corrected.append(found.interval.estimate)
        common.append(jackknife_frechet(world, MOVED + SCALE * noise).value - found.value)
        independent.append(jackknife_frechet(world, MOVED + SCALE * other).value - found.value)
    narrower = torch.tensor(common).std() / torch.tensor(independent).std()
    return (hits / TRIALS, sum(plain) / TRIALS / truth, sum(corrected) / TRIALS / truth, float(narrower))


def gaussian(count: int, features: int, generator: torch.Generator) -> Tensor:
    return torch.randn(count, features, generator=generator)


def two_even(count: int, features: int, generator: torch.Generator) -> Tensor:
    """Two clusters of equal size, 3 standard deviations apart in every feature."""
    return _two(0.5, count, features, generator)


def two_uneven(count: int, features: int, generator: torch.Generator) -> Tensor:
    """The same, with a tenth of the pictures in one cluster."""
    return _two(0.1, count, features, generator)


def captions(count: int, features: int, generator: torch.Generator) -> Tensor:
    """Pictures of eight captions: eight equally likely clusters, with widths of a fifth of their distances."""
    centres = torch.randn(8, features, generator=torch.Generator().manual_seed(8))
    noise = 0.2 * torch.randn(count, features, generator=generator)
    return centres[torch.randint(8, (count,), generator=generator)] + noise


def heavy_tails(count: int, features: int, generator: torch.Generator) -> Tensor:
    """Student's t with 5 degrees of freedom; outlying pictures are outlying in all directions."""
    noise = torch.randn(count, features, generator=generator)
    return noise * (5 / torch.randn(count, 5, generator=generator).square().sum(dim=1, keepdim=True)).sqrt()


def positive(count: int, features: int, generator: torch.Generator) -> Tensor:
    """Log-normal, like activations after a ReLU: most values are small, few are large."""
    return (0.75 * torch.randn(count, features, generator=generator)).exp()


def _two(share: float, count: int, features: int, generator: torch.Generator) -> Tensor:
    noise = torch.randn(count, features, generator=generator)
    return noise + 3 * (torch.rand(count, 1, generator=generator) < share)


Draw = Callable[[int, int, torch.Generator], Tensor]
DISTRIBUTIONS: dict[str, Draw] = {
    "Gaussian": gaussian,
    "two clusters": two_even,
    "1 in 10 apart": two_uneven,
    "8 captions": captions,
    "heavy tails": heavy_tails,
    "log-normal": positive,
}
POPULATION = 200_000
"""Number of pictures that stand for the whole population; their distance to the reference is the truth."""


def coverage(draw: Draw, count: int, features: int) -> float:
    """The share of trials whose interval contains the true distance. The reference is wider and shifted in every
    direction, by 20 % of the standard deviation in all."""
    everything = draw(POPULATION, features, torch.Generator().manual_seed(10**6))
    population = Gaussian.fit(everything)
    deviations = population.covariance.diagonal().sqrt()
    mean = population.mean + 0.2 * deviations / features**0.5
    reference = Gaussian(mean, population.covariance * 1.1**2, 10**9)
    truth = frechet_distance(reference, population)
    hits = 0
    for trial in range(TRIALS):
        interval = jackknife_frechet(reference, draw(count, features, torch.Generator().manual_seed(trial))).interval
        hits += interval.low <= truth <= interval.high
    return hits / TRIALS


if __name__ == "__main__":
    main()
