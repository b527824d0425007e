"""Three calculators over the same stored features: ours, torchmetrics and torch-fidelity.

Ours gives the number; the libraries audit it. They share nothing but the features, so a disagreement is a defect of one
of them, and the report says so.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from imagen.evaluation.statistics.frechet import Gaussian, frechet_distance
from imagen.evaluation.statistics.kernel_distance import KID, KernelDistance
from imagen.tensors import Features, ReferenceFeatures

TOLERANCE = 1e-5
"""Largest relative difference between two calculators over the same features."""

EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Audit:
    """One number from each calculator. `agrees` when they are within `TOLERANCE` of ours, relative, and `rounding`, by
    which the calculators may differ though all are right: a small difference of large sums has no relative digits."""

    key: str
    ours: float
    torchmetrics: float
    torch_fidelity: float | None = None
    rounding: float = 0.0

    @property
    def relative_difference(self) -> float:
        """Largest |other - ours| / (|ours| + rounding / TOLERANCE); infinite where another is not a number."""
        others = [other for other in (self.torchmetrics, self.torch_fidelity) if other is not None]
        if not all(math.isfinite(number) for number in (self.ours, *others)):
            return math.inf
        largest = max(abs(other - self.ours) for other in others)
        return largest / (abs(self.ours) + self.rounding / TOLERANCE) if largest else 0.0

    @property
    def agrees(self) -> bool:
        return self.relative_difference <= TOLERANCE


def audit_frechet(key: str, generated: Features, reference: ReferenceFeatures) -> Audit:
    """The Fréchet distance of stored features by three routes, all in float64."""
    real, made = Gaussian.fit(reference), Gaussian.fit(generated)
    theirs = frechet_by_torchmetrics(generated, reference), frechet_by_torch_fidelity(generated, reference)
    return Audit(key, frechet_distance(real, made), *theirs, rounding=_rounding(real, made))


def _rounding(reference: Gaussian, other: Gaussian) -> float:
    """How far rounding may move a Fréchet distance that is computed by the root of Σ₁ Σ₂, as both libraries do.

    A change of δ in the product, its last digit, moves the root of an eigenvalue λ by δ / √λ, and by √δ where λ is
    zero: with fewer pictures than features that is 1e-8 and not 1e-16 of the covariances, for each feature. The last
    digit of a covariance is one of the squared mean too, which torchmetrics takes away from a sum of squares.
    """
    sides = (reference, other)
    means = [side.mean.square().sum() for side in sides]
    (large, digit), (large2, digit2) = (
        (value := torch.linalg.eigvalsh(side.covariance)[-1].clamp(min=0), EPS * (value + mean))
        for side, mean in zip(sides, means, strict=True)
    )
    delta = large * digit2 + large2 * digit + digit * digit2
    if delta == 0:
        return 0.0  # all features are zero
    values = torch.linalg.eigvalsh(reference.root @ other.covariance @ reference.root)
    traces = sum(side.covariance.trace() for side in sides) + sum(means)
    return float(2 * (delta / values.clamp(min=delta).sqrt()).sum() + 4 * EPS * traces)


def audit_alignment(key: str, image_features: Features, text_features: Features, scale: float, ours: float) -> Audit:
    """The mean cosine (times `scale`) against torchmetrics' CLIPScore. A negative mean is 0 in torchmetrics, so in
    `ours`."""
    theirs = clip_score_by_torchmetrics(image_features, text_features) / 100 * scale
    return Audit(key, max(ours, 0.0), theirs, rounding=100 * EPS * scale)


KERNEL_SAMPLE = 1000
"""Pictures on each side, as in KID's published subsets: the libraries hold whole kernel matrices."""


def audit_kernel(key: str, generated: Features, reference: ReferenceFeatures) -> Audit:
    """KID of the first pictures of both sides, equally many, by three routes in float64."""
    from torch_fidelity.metric_kid import kernel_mmd
    from torchmetrics.image.kid import poly_mmd

    count = min(len(generated), len(reference), KERNEL_SAMPLE)
    ours = KernelDistance(KID, reference[:count])(generated[:count]).value
    one, other = generated[:count].double(), reference[:count].double()
    theirs = float(poly_mmd(other, one)), float(kernel_mmd(one.numpy(), other.numpy()))
    largest = max(float(KID.kernel(side.square().sum(dim=1), side.shape[1]).max()) for side in (one, other))
    return Audit(key, ours, *theirs, rounding=100 * EPS * largest)


class _Identity(nn.Module):
    """Features in, features out: makes torchmetrics a calculator over stored features."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_by_torchmetrics(generated: Features, reference: ReferenceFeatures) -> float:
    """torchmetrics casts its result to the features' type, so they go in as float64."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Identity(generated.shape[1]))
    metric.update(reference.double(), real=True)
    metric.update(generated.double(), real=False)
    return float(metric.compute())


def frechet_by_torch_fidelity(generated: Features, reference: ReferenceFeatures) -> float:
    """torch-fidelity's statistics and formula, without its cache, which does not see the weights of an extractor."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    one, other = (fid_features_to_statistics(features.double()) for features in (generated, reference))
    return float(fid_statistics_to_metric(one, other, verbose=False)[KEY_METRIC_FID])


class _StoredClip:
    """Poses as a CLIP model and its processor for torchmetrics: the "captions" are row numbers of stored features."""

    def __init__(self, text_features: Features) -> None:
        self.text = text_features
        self.config = None

    def to(self, device: Any) -> "_StoredClip":
        return self

    def __call__(
        self, images: list[Tensor] | None = None, text: list[str] | None = None, **options: Any
    ) -> dict[str, Tensor]:
        if images is not None:
            return {"pixel_values": torch.stack(images)}
        assert text is not None, "torchmetrics asks for one of the two"
        rows = torch.tensor([int(row) for row in text])
        return {"input_ids": rows, "attention_mask": torch.ones_like(rows)}

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        return pixel_values.flatten(1)

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.text[input_ids]


def clip_score_by_torchmetrics(image_features: Features, text_features: Features) -> float:
    """torchmetrics' CLIPScore, max(100 · mean cosine, 0), of stored features."""
    stored = _StoredClip(text_features.double())
    score = clip_score_metric(stored, stored)
    score.update(list(image_features.double()[:, :, None, None]), [str(row) for row in range(len(image_features))])
    return float(score.compute())


def clip_score_metric(model: Any, processor: Any) -> Any:
    """torchmetrics' CLIPScore with a given model, float64 sums."""
    from torchmetrics.multimodal.clip_score import CLIPScore

    return CLIPScore(model_name_or_path=lambda: (model, processor)).set_dtype(torch.float64)
