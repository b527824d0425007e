"""From block files to numbers with intervals."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from imagen.errors import UserError
from imagen.evaluation.judges import metric
from imagen.evaluation.judges.checker import tallies
from imagen.evaluation.judges.extractor import Extractor, cosines
from imagen.evaluation.prompts.prompt_set import PromptSet
from imagen.evaluation.results.categories import CategoryResult, measure_categories, measure_kinds, picture_scores
from imagen.evaluation.statistics.audit import Audit, audit_alignment, audit_frechet, audit_kernel
from imagen.evaluation.statistics.diversity import variance_within
from imagen.evaluation.statistics.extrapolation import frechet_at_infinity
from imagen.evaluation.statistics.frechet import Gaussian, frechet_distance
from imagen.evaluation.statistics.jackknife import (
    SAMPLES_PER_DIMENSION,
    Interval,
    Jackknife,
    enough_for_frechet,
    enough_for_mean,
    jackknife_frechet,
    jackknife_mean,
    wilson,
)
from imagen.evaluation.statistics.kernel_distance import CMMD, KID, KernelDistance
from imagen.evaluation.statistics.precision_recall import precision_recall
from imagen.evaluation.statistics.retrieval import caption_ranks
from imagen.evaluation.statistics.sliced_distance import SlicedDistance
from imagen.evaluation.sweep.blocks import Block
from imagen.evaluation.sweep.plan import Cell
from imagen.evaluation.sweep.sweep import Panel
from imagen.tensors import Features, PerImage

LARGE = 512
"""Features with more dimensions are audited in one cell only, because the libraries take seconds for each."""

NEIGHBOURS = 3
"""Kynkäänniemi et al. (2019): the ball of a picture reaches its third nearest neighbour."""


@dataclass(frozen=True)
class Measured:
    """The numbers of a cell; intervals and jackknives of those that have them; and the numbers by category, if the
    prompts have categories."""

    values: Mapping[str, float]
    intervals: Mapping[str, Interval]
    jackknives: Mapping[str, Jackknife]
    by_category: Mapping[str, CategoryResult]


class Summary:
    """Turns blocks into numbers, against reference features that are fitted once.

    `prompts`: those of the pictures that all cells and controls have. `all_prompts`: those of the longest cell, because
    a budget gives some cells more pictures.
    """

    def __init__(
        self,
        panel: Panel,
        prompts: PromptSet,
        reference: Mapping[str, Features],
        all_prompts: PromptSet,
    ) -> None:
        self.panel = panel
        self.prompts = prompts
        self.all_prompts = all_prompts
        self.reference = reference
        self.gaussians = {name: Gaussian.fit(features) for name, features in reference.items()}
        self.kid = {name: KernelDistance(KID, features) for name, features in reference.items()}
        self.mind = {name: SlicedDistance(features) for name, features in reference.items()}
        self.cmmd = {name: KernelDistance(CMMD, reference[name]) for name in panel.aligners}

    def measure(self, block: Block) -> Measured:
        """All numbers of a cell or control: distances, precision and recall, alignments, answers, retrieval, rates of
        the checker.

        Retrieval is among the captions of the block's own pictures, so it compares at equal numbers only. Pictures
        whose caption a judge cannot read whole are left out of its alignment and retrieval.
        """
        block = self._readable(block)
        values: dict[str, float] = {}
        jackknives: dict[str, Jackknife] = {}
        scores = picture_scores(self.panel, block)
        for judge in self.panel.judges:
            features = block.features[judge.name]
            if not features.isfinite().all():
                raise UserError(f"features of judge {judge.name} contain nan or infinity: its weights are broken")
            if len(features) > 1:
                self._distances(judge, features, values, jackknives)
            if aligner := self.panel.aligners.get(judge.name):
                _mean(aligner.alignment_key, scores, values, jackknives)
        for judge in self.panel.answerers:
            for measured in judge.metrics.values():
                _mean(measured.key, scores, values, jackknives)
        intervals = {name: jackknife.interval for name, jackknife in jackknives.items()}
        checked = {name: torch.tensor(found, dtype=torch.float64) for name, found in tallies(block.verdicts).items()}
        for name, answers in {**self._retrieval(block), **checked}.items():
            known = answers[~answers.isnan()]
            right, count = float(known.sum()), len(known)
            values[name] = right / count
            # Cautious where prompts repeat: as if the pictures of a prompt were one.
            intervals[name] = wilson(right / self.prompts.repeats, count / self.prompts.repeats)
            if enough_for_mean(answers):
                jackknives[name] = jackknife_mean(answers)
        prompts = self.all_prompts.prompts[: len(block)]
        by_category = measure_categories([prompt.category for prompt in prompts], self.panel, block)
        by_category |= measure_kinds([prompt.questions for prompt in prompts], self.panel.answerers, block)
        return Measured(values, intervals, jackknives, by_category)

    def _retrieval(self, block: Block) -> dict[str, Float64[Tensor, "batch"]]:
        """For each R@k of each judge that reads captions, whether each picture found its own caption, NaN if the judge
        cannot read it. No k that finds every caption, because there are no more than k."""
        found = {}
        for name, judge in self.panel.aligners.items():
            whole = self.whole[name][: len(block)]
            captions = [self.all_prompts.texts[index] for index in whole.nonzero()[:, 0].tolist()]
            if len(set(captions)) <= min(metric.RETRIEVAL):
                continue
            texts = self._texts[name][: len(block)]
            rank = torch.full((len(block),), torch.nan, dtype=torch.float64)
            rank[whole] = caption_ranks(block.features[name][whole], texts[whole], captions).double()
            for k, axis in metric.RETRIEVAL.items():
                if len(set(captions)) > k:
                    found[judge.metrics[axis].key] = (rank < k).double().masked_fill(~whole, torch.nan)
        return found

    @cached_property
    def whole(self) -> dict[str, Bool[Tensor, "prompts"]]:
        """By judge that reads captions, which of all prompts it reads whole."""
        texts = self.all_prompts.texts
        return {name: ~torch.tensor(judge.too_long(texts)) for name, judge in self.panel.aligners.items()}

    def _readable(self, block: Block) -> Block:
        """The block with NaN for the cosines of captions that a judge does not read whole."""
        cosines = {
            name: values.masked_fill(~self.whole[name][: len(block)], torch.nan)
            for name, values in block.cosines.items()
        }
        return replace(block, cosines=cosines)

    @cached_property
    def _texts(self) -> dict[str, Features]:
        return {name: judge.text_features(self.all_prompts.texts) for name, judge in self.panel.aligners.items()}

    def _distances(
        self, judge: Extractor, features: Features, values: dict[str, float], jackknives: dict[str, Jackknife]
    ) -> None:
        gaussian = self.gaussians[judge.name]
        if enough_for_frechet(*features.shape):
            jackknives[judge.fidelity_key] = jackknife_frechet(gaussian, features)
            values[judge.fidelity_key] = jackknives[judge.fidelity_key].value
            values[judge.metrics[metric.FRECHET_INF].key] = frechet_at_infinity(gaussian, features)
        else:
            values[judge.fidelity_key] = frechet_distance(gaussian, Gaussian.fit(features))
        for axis, distances in ((metric.KID, self.kid), (metric.MIND, self.mind), (metric.CMMD, self.cmmd)):
            if judge.name not in distances:
                continue
            key = judge.metrics[axis].key
            distance = distances[judge.name](features)
            values[key] = distance.value
            if len(distance.without):
                jackknives[key] = distance
        if self.prompts.repeats > 1:
            self._diversity(judge, features, values, jackknives)
        if min(len(features), len(self.reference[judge.name])) > NEIGHBOURS:
            both = precision_recall(features, self.reference[judge.name], NEIGHBOURS)
            for axis, value in zip((metric.PRECISION, metric.RECALL), both, strict=True):
                values[judge.metrics[axis].key] = value

    def _diversity(
        self, judge: Extractor, features: Features, values: dict[str, float], jackknives: dict[str, Jackknife]
    ) -> None:
        """The variance among pictures of one prompt as a share of that of the reference. Of true pictures there is
        none: each prompt has one."""
        within = variance_within(features, self.prompts.repeats)
        real = self.gaussians[judge.name].covariance.trace()
        if within.any() and real > 0:
            key = judge.metrics[metric.DIVERSITY].key
            jackknives[key] = jackknife_mean(within / real)
            values[key] = jackknives[key].value

    def shuffled_alignment(self, block: Block) -> dict[str, float]:
        """Mean alignment of pictures with the next picture's caption: a judge's value for unrelated captions. Of the
        pictures whose own caption it reads."""
        alignments = {}
        for name, judge in self.panel.aligners.items():
            whole = self.whole[name][: len(self.prompts)]
            if whole.sum() < 2:
                continue
            others = shuffled(judge.text_features(self.prompts.texts)[whole])
            mean = float(cosines(block.features[name][whole], others).mean())
            alignments[judge.alignment_key] = mean * judge.alignment_scale
        return alignments

    def audits(self, cells: Mapping[Cell, Block]) -> list[Audit]:
        """The Fréchet distances, KIDs and alignments computed again by torchmetrics and torch-fidelity from the same
        features."""
        audits = []
        for judge in self.panel.judges:
            for cell, block in cells.items():
                features, real = block.features[judge.name], self.reference[judge.name]
                if len(features) > 1:
                    audits.append(audit_frechet(f"{judge.fidelity_key} {cell.name}", features, real))
                    audits.append(audit_kernel(f"{judge.metrics[metric.KID].key} {cell.name}", features, real))
                aligner = self.panel.aligners.get(judge.name)
                if aligner and (whole := self.whole[judge.name][: len(self.prompts)]).any():
                    texts = aligner.text_features(self.prompts.texts)[whole]
                    mean = float(block.cosines[aligner.name][whole].mean()) * aligner.alignment_scale
                    label = f"{aligner.alignment_key} {cell.name}"
                    audits.append(audit_alignment(label, features[whole], texts, aligner.alignment_scale, mean))
                if features.shape[1] > LARGE:
                    break
        return audits

    def samples_per_dimension(self, count: int) -> dict[str, float]:
        """N / d of each Fréchet distance. Below 4 the bias is large, and distances are comparable at equal N only."""
        return {judge.fidelity_key: count / self.reference[judge.name].shape[1] for judge in self.panel.judges}

    def pictures_for_interval(self) -> dict[str, int]:
        """The number of pictures needed for an interval of each Fréchet distance."""
        return {
            judge.fidelity_key: SAMPLES_PER_DIMENSION * self.reference[judge.name].shape[1]
            for judge in self.panel.judges
        }


def _mean(key: str, scores: Mapping[str, PerImage], values: dict[str, float], jackknives: dict[str, Jackknife]) -> None:
    """Put the mean of `scores[key]` over the pictures that have it into `values`, and its jackknife."""
    if key not in scores:
        return
    known = scores[key][~scores[key].isnan()]
    if len(known):
        values[key] = float(known.mean())
    if enough_for_mean(scores[key]):
        jackknives[key] = jackknife_mean(scores[key])


def shuffled(text_rows: Tensor) -> Tensor:
    """Each row replaced by the next one: other pictures' captions, by a permutation without fixed points."""
    return torch.roll(text_rows, -1, dims=0)
