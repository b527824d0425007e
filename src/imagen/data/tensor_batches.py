"""Training batches from tensors in memory: for training from Python on images of one's own."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import distributed
from torch.utils.data import IterableDataset, get_worker_info

from imagen.checks.arguments import Natural, described, fits
from imagen.data.batch import Batch
from imagen.data.sampler import PositionKeyedBatchSampler, Share
from imagen.diffusion.conditioning import TextSignal
from imagen.errors import UserError
from imagen.tensors import Images


class TensorBatches(IterableDataset[Batch]):
    """Batches without end, in an order that depends on `seed` alone. A Lightning Trainer takes it as it is.

    `DataLoader(batches, batch_size=None, num_workers=2)` gives the same batches in the same order: the workers take
    turns. Lightning saves no place in the data, so a run is resumed with `start`:

        step = torch.load("last.ckpt", weights_only=True)["global_step"]
        trainer.fit(stage, TensorBatches(images, text, start=step), ckpt_path="last.ckpt", weights_only=True)

    Args:
        images: float32 in [-1, 1], of the stage's resolution.
        text: an embedded caption for each image; None trains without text, for networks with `text_features=1`.
        batch_size: images per batch and process.
        seed: of the order.
        start: number of batches to leave out: those that a run to resume has trained on, which are `global_step` of its
            checkpoint × `accumulate_grad_batches`.
        condition: a picture to condition on for each image, as large and cut as it is; None if the stage takes none.

    Raises:
        UserError: if there are no images, not one caption or picture to condition on for each, `batch_size` is below 1,
            or `start` below 0.
    """

    def __init__(
        self,
        images: Images,
        text: TextSignal | None = None,
        batch_size: int = 32,
        seed: int = 0,
        start: int = 0,
        condition: Images | None = None,
    ) -> None:
        self.images, self.text = images, TextSignal.none(len(images), features=1) if text is None else text
        if len(self.text) != len(images):
            raise UserError(f"{len(self.text)} captions for {len(images)} images; give one for each")
        if condition is not None and condition.shape != images.shape:
            shapes = f"{tuple(condition.shape)} for images of {tuple(images.shape)}"
            raise UserError(f"pictures to condition on of {shapes}; give one of the same size for each")
        if not fits(start, Natural):
            raise UserError(f"start={start!r:.80} must be {described(Natural)}")
        self.batch_size, self.seed, self.start, self.condition = batch_size, seed, start, condition
        self._sampler()

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for plan in islice(self._sampler(), first, None, step):
            rows = [draw.index for draw in plan.draws]
            text, ids = self.text.take(rows), torch.tensor(rows)
            condition = None if self.condition is None else self.condition[rows]
            yield Batch(self.images[rows], text.values, text.mask, ids, ("",) * len(rows), plan.position, condition)

    def _sampler(self) -> PositionKeyedBatchSampler:
        together = distributed.is_available() and distributed.is_initialized()
        share = Share(distributed.get_rank(), distributed.get_world_size()) if together else Share()
        return PositionKeyedBatchSampler(len(self.images), self.batch_size, self.seed, share, self.start)
