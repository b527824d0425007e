"""Three calculators on the same stored features: ours, torchmetrics and torch-fidelity.

Ours gives the number; the libraries audit it. They share nothing but the features, so a disagreement is a defect in one
of them, and the report shows it.
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
"""Largest allowed relative difference between two calculators on the same features."""

EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Audit:
    """One number from each calculator. They agree within the relative `TOLERANCE` plus `rounding`, the absolute amount
    by which correct calculators may differ, because small differences of large sums lose their relative precision."""

    key: str
    ours: float
    torchmetrics: float
    torch_fidelity: float | None = None
    rounding: float = 0.0

    @property
    def relative_difference(self) -> float:
        """Largest |other - ours| / (|ours| + rounding / TOLERANCE); infinite if a number is not finite."""
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
    """Bound on the rounding error of a Fréchet distance that is computed by the root of Σ₁ Σ₂, as in both libraries.

    An error δ in the last digit of the product changes the root of an eigenvalue λ by δ / √λ, and by √δ if λ is zero.
    With fewer pictures than features that is 1e-8 and not 1e-16 of the covariances, for each feature. A covariance has
    the rounding error of the squared mean too, which torchmetrics subtracts from a sum of squares.
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
    """The mean cosine (times `scale`) against torchmetrics' CLIPScore. torchmetrics clips negative means to 0, so
    `ours` is clipped too."""
    theirs = clip_score_by_torchmetrics(image_features, text_features) / 100 * scale
    return Audit(key, max(ours, 0.0), theirs, rounding=100 * EPS * scale)


KERNEL_SAMPLE = 1000
"""Pictures per side, as in KID's published subsets, because the libraries keep whole kernel matrices in memory."""


def audit_kernel(key: str, generated: Features, reference: ReferenceFeatures) -> Audit:
    """KID of the first pictures of both sides, in equal numbers, by three routes in float64."""
    from torch_fidelity.metric_kid import kernel_mmd
    from torchmetrics.image.kid import poly_mmd

    count = min(len(generated), len(reference), KERNEL_SAMPLE)
    ours = KernelDistance(KID, reference[:count])(generated[:count]).value
    one, other = generated[:count].double(), reference[:count].double()
    theirs = float(poly_mmd(other, one)), float(kernel_mmd(one.numpy(), other.numpy()))
    largest = max(float(KID.kernel(side.square().sum(dim=1), side.shape[1]).max()) for side in (one, other))
    return Audit(key, ours, *theirs, rounding=100 * EPS * largest)


class _Identity(nn.Module):
    """Returns its input, so that torchmetrics works on stored features."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_by_torchmetrics(generated: Features, reference: ReferenceFeatures) -> float:
    """torchmetrics' distance. It returns the type of the features, so they are passed as float64."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Identity(generated.shape[1]))
    metric.update(reference.double(), real=True)
    metric.update(generated.double(), real=False)
    return float(metric.compute())


def frechet_by_torch_fidelity(generated: Features, reference: ReferenceFeatures) -> float:
    """torch-fidelity's statistics and formula, without its cache, whose key ignores the extractor's weights."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    one, other = (fid_features_to_statistics(features.double()) for features in (generated, reference))
    return float(fid_statistics_to_metric(one, other, verbose=False)[KEY_METRIC_FID])


class _StoredClip:
    """Stands in for a CLIP model and its processor in torchmetrics; its "captions" are rows of stored features."""

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
    """torchmetrics' CLIPScore with the given model and float64 sums."""
    from torchmetrics.multimodal.clip_score import CLIPScore

    return CLIPScore(model_name_or_path=lambda: (model, processor)).set_dtype(torch.float64)
