"""From several captions training draws one by (seed, position); validation uses the first."""

from itertools import islice

import numpy as np
import pytest
import torch

from imagen.data.module import ImagenDataModule
from imagen.data.source import Example, Source


class Captioned(Source):
    """Black pictures; row i has `numbers[i]` captions."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers

    @property
    def name(self) -> str:
        return "captioned"

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Example:
        return Example(np.zeros((8, 8, 3), np.uint8), self._captions(index), index)

    def captions_by_row(self) -> list[tuple[str, ...]]:
        return [self._captions(index) for index in range(len(self))]

    def _captions(self, index: int) -> tuple[str, ...]:
        return tuple(f"{index} {number}" for number in range(self.numbers[index]))


@pytest.fixture
def module(text):
    def make(seed: int = 0, numbers: tuple[int, ...] = (1, 3, 2, 3), workers: int = 0) -> ImagenDataModule:
        source = Captioned(list(numbers))
        return ImagenDataModule(source, source, text, 8, 8, None, batch_size=4, num_workers=workers, seed=seed)

    return make


def drawn(data: ImagenDataModule, batches: int = 40) -> list[str]:
    return [caption for batch in islice(data.train_dataloader(), batches) for caption in batch.captions]


def test_every_caption_is_drawn_about_as_often(module):
    found = drawn(module(), 300)
    counts = {caption: found.count(caption) for caption in set(found)}
    assert set(counts) == {"0 0", "1 0", "1 1", "1 2", "2 0", "2 1", "3 0", "3 1", "3 2"}
    assert all(70 < count < 130 for caption, count in counts.items() if caption[0] in "13")
    assert all(115 < count < 185 for caption, count in counts.items() if caption[0] == "2")


def test_the_draw_depends_on_seed_and_position_alone(module):
    through = drawn(module())
    assert drawn(module(workers=2)) == through
    assert drawn(module(seed=1)) != through
    data = module()
    data.load_state_dict({"next_position": 7, "global_batch_size": 4, "train_size": 4})
    assert drawn(data, 33) == through[28:]


def test_pictures_and_order_are_those_of_one_caption(module):
    several, one = (list(islice(module(numbers=numbers).train_dataloader(), 9)) for numbers in ((1, 3, 2, 3), (1,) * 4))
    assert all(torch.equal(left.ids, right.ids) for left, right in zip(several, one, strict=True))


def test_validation_takes_the_first_and_all_are_encoded(module, text):
    data = module()
    assert [batch.captions for batch in data.val_dataloader()] == [("0 0", "1 0", "2 0", "3 0")]
    data.prepare_data()
    assert set(text.prepared) == {"0 0", "1 0", "1 1", "1 2", "2 0", "2 1", "3 0", "3 1", "3 2"}
