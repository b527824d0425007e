"""Results made by hand from one number for each picture, so that every best and every difference is known."""

import torch

from imagen.evaluation.judges.extractor import AlignmentJudge
from imagen.evaluation.judges.metric import ALIGNMENT, CHECKED_ALL, FRECHET, Metric
from imagen.evaluation.results.results import GROUND_TRUTH, CellResult, Results
from imagen.evaluation.statistics.jackknife import jackknife_mean
from imagen.evaluation.sweep.plan import Cell

COUNT = 40
SPREAD = torch.linspace(-1, 1, COUNT, dtype=torch.float64)
"""What the pictures of every cell share: pairing cancels it."""
FLICKER = SPREAD[torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))] / 2
"""What a cell has for itself: its mean is zero, and no pairing cancels it."""

ALIGN, FD = "align[j]", "fd[j]"
METRICS = {ALIGN: Metric.of_judge(ALIGN, "j", ALIGNMENT), FD: Metric.of_judge(FD, "j", FRECHET)}


class Judge(AlignmentJudge):
    """Gives its metrics their names, and never looks at a picture."""

    name, fidelity_key, alignment_key, alignment_scale, identity = "j", FD, ALIGN, 1.0, {}
    image_features = text_features = too_long = None


def scores(mean, own=0.0):
    """One number for each picture, with the mean `mean`."""
    return mean + SPREAD + own * FLICKER


def cell(curve, weight, numbers):
    """`numbers`: by metric, scores of the pictures, or a plain number, which has no interval."""
    known = {key: jackknife_mean(one) for key, one in numbers.items() if isinstance(one, torch.Tensor)}
    values = {key: known[key].value if key in known else one for key, one in numbers.items()}
    count = max((len(one) for one in numbers.values() if isinstance(one, torch.Tensor)), default=COUNT)
    intervals = {key: one.interval for key, one in known.items()}
    return CellResult(Cell(curve, float(weight)), count, values, intervals, known)


def made(curves, pictures=None, texts=(), **facts):
    """`curves`: by label and weight, the numbers of `cell`."""
    cells = [cell(label, weight, numbers) for label, points in curves.items() for weight, numbers in points.items()]
    known = {
        "pictures_per_cell": COUNT, "resolution": 8, "reference": {"count": 99}, "samples_per_dimension": {},
        "pictures_for_interval": {}, "captions_too_long": {}, "taught_by": [], "weight_of": "base stage",
        "fingerprint": "0" * 64,
    }  # fmt: skip
    controls = {GROUND_TRUTH: {ALIGN: 9.0, FD: 0.5, CHECKED_ALL: 1.0}}
    return Results(cells, controls, [], [], [Judge()], list(texts), pictures or {}, known | facts)
