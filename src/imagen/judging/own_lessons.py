"""What a judge of somebody's own pictures is taught: which caption belongs to which picture, without hints."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from imagen.checks.arguments import Count
from imagen.clip.towers import pooled
from imagen.data.sampler import PositionKeyedBatchSampler, Share
from imagen.errors import UserError
from imagen.judging.augmentation import Augmentation
from imagen.judging.model import JudgeNetwork
from imagen.judging.pictures import CaptionedPictures, CaptionNumbers
from imagen.judging.training import Lessons, Phase, contrastive_loss
from imagen.randomness import derive_seed, make_generator

if TYPE_CHECKING:
    from transformers import CLIPModel

FEWEST_CAPTIONS = 2


@dataclass(frozen=True)
class Course:
    """How long and how a judge is taught.

    Args:
        seed: of the weights, the order, the drawn captions and the augmentation.
        steps: optimizer steps.
        batch_size: pictures of a step.
        augmentation: of pictures and captions.
        autocast: whether the network computes in bfloat16.
    """

    seed: int
    steps: Count
    batch_size: Count
    augmentation: Augmentation
    autocast: bool = False


class OwnLessons(Lessons):
    """One phase: batches of augmented pictures, each against the captions of the others.

    Of several captions of a picture one is drawn each time. A caption that also belongs to another picture of the batch
    does not count against it.

    Raises UserError if there are not two different captions, or a step has a single picture.
    """

    def __init__(
        self, pictures: CaptionedPictures, network: JudgeNetwork, tokenizer: Any, course: Course, description: str
    ) -> None:
        self.pictures, self.tokenizer, self.course, self.description = pictures, tokenizer, course, description
        self.preprocessing = network.preprocessing
        self.numbers = CaptionNumbers(pictures)
        if self.numbers.distinct < FEWEST_CAPTIONS:
            raise UserError(
                f"all {len(pictures)} training pictures have the caption {pictures.captions[0][0]!r:.60}: a judge "
                "learns to tell captions apart, so give at least two"
            )
        size = min(course.batch_size, len(pictures))
        if size < FEWEST_CAPTIONS:
            raise UserError(
                f"a step of {size} picture: a judge learns which of several captions belongs to a picture; "
                f"data.batch_size={course.batch_size} and {len(pictures)} training pictures must be 2 or more"
            )
        order = derive_seed("judge-order", course.seed)
        self.sampler = PositionKeyedBatchSampler(len(pictures), size, order, Share())

    def phases(self, model: "CLIPModel") -> Iterator[Phase]:
        if model.logit_scale.device.type == "cpu" and self.course.autocast:
            # On short sequences torch's fused attention takes most of the time there; without it a step is twice as
            # fast.
            model.set_attn_implementation("eager")
        yield Phase(self.description, range(self.course.steps), lambda step: self._loss(model, step))

    @property
    def pictures_seen(self) -> int:
        """In all steps, repeats included."""
        return self.course.steps * self.sampler.batch_size

    def _loss(self, model: "CLIPModel", step: int) -> Tensor:
        rows = torch.tensor([draw.index for draw in self.sampler.plan(step).draws])
        generator = make_generator("judge-own", self.course.seed, step)
        drawn = self.numbers.draw(rows, generator)
        texts = [self.pictures.captions[row][place] for row, place in zip(rows.tolist(), drawn.tolist(), strict=True)]
        device = model.logit_scale.device
        augmentation = self.course.augmentation
        images = self.preprocessing(augmentation.pictures(self.pictures.pixels[rows], generator)).to(device)
        tokens = self.tokenizer(
            augmentation.captions(texts, generator), padding=True, truncation=True, return_tensors="pt"
        ).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.course.autocast):
            seen = pooled(model.get_image_features(pixel_values=images))
            read = pooled(model.get_text_features(tokens["input_ids"], attention_mask=tokens["attention_mask"]))
        may_fit = self.numbers.may_fit(rows, drawn).to(device)
        return contrastive_loss(seen.float(), read.float(), may_fit, model.logit_scale.exp())
