"""What a judge of somebody's own pictures is taught: which caption belongs to which picture, without hints."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int64
from torch import Tensor

from imagen.data.sampler import PositionKeyedBatchSampler, Share
from imagen.evaluation.judges.clip import pooled
from imagen.judging.augmentation import Augmentation
from imagen.judging.model import MAX_TOKENS, JudgeNetwork
from imagen.judging.pictures import CaptionedPictures, Numbered
from imagen.judging.training import Lessons, Phase, contrastive_loss
from imagen.randomness import derive_seed, make_generator

if TYPE_CHECKING:
    from transformers import CLIPModel


class OwnLessons(Lessons):
    """One phase: batches of augmented pictures, each against the captions of the others.

    Of several captions of a picture one is drawn each time. A caption that also belongs to another picture of the batch
    does not count against it.

    Args:
        pictures: to train on.
        network: gives the preprocessing.
        tokenizer: of the captions.
        augmentation: of pictures and captions.
        seed: of the order, the drawn captions and the augmentation.
        steps: optimizer steps.
        batch_size: pictures of a step.
        autocast: whether the network computes in bfloat16.
        description: for the lines of progress.
    """

    def __init__(
        self,
        pictures: CaptionedPictures,
        network: JudgeNetwork,
        tokenizer: Any,
        augmentation: Augmentation,
        seed: int,
        steps: int,
        batch_size: int,
        autocast: bool,
        description: str,
    ) -> None:
        self.pictures, self.tokenizer, self.augmentation = pictures, tokenizer, augmentation
        self.seed, self.steps, self.autocast, self.description = seed, steps, autocast, description
        self.preprocessing = network.preprocessing
        self.numbered = Numbered(pictures.captions)
        size = min(batch_size, len(pictures))
        self.sampler = PositionKeyedBatchSampler(len(pictures), size, derive_seed("judge-order", seed), Share())

    def phases(self, model: "CLIPModel") -> Iterator[Phase]:
        yield Phase(self.description, range(self.steps), lambda step: self._loss(model, step))

    def _loss(self, model: "CLIPModel", step: int) -> Tensor:
        rows = torch.tensor([draw.index for draw in self.sampler.plan(step).draws])
        generator = make_generator("judge-own", self.seed, step)
        drawn = self._draw(rows, generator)
        chosen = [
            self.pictures.captions[row][number] for row, number in zip(rows.tolist(), drawn.tolist(), strict=True)
        ]
        device = model.logit_scale.device
        images = self.preprocessing(self.augmentation.pictures(self.pictures.pixels[rows], generator)).to(device)
        tokens = self.tokenizer(
            self.augmentation.captions(chosen, generator),
            padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt",
        ).to(device)  # fmt: skip
        with torch.autocast(device.type, torch.bfloat16, enabled=self.autocast):
            seen = pooled(model.get_image_features(pixel_values=images))
            read = pooled(model.get_text_features(tokens["input_ids"], attention_mask=tokens["attention_mask"]))
        may_fit = self.numbered.may_fit(rows, drawn).to(device)
        return contrastive_loss(seen.float(), read.float(), may_fit, model.logit_scale.exp())

    def _draw(self, rows: Int64[Tensor, "batch"], generator: torch.Generator) -> Int64[Tensor, "batch"]:
        """For each row the number of one of its captions."""
        counts = torch.tensor([len(self.pictures.captions[row]) for row in rows.tolist()])
        return (torch.rand(len(rows), generator=generator) * counts).long()
