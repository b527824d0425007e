"""The work on an order: batch after batch, each saved as soon as it is done."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from imagen.cascade.settings import SamplingSettings
from imagen.cascade.stage import Watch
from imagen.commandline.outputs import Claim
from imagen.data.pixels import to_uint8
from imagen.diffusion.samplers import Estimate
from imagen.errors import UserError
from imagen.progress import Batches, counting_batches
from imagen.sampling.orders.kept import Kept
from imagen.sampling.orders.memory import is_out_of_memory, most_that_fit
from imagen.sampling.orders.order import Order
from imagen.sampling.text_to_image import TextToImage
from imagen.text.embeddings import TextEmbeddings


@dataclass
class Work:
    """Makes what is missing of an order.

    A batch of which a picture is missing is sampled whole, as an uninterrupted run samples it, so that the same batch
    size gives the same bytes.

    Args:
        model: samples at most `model.batch_size` pictures together.
        kept: where finished pictures are kept; it has the order.
        mine: the claim to that folder.
        files: all that the run will have written.
        anew: whether to make also what is there.
    """

    model: TextToImage
    kept: Kept
    mine: Claim
    files: Sequence[str]
    anew: bool = False
    finished: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        if not self.anew:
            self.finished = self.kept.finished()

    @property
    def order(self) -> Order:
        """What is asked for."""
        return self.kept.order

    @property
    def progress(self) -> str:
        """How many pictures of how many are finished, in words."""
        total = len(self.order)
        return f"{len(self.finished)} of {total} picture{'s are' if total > 1 else ' is'} finished"

    def run(self, way_on: str) -> None:
        """Make and keep every picture that is missing.

        Args:
            way_on: what goes on with the order, behind "the same command with cascade.batch_size=... and".

        Raises:
            UserError: if a batch needs more memory than there is; names a batch size that fits.
        """
        begun = False
        with counting_batches("sampling", len(self.order), len(self.finished)) as shown:
            for part in self.kept.parts(self.model.batch_size):
                if self.finished.issuperset(picture for batch in part for picture in batch):
                    continue
                with self.kept.writing(part) as save:
                    for batch in part:
                        missing = [place for place, picture in enumerate(batch) if picture not in self.finished]
                        stages = self._made(batch, len(missing), shown, way_on)
                        if not begun:
                            self._begin()
                            begun = True
                        save([batch[place] for place in missing], [pictures[missing] for pictures in stages])
                        shown.finish()
                self.finished.update(picture for batch in part for picture in batch)

    def _begin(self) -> None:
        """Write down which files are ours, before the first of them; and remove what killed processes left unfinished.
        None is at work now: the folder is locked."""
        self.mine.begin(self.files, keeping=not self.anew)
        for folder in {(self.mine.folder / file).parent for file in self.files}:
            for partial in folder.glob(".*.part"):
                if not partial.name.endswith(f".{os.getpid()}.part"):
                    partial.unlink(missing_ok=True)

    def _made(self, batch: Sequence[int], missing: int, shown: Batches, way_on: str) -> list[np.ndarray]:
        """The pictures of every stage, uint8."""
        settings = self.order.recipe_of(batch[0]).settings
        shown.begin(missing, self.model.cascade.evaluations(settings, self.order.edit.first(self.model.stages)))

        def watch(stage: str, estimate: Estimate) -> None:
            shown.evaluate()

        try:
            return self._sampled(batch, settings, watch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Out of the handler: there the failed batch, which its traceback holds, would still be in memory.
        once = [replace(one, sampler=replace(one.sampler, num_steps=1)) for one in settings]
        fitting = most_that_fit(len(batch), lambda pictures: self._sampled(batch[:pictures], once))
        raise UserError(self._out_of_memory(len(batch), fitting, way_on), environment=True)

    def _sampled(
        self, batch: Sequence[int], settings: Sequence[SamplingSettings], watch: Watch | None = None
    ) -> list[np.ndarray]:
        """The one place where pictures of an order are sampled: what a row may set is handed over here.

        Each batch embeds its own captions, as a run that goes on from it does.
        """
        text, keys = self.order.text_of(batch), [self.order.key_of(picture) for picture in batch]
        seeds, numbers = [seed for seed, _ in keys], [number for _, number in keys]
        inputs = self.order.edit.inputs(self.model.stages, settings, len(batch))
        negative = [self.order.row_of(picture).negative_prompt for picture in batch]
        made = self.model.sample(text, numbers, settings, seeds, inputs, negative, watch)
        if not isinstance(text, TextEmbeddings):
            self.model.text.forget()
        return [to_uint8(images) for images in made]

    def _out_of_memory(self, pictures: int, fitting: int | None, way_on: str) -> str:
        where = f"cascade.batch_size={self.model.batch_size}: out of memory"
        if fitting is None:
            way_out = "stop at a smaller stage with cascade.stop_at=base, or use another device"
            return f"{where}, one picture alone does not fit; {self.progress}; {way_out}"
        way_out = f"go on with the same command and cascade.batch_size={fitting} {way_on}"
        where = f"{where} with {pictures} pictures together, {fitting} fit"
        return f"{where} (tried with one step of each stage); {self.progress}; {way_out}"
