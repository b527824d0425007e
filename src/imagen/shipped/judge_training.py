"""Trains the shapes judges: small CLIPModels, trained contrastively on scenes that no generator ever sees.

Each picture is contrasted with the other captions of its batch and with copies of its own caption that are wrong in one
attribute, so that the cosine falls even if a single word is wrong.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from imagen.clip.towers import pooled
from imagen.judging import training
from imagen.judging.augmentation import soften
from imagen.judging.model import make_model
from imagen.judging.training import Lessons, Phase, contrastive_loss
from imagen.randomness import derive_seed, make_generator
from imagen.shapes import Description, Position, Scene, draw, sample_scene
from imagen.shapes.captions import caption
from imagen.shipped.judge_hints import Hints, sides_in_captions, sides_in_scenes
from imagen.shipped.judge_model import IMAGE_SIZE, RECIPES, JudgeRecipe
from imagen.shipped.negatives import contents, wrong_descriptions
from imagen.tensors import Pixels

if TYPE_CHECKING:
    from transformers import CLIPModel

NEGATIVES = 3
"""Wrong captions for each picture, in different attributes as far as there are enough."""

CAPTION_POOL = 1536
"""Number of pictures of positions in the training of the caption tower."""

PREPROCESSING = RECIPES["a"].network.preprocessing


def judge_scene(seed: int, index: int) -> Scene:
    """Scene `index` of a judge's own world. Training and held-out compositions alternate, so that it knows both."""
    return sample_scene(derive_seed("judge", seed), index, "held_out" if index % 2 else "train")


def draw_scenes(scenes: list[Scene], resolution: int) -> Pixels:
    """The pictures of the scenes."""
    return torch.from_numpy(np.stack([draw(scene, resolution) for scene in scenes]))


def train(recipe: JudgeRecipe, tokenizer: Any, started: "CLIPModel | None" = None) -> "CLIPModel":
    """A judge of the shapes world. The result depends on the recipe alone, up to the order of floating-point sums.
    `started` is a model after the first phase."""
    model = make_model(recipe.network, tokenizer, recipe.seed) if started is None else started
    return training.train(model, ShapesLessons(recipe, tokenizer, begun=started is not None), recipe.optimisation)


class ShapesLessons(Lessons):
    """Three phases, each with new heads for the hints. The first is left out if it is `begun`.

    The order in a caption ("a left of b") is learned long after its words. Trained alone, on positions alone, the
    caption tower learns it in a few hundred cheap steps, and the picture tower follows.
    """

    def __init__(self, recipe: JudgeRecipe, tokenizer: Any, begun: bool = False) -> None:
        self.recipe, self.tokenizer, self.begun = recipe, tokenizer, begun

    def phases(self, model: "CLIPModel") -> Iterator[Phase]:
        recipe = self.recipe
        late = range(recipe.steps, recipe.steps + recipe.late_steps)
        if not self.begun:
            yield self._phase("judge: pictures and captions", range(recipe.steps), self._joint_loss(model))
        if recipe.caption_steps:
            caption_loss = self._caption_loss(model)
            yield self._phase("judge: positions in captions", range(recipe.caption_steps), caption_loss)
        if late:
            yield self._phase("judge: both again", late, self._joint_loss(model))

    def _phase(self, description: str, steps: range, loss_of: Callable[[Hints, int], Tensor]) -> Phase:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("judge-hints", self.recipe.seed))
            hints = Hints(self.recipe.width, self.recipe.projection)
        return Phase(description, steps, partial(loss_of, hints), hints)

    def _joint_loss(self, model: "CLIPModel") -> Callable[[Hints, int], Tensor]:
        """The contrastive loss of pictures and captions, plus the hints."""
        recipe = self.recipe

        def loss_of(hints: Hints, step: int) -> Tensor:
            scenes = [judge_scene(recipe.seed, step * recipe.batch + i) for i in range(recipe.batch)]
            descriptions = [scene.description for scene in scenes]
            rng = np.random.default_rng(derive_seed("judge-negatives", recipe.seed, step))
            images = soften(draw_scenes(scenes, IMAGE_SIZE), make_generator("judge-augment", recipe.seed, step))
            embeddings: Any = model.get_image_features(pixel_values=PREPROCESSING(images))
            read = _read(model, self.tokenizer, descriptions, rng)
            return (
                contrastive_loss(pooled(embeddings), read, may_fit(descriptions), model.logit_scale.exp())
                + hints.patch_loss(embeddings.last_hidden_state[:, 1:], scenes)
                + hints.embedding_loss(pooled(embeddings), sides_in_scenes(scenes), descriptions)
                + hints.embedding_loss(read[: recipe.batch], sides_in_captions(descriptions), descriptions)
            )

        return loss_of

    def _caption_loss(self, model: "CLIPModel") -> Callable[[Hints, int], Tensor]:
        """The same for captions of positions, with picture features that are computed once and stay fixed."""
        recipe = self.recipe
        indices = (index for index in count() if isinstance(judge_scene(-recipe.seed, index).description, Position))
        scenes = [judge_scene(-recipe.seed, index) for index in islice(indices, CAPTION_POOL)]
        with torch.inference_mode():
            pixels = draw_scenes(scenes, IMAGE_SIZE).split(recipe.batch)
            batches = [pooled(model.get_image_features(pixel_values=PREPROCESSING(batch))) for batch in pixels]
        features = torch.cat(batches).clone()
        descriptions = [scene.description for scene in scenes]

        def loss_of(hints: Hints, step: int) -> Tensor:
            rng = np.random.default_rng(derive_seed("judge-captions", recipe.seed, step))
            rows = rng.choice(len(scenes), 2 * recipe.batch, replace=False).tolist()
            chosen = [descriptions[row] for row in rows]
            read = _read(model, self.tokenizer, chosen, rng, negatives=1)
            contrast = contrastive_loss(features[rows], read, may_fit(chosen), model.logit_scale.exp())
            return contrast + hints.embedding_loss(read[: len(rows)], sides_in_captions(chosen), chosen)

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


def may_fit(descriptions: list[Description]) -> Bool[Tensor, "batch batch"]:
    """Which pictures and captions may fit each other: those of equal contents."""
    keys = {key: number for number, key in enumerate(dict.fromkeys(contents(d) for d in descriptions))}
    groups = torch.tensor([keys[contents(description)] for description in descriptions])
    return groups[:, None] == groups[None]


def _wrong_captions(description: Description, number: int, rng: np.random.Generator) -> list[str]:
    """`number` wrong captions with attributes in random order; attributes repeat if there are too few."""
    by_attribute = list(wrong_descriptions(description).values())
    order = rng.permutation(len(by_attribute))
    chosen = [by_attribute[order[i % len(order)]] for i in range(number)]
    return [caption(wrong[rng.integers(len(wrong))]) for wrong in chosen]
