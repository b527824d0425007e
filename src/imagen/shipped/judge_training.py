"""Trains the shapes judges: small CLIPModels, trained contrastively on scenes that no generator ever sees.

Each picture is contrasted with the other captions of its batch and with copies of its own caption that are wrong in one
attribute, so that the cosine falls even if a single word is wrong.
"""

from collections.abc import Callable
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from imagen.evaluation.judges.clip import pooled
from imagen.evaluation.judges.clip_preprocessing import ClipPreprocessing
from imagen.evaluation.judges.names import OPENAI_PREPROCESSING
from imagen.progress import track
from imagen.randomness import derive_seed, make_generator
from imagen.shapes import Description, Position, Scene, draw, sample_scene
from imagen.shapes.captions import caption
from imagen.shipped.judge_hints import Hints, sides_in_captions, sides_in_scenes
from imagen.shipped.judge_model import IMAGE_SIZE, JudgeRecipe, make_model
from imagen.shipped.negatives import contents, wrong_descriptions
from imagen.tensors import PerImage, Pixels

if TYPE_CHECKING:
    from transformers import CLIPModel

NEGATIVES = 3
"""Wrong captions for each picture, in different attributes as far as there are enough."""

CAPTION_POOL = 1536
"""Number of pictures of positions in the training of the caption tower."""

PREPROCESSING = ClipPreprocessing(IMAGE_SIZE, IMAGE_SIZE, OPENAI_PREPROCESSING.mean, OPENAI_PREPROCESSING.std)


def judge_scene(seed: int, index: int) -> Scene:
    """Scene `index` of a judge's own world. Training and held-out compositions alternate, so that it knows both."""
    return sample_scene(derive_seed("judge", seed), index, "held_out" if index % 2 else "train")


def draw_scenes(scenes: list[Scene], resolution: int) -> Pixels:
    """The pictures of the scenes."""
    return torch.from_numpy(np.stack([draw(scene, resolution) for scene in scenes]))


def train(recipe: JudgeRecipe, tokenizer: Any, started: "CLIPModel | None" = None) -> "CLIPModel":
    """Train a judge in three phases, each with new heads and a new optimizer. The result depends on the recipe alone,
    up to the order of floating-point sums. `started` is a model after the first phase.

    The order in a caption ("a left of b") is learned long after its words. Trained alone, on positions alone, the
    caption tower learns it in a few hundred cheap steps, and the picture tower follows.
    """
    model = started
    if model is None:
        model = make_model(recipe, tokenizer)
        _optimise(model, recipe, range(recipe.steps), "judge: pictures and captions", joint_loss(tokenizer, recipe))
    if recipe.caption_steps:
        loss = caption_loss(model, tokenizer, recipe)
        _optimise(model, recipe, range(recipe.caption_steps), "judge: positions in captions", loss)
    late = range(recipe.steps, recipe.steps + recipe.late_steps)
    if late:
        _optimise(model, recipe, late, "judge: both again", joint_loss(tokenizer, recipe))
    return model.eval()


StepLoss = Callable[["CLIPModel", Hints, int], Tensor]


def _optimise(model: "CLIPModel", recipe: JudgeRecipe, steps: range, description: str, loss_of: StepLoss) -> None:
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("judge-hints", recipe.seed))
        hints = Hints(recipe.width, recipe.projection)
    parameters = [*model.parameters(), *hints.parameters()]
    decayed = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.learning_rate,
        len(steps),
        pct_start=min(recipe.warmup / len(steps), 0.5),
        cycle_momentum=False,
    )
    for step in track(steps, description):
        loss = loss_of(model, hints, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=float(np.log(100)))


def joint_loss(tokenizer: Any, recipe: JudgeRecipe) -> StepLoss:
    """The contrastive loss of pictures and captions, plus the hints."""

    def loss_of(model: "CLIPModel", hints: Hints, step: int) -> Tensor:
        scenes = [judge_scene(recipe.seed, step * recipe.batch + i) for i in range(recipe.batch)]
        descriptions = [scene.description for scene in scenes]
        rng = np.random.default_rng(derive_seed("judge-negatives", recipe.seed, step))
        images = augment(draw_scenes(scenes, IMAGE_SIZE), make_generator("judge-augment", recipe.seed, step))
        embeddings: Any = model.get_image_features(pixel_values=PREPROCESSING(images))
        read = _read(model, tokenizer, descriptions, rng)
        return (
            contrastive_loss(pooled(embeddings), read, _groups(descriptions), model.logit_scale.exp())
            + hints.patch_loss(embeddings.last_hidden_state[:, 1:], scenes)
            + hints.embedding_loss(pooled(embeddings), sides_in_scenes(scenes), descriptions)
            + hints.embedding_loss(read[: recipe.batch], sides_in_captions(descriptions), descriptions)
        )

    return loss_of


def caption_loss(model: "CLIPModel", tokenizer: Any, recipe: JudgeRecipe) -> StepLoss:
    """The same for captions of positions, with picture features that are computed once and stay fixed."""
    indices = (index for index in count() if isinstance(judge_scene(-recipe.seed, index).description, Position))
    scenes = [judge_scene(-recipe.seed, index) for index in islice(indices, CAPTION_POOL)]
    with torch.inference_mode():
        pixels = draw_scenes(scenes, IMAGE_SIZE).split(recipe.batch)
        batches = [pooled(model.get_image_features(pixel_values=PREPROCESSING(batch))) for batch in pixels]
    features = torch.cat(batches).clone()
    descriptions = [scene.description for scene in scenes]

    def loss_of(model: "CLIPModel", hints: Hints, step: int) -> Tensor:
        rng = np.random.default_rng(derive_seed("judge-captions", recipe.seed, step))
        rows = rng.choice(len(scenes), 2 * recipe.batch, replace=False).tolist()
        chosen = [descriptions[row] for row in rows]
        read = _read(model, tokenizer, chosen, rng, negatives=1)
        return contrastive_loss(features[rows], read, _groups(chosen), model.logit_scale.exp()) + hints.embedding_loss(
            read[: len(rows)], sides_in_captions(chosen), chosen
        )

    return loss_of


def _read(
    model: "CLIPModel",
    tokenizer: Any,
    descriptions: list[Description],
    rng: np.random.Generator,
    negatives: int = NEGATIVES,
) -> Float[Tensor, "texts features"]:
    """Features of the captions, followed by those of `negatives` wrong captions for each of them."""
    wrong = [text for description in descriptions for text in _wrong_captions(description, negatives, rng)]
    tokens = tokenizer([caption(d) for d in descriptions] + wrong, padding=True, return_tensors="pt")
    return pooled(model.get_text_features(tokens["input_ids"], attention_mask=tokens["attention_mask"]))


def _groups(descriptions: list[Description]) -> Int64[Tensor, "batch"]:
    """A number for each description, equal for descriptions whose pictures may fit each other's captions."""
    keys = {key: number for number, key in enumerate(dict.fromkeys(contents(d) for d in descriptions))}
    return torch.tensor([keys[contents(description)] for description in descriptions])


def contrastive_loss(
    image_features: Float[Tensor, "batch features"],
    text_features: Float[Tensor, "texts features"],
    groups: Int64[Tensor, "batch"],
    scale: Tensor,
) -> Tensor:
    """CLIP's symmetric cross-entropy; each picture is also contrasted with its own wrong captions.

    `text_features`: the captions of the batch, then `NEGATIVES` wrong ones for each picture. Pictures of one group may
    fit each other's captions, so such pairs count neither as right nor as wrong.
    """
    batch = len(image_features)
    images = functional.normalize(image_features, dim=-1)
    texts = functional.normalize(text_features, dim=-1)
    right, wrong = texts[:batch], texts[batch:].unflatten(0, (batch, -1))
    others = (groups[:, None] == groups[None]) & ~torch.eye(batch, dtype=torch.bool)
    between = (scale * images @ right.T).masked_fill(others, float("-inf"))
    within = scale * torch.einsum("bf,bnf->bn", images, wrong)
    target = torch.arange(batch)
    image_to_text = functional.cross_entropy(torch.cat([between, within], dim=1), target)
    return (image_to_text + functional.cross_entropy(between.T, target)) / 2


def augment(pixels: Pixels, generator: torch.Generator) -> Pixels:
    """Slightly blur a quarter of the pictures (by resizing) and add slight noise to a third, so that features do not
    depend on traits that only clean drawings have. Both are mild, so that the features still reflect sharpness."""
    images = pixels.movedim(-1, 1).float()
    draws = torch.rand(len(images), 3, generator=generator)
    blurred = functional.interpolate(images, size=IMAGE_SIZE // 2, mode="bicubic", antialias=True)
    blurred = functional.interpolate(blurred, size=IMAGE_SIZE, mode="bicubic")
    images = torch.where((draws[:, 0] < 0.25)[:, None, None, None], blurred, images)
    strength: PerImage = torch.where(draws[:, 1] < 0.33, draws[:, 2] * 12, 0.0)
    noise = torch.randn(images.shape, generator=generator) * strength[:, None, None, None]
    return (images + noise).clamp(0, 255).round().to(torch.uint8).movedim(1, -1)


def _wrong_captions(description: Description, number: int, rng: np.random.Generator) -> list[str]:
    """`number` wrong captions with attributes in random order; attributes repeat if there are too few."""
    by_attribute = list(wrong_descriptions(description).values())
    order = rng.permutation(len(by_attribute))
    chosen = [by_attribute[order[i % len(order)]] for i in range(number)]
    return [caption(wrong[rng.integers(len(wrong))]) for wrong in chosen]
