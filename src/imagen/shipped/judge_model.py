"""The recipes of the shapes judges, and the tokenizer that they share."""

from dataclasses import dataclass
from typing import Any

from imagen.judging import model as judging
from imagen.judging.model import JudgeNetwork
from imagen.judging.training import Optimisation
from imagen.shapes import all_captions

IMAGE_SIZE = 64


@dataclass(frozen=True)
class JudgeRecipe:
    """The settings that differ between judges. `seed` determines the weights, scenes and augmentation.

    `steps` of pictures and captions, `caption_steps` of the caption tower alone, `late_steps` of both again.
    """

    seed: int
    patch: int
    width: int
    layers: int
    text_width: int
    text_layers: int
    steps: int
    caption_steps: int
    late_steps: int
    batch: int = 64
    projection: int = 64
    learning_rate: float = 1.5e-3
    warmup: int = 60
    weight_decay: float = 0.05

    @property
    def network(self) -> JudgeNetwork:
        return JudgeNetwork(
            self.patch, self.width, self.layers, self.text_width, self.text_layers, self.projection, IMAGE_SIZE
        )

    @property
    def optimisation(self) -> Optimisation:
        return Optimisation(self.learning_rate, self.warmup, self.weight_decay)


RECIPES = {
    "a": JudgeRecipe(
        seed=7001,
        patch=8,
        width=128,
        layers=4,
        text_width=128,
        text_layers=2,
        steps=700,
        caption_steps=250,
        late_steps=250,
    ),
    "b": JudgeRecipe(
        seed=7002,
        patch=16,
        width=160,
        layers=4,
        text_width=64,
        text_layers=2,
        steps=800,
        caption_steps=500,
        late_steps=600,
    ),
}


def make_tokenizer() -> Any:
    """A tokenizer for which each word of the world's captions is one token."""
    return judging.make_tokenizer([*all_captions("train"), *all_captions("held_out")], 1024)
