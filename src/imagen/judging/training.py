"""The training loop of all judges, and CLIP's loss. What a judge is taught, its lessons, comes from elsewhere."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from imagen.checks.arguments import Natural
from imagen.errors import UserError
from imagen.progress import track
from imagen.stages.lr import warmup_then_cosine

if TYPE_CHECKING:
    from transformers import CLIPModel


@dataclass(frozen=True)
class Optimisation:
    """AdamW with a learning rate that rises for `warmup` steps to `learning_rate` and falls to 0 along a cosine.
    Matrices decay by `weight_decay`.

    Raises UserError for a rate or decay that is out of range.
    """

    learning_rate: float = 1.5e-3
    warmup: Natural = 60
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate <= 1:
            raise UserError(f"learning_rate={self.learning_rate} of a judge must lie above 0 and not above 1")
        if not 0 <= self.weight_decay <= 10:
            raise UserError(f"weight_decay={self.weight_decay} of a judge must lie between 0 and 10")


@dataclass(frozen=True)
class Phase:
    """A part of the training, with an optimizer of its own.

    Args:
        description: for the lines of progress.
        steps: their numbers, from which everything random is drawn.
        loss_of: the loss of one step.
        heads: networks that are trained as well, and dropped after the phase.
    """

    description: str
    steps: range
    loss_of: Callable[[int], Tensor]
    heads: nn.Module | None = None


class Lessons(ABC):
    """What a judge is taught. The loop asks for a phase when the one before it is over."""

    @abstractmethod
    def phases(self, model: "CLIPModel") -> Iterator[Phase]:
        """The phases of the training of `model`, in order."""


def train(
    model: "CLIPModel",
    lessons: Lessons,
    optimisation: Optimisation,
    after_step: Callable[["CLIPModel", int], None] | None = None,
) -> "CLIPModel":
    """Teach `model` all phases of `lessons`; it is changed, and returned in evaluation mode. `after_step` is called
    with the number of every step that was taken.

    Raises:
        UserError: for a loss that is not finite.
    """
    for phase in lessons.phases(model):
        _take(phase, model, optimisation, after_step or (lambda model, step: None))
    return model.eval()


def _take(
    phase: Phase, model: "CLIPModel", settings: Optimisation, after_step: Callable[["CLIPModel", int], None]
) -> None:
    model.train()
    parameters = [*model.parameters(), *(phase.heads.parameters() if phase.heads else ())]
    decayed = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    scheduler = warmup_then_cosine(optimizer, min(settings.warmup, len(phase.steps) // 2), len(phase.steps))
    for step in track(phase.steps, phase.description):
        loss = phase.loss_of(step)
        if not loss.isfinite():
            raise UserError(
                f"{phase.description}: the loss is {loss.item()} at step {step + 1}; lower optimisation.learning_rate"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=float(np.log(100)))
        after_step(model, step)


def contrastive_loss(
    image_features: Float[Tensor, "batch features"],
    text_features: Float[Tensor, "texts features"],
    may_fit: Bool[Tensor, "batch batch"],
    scale: Tensor,
) -> Tensor:
    """CLIP's symmetric cross-entropy. Where there are wrong captions, each picture is also contrasted with its own.

    Args:
        image_features: of the pictures.
        text_features: of their captions, then of the same number of wrong captions for each picture, or of none.
        may_fit: [i, j] says that caption j may fit picture i. Such pairs count neither as right nor as wrong; the
            diagonal does not matter.
        scale: of the cosines.
    """
    batch = len(image_features)
    images = functional.normalize(image_features, dim=-1)
    texts = functional.normalize(text_features, dim=-1)
    right = texts[:batch]
    others = may_fit & ~torch.eye(batch, dtype=torch.bool, device=may_fit.device)
    between = (scale * images @ right.T).masked_fill(others, float("-inf"))
    logits = between
    if len(texts) > batch:
        wrong = texts[batch:].unflatten(0, (batch, -1))
        logits = torch.cat([between, scale * torch.einsum("bf,bnf->bn", images, wrong)], dim=1)
    target = torch.arange(batch, device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(between.T, target)) / 2
