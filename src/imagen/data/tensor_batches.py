"""Training batches from tensors in memory: for training from Python on images of one's own."""

from collections.abc import Iterator

import torch
from torch import distributed
from torch.utils.data import IterableDataset

from imagen.data.batch import Batch
from imagen.data.sampler import PositionKeyedBatchSampler, Share
from imagen.diffusion.conditioning import TextSignal
from imagen.errors import UserError
from imagen.tensors import Images


class TensorBatches(IterableDataset[Batch]):
    """Batches without end, in an order that depends on `seed` alone. A Lightning Trainer takes it as it is.

    Args:
        images: float32 in [-1, 1], of the stage's resolution.
        text: an embedded caption for each image; None trains without text, for networks with `text_features=1`.
        batch_size: images per batch and process.
        seed: of the order.

    Raises:
        UserError: if there are no images, not one caption for each, or `batch_size` is below 1.
    """

    def __init__(self, images: Images, text: TextSignal | None = None, batch_size: int = 32, seed: int = 0) -> None:
        self.images, self.text = images, TextSignal.none(len(images), features=1) if text is None else text
        if len(self.text) != len(images):
            raise UserError(f"{len(self.text)} captions for {len(images)} images; give one for each")
        self.batch_size, self.seed = batch_size, seed
        self._sampler()

    def __iter__(self) -> Iterator[Batch]:
        for plan in self._sampler():
            rows = [draw.index for draw in plan.draws]
            text, ids = self.text.take(rows), torch.tensor(rows)
            yield Batch(self.images[rows], text.values, text.mask, ids, ("",) * len(rows), plan.position)

    def _sampler(self) -> PositionKeyedBatchSampler:
        together = distributed.is_available() and distributed.is_initialized()
        share = Share(distributed.get_rank(), distributed.get_world_size()) if together else Share()
        return PositionKeyedBatchSampler(len(self.images), self.batch_size, self.seed, share)
