"""What a sweep found: numbers by cell and by control, their audits, and the facts they depend on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from imagen.evaluation.arrays import Features, Pixels
from imagen.evaluation.blocks import Block
from imagen.evaluation.checker import accuracies
from imagen.evaluation.features import AlignmentJudge, Extractor, cosines
from imagen.evaluation.frechet import Gaussian, frechet_distance
from imagen.evaluation.metrics import Audit, audit_alignment, audit_frechet
from imagen.evaluation.prompts import PromptSet
from imagen.evaluation.sweep import Cell, shuffled

GROUND_TRUTH = "ground-truth"
NOISE = "noise"
SHUFFLED = "shuffled-captions"

LARGE = 512
"""Features above this size are audited in one cell only: the libraries' eigenvalues take seconds each."""


@dataclass(frozen=True)
class CellResult:
    """The numbers of one cell over `count` pictures."""

    cell: Cell
    count: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Results:
    """`controls`: the same metrics of real pictures of the prompts (the floor of the Fréchet distance, the ceiling of
    the alignment), of pure noise, and the alignment with other pictures' captions. `pictures`: the first pictures of
    every cell and control, for grids. `facts`: everything else that is written beside the numbers."""

    cells: Sequence[CellResult]
    controls: Mapping[str, Mapping[str, float]]
    audits: Sequence[Audit]
    judges: Sequence[Extractor]
    texts: Sequence[str]
    pictures: Mapping[str, Pixels]
    facts: Mapping[str, Any]

    @property
    def thresholdings(self) -> list[str]:
        return list(dict.fromkeys(result.cell.thresholding for result in self.cells))

    @property
    def weights(self) -> list[float]:
        return sorted({result.cell.guidance_weight for result in self.cells})

    @property
    def metric_names(self) -> list[str]:
        return list(dict.fromkeys(name for result in self.cells for name in result.metrics))

    def curve(self, thresholding: str) -> list[CellResult]:
        """The cells of one curve by ascending weight."""
        cells = [result for result in self.cells if result.cell.thresholding == thresholding]
        return sorted(cells, key=lambda result: result.cell.guidance_weight)


class Summary:
    """Turns blocks into numbers, against reference features that are fitted once."""

    def __init__(self, judges: Sequence[Extractor], prompts: PromptSet, reference: Mapping[str, Features]) -> None:
        self.judges = judges
        self.prompts = prompts
        self.reference = reference
        self.gaussians = {name: Gaussian.fit(features) for name, features in reference.items()}

    def metrics(self, block: Block) -> dict[str, float]:
        """All metrics of a cell or control: Fréchet distances, mean alignments, the checker's accuracies."""
        found = {}
        for judge in self.judges:
            if len(block.features[judge.name]) > 1:
                gaussian = Gaussian.fit(block.features[judge.name])
                found[judge.fidelity_key] = frechet_distance(self.gaussians[judge.name], gaussian)
            if isinstance(judge, AlignmentJudge):
                mean = float(block.cosines[judge.name].mean())
                found[judge.alignment_key] = mean * judge.alignment_scale
        return found | accuracies(block.verdicts)

    def shuffled_alignment(self, block: Block) -> dict[str, float]:
        """Mean alignment of the pictures with the next picture's caption: what a judge gives for none at all."""
        if len(self.prompts) < 2:
            return {}
        found = {}
        for judge in self.judges:
            if isinstance(judge, AlignmentJudge):
                others = shuffled(judge.text_features(self.prompts.texts))
                mean = float(cosines(block.features[judge.name], others).mean())
                found[judge.alignment_key] = mean * judge.alignment_scale
        return found

    def audits(self, cells: Mapping[Cell, Block]) -> list[Audit]:
        """Every number of every judge again, by torchmetrics and torch-fidelity, over the same features."""
        found = []
        for judge in self.judges:
            for cell, block in cells.items():
                features = block.features[judge.name]
                if len(features) > 1:
                    label = f"{judge.fidelity_key} {cell.name}"
                    found.append(audit_frechet(label, features, self.reference[judge.name]))
                if isinstance(judge, AlignmentJudge):
                    texts = judge.text_features(self.prompts.texts)
                    mean = float(block.cosines[judge.name].mean()) * judge.alignment_scale
                    label = f"{judge.alignment_key} {cell.name}"
                    found.append(audit_alignment(label, features, texts, judge.alignment_scale, mean))
                if features.shape[1] > LARGE:
                    break
        return found

    def samples_per_dimension(self, count: int) -> dict[str, float]:
        """N / d of each Fréchet distance: below 4 its bias is large, and comparable at equal N only."""
        return {judge.fidelity_key: count / self.reference[judge.name].shape[1] for judge in self.judges}


def noise_pictures(seed: int, ids: Sequence[int], resolution: int) -> Pixels:
    """Independent uniform pixels: what a broken model would give at best."""
    from imagen.randomness import make_generator

    shape = (resolution, resolution, 3)
    pictures = [
        torch.randint(0, 256, shape, generator=make_generator(seed, "noise picture", i), dtype=torch.uint8) for i in ids
    ]
    return torch.stack(pictures)
