"""The values of the form, as Gradio gives them, turned into orders."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imagen.errors import UserError
from imagen.stages.export import read_description
from imagen.web.cascades import Choice
from imagen.web.composing import How
from imagen.web.order import Order
from imagen.web.uploads import put_down_painting, put_down_picture

TEXT, ANEW, CHANGE, ENLARGE = "From text", "Paint anew", "Change", "Enlarge"
TASKS = (TEXT, ANEW, CHANGE, ENLARGE)

MOST_WEIGHTS = 10


@dataclass(frozen=True)
class Form:
    """What the fields hold, in the order in which the page passes them. Numbers may be missing (None)."""

    cascade: str
    task: str
    prompts: str
    negative: str
    count: Any
    seed: Any
    weight: Any
    sr_weight: Any
    sampler: str
    steps: Any
    sr_sampler: str
    sr_steps: Any
    thresholding: str
    painting: Mapping[str, Any] | None
    picture: str | None
    strength: Any
    resample: Any

    def order(self, choice: Choice, new_folder: Callable[[], Path]) -> Order:
        """The order for one guidance weight.

        Args:
            choice: the cascade.
            new_folder: makes the folder for the pictures to begin with, if there are any.

        Raises:
            UserError: for what cannot be used.
        """
        order = Order(
            prompts=[line.strip() for line in (self.prompts or "").splitlines() if line.strip()],
            count=whole(self.count, "pictures of each prompt"),
            seed=whole(self.seed, "seed"),
            base=How(self.sampler, whole(self.steps, "steps"), real(self.weight, "guidance weight")),
            others=How(
                self.sr_sampler,
                whole(self.sr_steps, "steps of the stages that enlarge"),
                real(self.sr_weight, "guidance weight of the stages that enlarge"),
            ),
            thresholding=self.thresholding,
            negative_prompt=(self.negative or "").strip() or None,
        )
        if self.task not in TASKS:
            raise UserError(f"task={self.task!r:.80}: no such choice; choose one of {', '.join(TASKS)}")
        return order if self.task == TEXT else self._edit(order, choice, new_folder)

    def _edit(self, order: Order, choice: Choice, new_folder: Callable[[], Path]) -> Order:
        if self.task == ENLARGE:
            if not choice.enlarging:
                raise UserError(f"{choice.name}: no stage of this cascade enlarges; choose another")
            return replace(order, picture=put_down_picture(self.picture, new_folder()), start_at=choice.enlarging[0])
        if self.task == CHANGE:
            strength = real(self.strength, "strength")
            return replace(order, picture=put_down_picture(self.picture, new_folder()), strength=strength)
        made = read_description(choice.stages[-1]).resolution
        picture, mask = put_down_painting(self.painting, made, new_folder())
        resample = whole(self.resample, "times each step is taken") or None  # 0: the default
        return replace(order, picture=picture, mask=mask, resample=resample)


def row_of_weights(order: Order, weights: str) -> list[Order]:
    """The order at each of `weights`, numbers with commas between them, on the same noise.

    Raises:
        UserError: for what is no such list.
    """
    values = [_parsed(text) for text in weights.replace(";", ",").split(",") if text.strip()]
    if not 1 <= len(values) <= MOST_WEIGHTS:
        raise UserError(f"row of weights: {len(values)} are given; give 1 to {MOST_WEIGHTS}, such as 1, 2, 3, 5, 8")
    return [replace(order, base=replace(order.base, weight=value)) for value in values]


def _parsed(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"row of weights: {text.strip()!r:.40} is not a number; write 1, 2, 3, 5, 8") from None


def whole(value: Any, name: str) -> int:
    """Raises UserError for what is no whole number; 3.0 is one, as JavaScript has no other."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise UserError(f"{name}: {_shown(value)} is no whole number; write one")
    return int(value)


def real(value: Any, name: str) -> float:
    """Raises UserError for what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{name}: {_shown(value)} is no number; write one")
    return float(value)


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{value!r:.40}"


def filled(made: Mapping[str, Any]) -> Sequence[Any]:
    """The fields that an order in the history came from, in their order from `prompts` to `thresholding`."""
    base, others = made["base"], made["others"]
    return [
        "\n".join(made["prompts"]), made["negative_prompt"] or "", made["count"], made["seed"],
        base["weight"], others["weight"], base["sampler"], base["steps"], others["sampler"], others["steps"],
        made["thresholding"],
    ]  # fmt: skip
