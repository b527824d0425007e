"""Measures a shapes judge on scenes that it was not trained on, and writes its model card."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch.nn import functional

from imagen.evaluation.judges.clip import ClipJudge
from imagen.evaluation.judges.extractor import cosines
from imagen.evaluation.statistics.frechet import Gaussian, frechet_distance
from imagen.files import sha256_of_file
from imagen.shapes import Scene, Shape
from imagen.shapes.captions import caption
from imagen.shipped.judge_model import IMAGE_SIZE, JudgeRecipe
from imagen.shipped.judge_training import NEGATIVES, draw_scenes, judge_scene
from imagen.shipped.negatives import wrong_descriptions
from imagen.tensors import Pixels

FRESH_SEED = 7999
"""Seed of the scenes on which judges are measured; no judge is trained with it."""

Damage = Callable[[Pixels], Pixels]


@dataclass(frozen=True)
class JudgeFigures:
    """`accuracy`: by attribute, the share of pairs in which a picture's own caption scores above one that is wrong in
    that attribute alone. `distances`: Fréchet distances of `count` real or damaged pictures to `reference` others."""

    accuracy: Mapping[str, float]
    distances: Mapping[str, float]
    cosine_right: float
    cosine_shuffled: float
    count: int
    reference: int


def measure(judge: ClipJudge, count: int = 512, reference: int = 2048) -> JudgeFigures:
    """The figures of a judge on new scenes of the shapes world, half of them with held-out compositions."""
    scenes = [judge_scene(FRESH_SEED, index) for index in range(count + reference)]
    pixels = draw_scenes(scenes, IMAGE_SIZE)
    features = judge.image_features(pixels)
    gaussian = Gaussian.fit(features[count:])
    distances = {"real": frechet_distance(gaussian, Gaussian.fit(features[:count]))}
    for name, damage in DAMAGES.items():
        damaged = judge.image_features(damage(pixels[:count]))
        distances[name] = frechet_distance(gaussian, Gaussian.fit(damaged))
    kept = [i for i in range(count) if all(item.shape is not Shape.RING for item in scenes[i].objects)]
    distances["no rings (one shape of five dropped)"] = frechet_distance(gaussian, Gaussian.fit(features[kept]))
    texts = judge.text_features([scene.caption for scene in scenes[:count]])
    return JudgeFigures(
        accuracy=right_against_wrong(judge, scenes[:count], features[:count]),
        distances=distances,
        cosine_right=float(cosines(features[:count], texts).mean()),
        cosine_shuffled=float(cosines(features[:count], texts.roll(1, 0)).mean()),
        count=count,
        reference=reference,
    )


def right_against_wrong(judge: ClipJudge, scenes: list[Scene], features: torch.Tensor) -> dict[str, float]:
    """By attribute: the share of (picture, caption wrong in it) pairs with a higher cosine for the right caption."""
    won: dict[str, list[float]] = {}
    for scene, feature in zip(scenes, features, strict=True):
        right = cosines(feature[None], judge.text_features([scene.caption]))
        for attribute, wrong in wrong_descriptions(scene.description).items():
            texts = judge.text_features([caption(description) for description in wrong])
            scores = cosines(feature.expand(len(wrong), -1), texts)
            won.setdefault(attribute, []).append(float((scores < right).float().mean()))
    return {attribute: float(np.mean(shares)) for attribute, shares in won.items()}


def _blur(sigma: float) -> Damage:
    def damage(pixels: Pixels) -> Pixels:
        from torchvision.transforms.v2.functional import gaussian_blur

        size = 2 * int(3 * sigma) + 1
        return gaussian_blur(pixels.movedim(-1, 1), [size, size], [sigma, sigma]).movedim(1, -1).contiguous()

    return damage


def _noise(pixels: Pixels) -> Pixels:
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0)) * 20
    return (pixels + noise).clamp(0, 255).round().to(torch.uint8)


def _quarter(pixels: Pixels) -> Pixels:
    """Reduce to a quarter of the resolution and enlarge again, like a cascade without super-resolution."""
    images = functional.interpolate(pixels.movedim(-1, 1).float(), scale_factor=0.25, mode="bicubic", antialias=True)
    images = functional.interpolate(images, scale_factor=4, mode="bicubic")
    return images.clamp(0, 255).round().to(torch.uint8).movedim(1, -1).contiguous()


DAMAGES: Mapping[str, Damage] = {
    "blur σ = 1 pixel": _blur(1.0),
    "blur σ = 2 pixels": _blur(2.0),
    "16 × 16 enlarged": _quarter,
    "noise σ = 20 of 255": _noise,
}


BLIND_BELOW = 0.75
"""A card calls the judge blind to attributes with a lower accuracy; 0.5 is chance."""

CARD = """\
# shapes-judge-{name}

A small CLIPModel that says how well a picture of the shapes world fits its caption, and gives the features for a
Fréchet distance. It is for measuring generators of that world, never for training or guiding one. Its numbers are
called `fd[shapes-judge-{name}]` and `align[shapes-judge-{name}]`; they are not FID and not CLIP score.

Trained from nothing on captioned scenes of its own seed, training and held-out compositions in turn, by CLIP's
contrastive loss with {negatives} captions beside each picture that are wrong in one attribute, and by hints whose heads
are dropped: which object is at each patch and, asked of both embeddings, what is leftmost, rightmost, topmost and
lowest, which looks are there, how many objects. In between, the caption tower is taught positions alone. A quarter of
the pictures is slightly blurred, a third has some noise.

Recipe: {settings}.

    python -m imagen.shipped.train_judge --name {name} --out assets/judge_{name}

{minutes:.1f} minutes on {threads} CPU threads. {parameters:,} parameters, float32, {size:,} bytes; sha256 of
model.safetensors: `{sha256}`.

## Measured on {count} fresh scenes (seed {seed})

Cosine with the right caption {right:.3f}, with another picture's {shuffled:.3f}. How often the right caption beats one
that is wrong in one attribute only (0.5 is chance):

| attribute | right |
|:--|--:|
{accuracy}

{blind}

Fréchet distance of {count} pictures from {reference} other real ones ({projection} features):

| pictures | distance | times the floor |
|:--|--:|--:|
{distances}

What is not clearly above the floor, such as a slight blur, this judge's distance does not see.

Licence: Apache-2.0, as the rest of this repository; the training pictures are drawn by its own code.
"""


def model_card(name: str, recipe: JudgeRecipe, figures: JudgeFigures, judge: ClipJudge, seconds: float) -> str:
    """The text of MODEL_CARD.md for a judge that was trained in `seconds`."""
    weights = judge.folder / "model.safetensors"
    floor = figures.distances["real"]
    accuracy = [f"| {attribute} | {share:.3f} |" for attribute, share in figures.accuracy.items()]
    distances = [f"| {damage} | {value:.4f} | {value / floor:.1f} |" for damage, value in figures.distances.items()]
    return CARD.format(
        name=name,
        settings=", ".join(f"{key} {value}" for key, value in asdict(recipe).items()),
        minutes=seconds / 60,
        threads=torch.get_num_threads(),
        parameters=sum(p.numel() for p in judge.model.parameters()),
        size=weights.stat().st_size,
        sha256=sha256_of_file(weights),
        count=figures.count,
        seed=FRESH_SEED,
        right=figures.cosine_right,
        shuffled=figures.cosine_shuffled,
        accuracy="\n".join(accuracy),
        negatives=NEGATIVES,
        blind=_blind_to(figures),
        reference=figures.reference,
        projection=recipe.projection,
        distances="\n".join(distances),
    )


def _blind_to(figures: JudgeFigures) -> str:
    """The attributes to which the judge is blind, as a sentence for the card."""
    unseen = [attribute for attribute, share in figures.accuracy.items() if share < BLIND_BELOW]
    if not unseen:
        return "It sees all of them."
    return f"Blind to: {', '.join(unseen)}. Its cosine says next to nothing about that; the shapes checker does."
