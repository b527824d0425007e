"""Orders carried out: the cascade is opened, pictures are sampled and kept, and can be watched while they form."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from imagen.data.pixels import to_uint8
from imagen.diffusion.samplers import Estimate
from imagen.errors import UserError
from imagen.inputs.captions import reads_text
from imagen.sampling.configured import configured_settings
from imagen.sampling.text_to_image import TextToImage
from imagen.web.cascades import Cascades, Choice
from imagen.web.composing import composed
from imagen.web.history import History, Made
from imagen.web.order import Order

SECONDS_BETWEEN_PREVIEWS = 0.3

Pictures = UInt8[np.ndarray, "_ _ _ 3"]


@dataclass(frozen=True)
class Forming:
    """Pictures of one order while they are sampled. `stage`: its name; `evaluation`: how often it was asked."""

    order: Order
    stage: str
    evaluation: int
    pictures: Pictures


News = list[Made | Forming]
"""Of each order that was begun: what was made, or what it looks like now."""


class Studio:
    """All calls must come from one thread: that of the `Worker`."""

    def __init__(self, cascades: Cascades, history: History) -> None:
        self._cascades = cascades
        self._history = history

    def carry_out(self, choice: Choice, orders: Sequence[Order], report: Callable[[News], None]) -> list[Made]:
        """The pictures of `orders`, one after the other, each in a folder of the history.

        Args:
            choice: the cascade.
            orders: what to make.
            report: called after every evaluation of a denoiser; what it raises ends the work.

        Raises:
            UserError: for what the stages cannot do.
        """
        report([])
        model = self._cascades.model(choice)
        done: list[Made] = []
        for order in orders:
            watch = _Watch(order, lambda forming: report([*done, *forming]))
            pictures = to_uint8(sampled(model, choice, order, watch))
            done.append(self._history.keep(choice, order, pictures, model))
        return done


def sampled(model: TextToImage, choice: Choice, order: Order, watch: Callable[[str, Estimate], object]) -> Any:
    """The pictures of the last stage, as `order.command` makes them.

    Raises:
        UserError: for what the stages cannot do.
    """
    if not order.prompts and reads_text(model.stages[0]):
        raise UserError("there is no prompt: write at least one, one a line")
    weights = [order.base.weight, *[order.others.weight] * (len(model.roles) - 1)]
    config = composed([*choice.overrides(), *order.settings(choice)])
    by_role = dict(zip(model.roles, configured_settings(config, model.roles, weights), strict=True))
    enlarging = model.roles[1:]
    return model.images(
        order.prompts or None,
        count=order.count,
        seed=order.seed,
        negative_prompt=order.negative_prompt,
        picture=order.picture,
        mask=order.mask,
        start_at=order.start_at,
        strength=order.strength,
        resample=order.resample,
        sampler={role: one.sampler for role, one in by_role.items()},
        thresholding={role: one.thresholding for role, one in by_role.items()},
        guidance={role: one.guidance for role, one in by_role.items()},
        aug_level={role: by_role[role].aug_level for role in enlarging},
        watch=watch,
    )


class _Watch:
    """Passes on what the pictures look like, but not more often than can be seen."""

    def __init__(self, order: Order, report: Callable[[list[Forming]], None]) -> None:
        self._order, self._report = order, report
        self._stage, self._evaluation, self._shown = "", 0, 0.0
        self._newest: list[Forming] = []

    def __call__(self, stage: str, estimate: Estimate) -> None:
        self._evaluation = self._evaluation + 1 if stage == self._stage else 1
        self._stage = stage
        now = time.monotonic()
        if now - self._shown >= SECONDS_BETWEEN_PREVIEWS:
            self._shown = now
            self._newest = [Forming(self._order, stage, self._evaluation, to_uint8(estimate.x0))]
        self._report(self._newest)
