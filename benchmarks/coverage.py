"""How often the 95 % intervals of Fréchet distances hold the truth, on Gaussians whose distance is known exactly.

    python benchmarks/coverage.py

Prints, for each number of pictures and features: the coverage, the mean plain and bias-corrected estimates over the
truth, and how much narrower the difference of two cells is with common noise than with independent noise (ratio of
standard deviations over the trials).
"""

import torch

from imagen.evaluation.frechet import Gaussian
from imagen.evaluation.jackknife import jackknife_frechet

TRIALS = 300
SIZES = ((128, 32), (512, 32), (2000, 32), (256, 64))
SHIFT, SCALE, MOVED = 0.05, 1.06, 0.06


def main() -> None:
    print("pictures features coverage plain/truth corrected/truth common/independent")
    for count, features in SIZES:
        print(f"{count:8d} {features:8d} " + " ".join(f"{value:8.3f}" for value in trial_figures(count, features)))


def trial_figures(count: int, features: int) -> tuple[float, float, float, float]:
    """Coverage, two ratios to the truth, ratio of standard deviations. See the module."""
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


if __name__ == "__main__":
    main()
