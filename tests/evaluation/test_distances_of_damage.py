"""Every distance must rise with blur and with noise."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.v2.functional import gaussian_blur

from imagen.evaluation.judges.clip import ClipJudge
from imagen.evaluation.statistics.frechet import Gaussian, frechet_distance
from imagen.evaluation.statistics.kernel_distance import CMMD, KID, KernelDistance
from imagen.evaluation.statistics.sliced_distance import SlicedDistance
from imagen.shapes import draw, sample_scene

JUDGE = Path(__file__).parents[2] / "assets" / "judge_a"


@pytest.fixture(scope="module")
def judge():
    return ClipJudge(JUDGE, "shapes-judge-a", device="cpu")


@pytest.fixture(scope="module")
def pictures():
    return torch.from_numpy(np.stack([draw(sample_scene(31, index, "held_out"), 32) for index in range(96)]))


def blurred(pictures, strength):
    return gaussian_blur(pictures.movedim(-1, 1), 13, strength).movedim(1, -1).contiguous()


def noisy(pictures, strength):
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    return (pictures + 255 * strength * noise).round().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize(("damage", "strengths"), [(blurred, (0.7, 1.5, 3.0)), (noisy, (0.05, 0.15, 0.45))])
def test_every_distance_rises_with_damage(judge, pictures, damage, strengths):
    clean = judge.image_features(pictures)
    damaged = [clean, *(judge.image_features(damage(pictures, strength)) for strength in strengths)]
    frechet = [frechet_distance(Gaussian.fit(clean), Gaussian.fit(features)) for features in damaged]
    kernels = [[KernelDistance(form, clean)(features).value for features in damaged] for form in (KID, CMMD)]
    sliced = [SlicedDistance(clean)(features).value for features in damaged]
    assert all(low < high for found in (frechet, sliced, *kernels) for low, high in pairwise(found))
