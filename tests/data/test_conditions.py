"""Pictures to condition on: they come with their row, and are cut as its picture is."""

import numpy as np
import pytest
import torch

from imagen.data.loading import Assembler, Bucket, Sizes
from imagen.data.module import ImagenDataModule
from imagen.data.sampler import BatchPlan, Draw
from imagen.data.shapes_source import ShapesSource
from imagen.data.source import AllButEveryNth, EveryNth, Example
from imagen.data.transforms import Geometry
from imagen.errors import UserError
from imagen.shapes import draw, outline, sample_scene

RANDOM = Geometry(random_crop=True, horizontal_flip=True)


@pytest.fixture
def inverted(numbers):
    """Rows whose condition is the negative of their picture, so that it shows every cut; a row may lack it."""

    class Inverted(numbers):
        without, wider = (), ()
        has_conditions = True

        def __getitem__(self, index):
            example = super().__getitem__(index)
            condition = None if index in self.without else 255 - example.image
            if index in self.wider:
                condition = np.concatenate([condition, condition], axis=1)
            return Example(example.image, example.captions, index, condition=condition)

    return Inverted


def plan(rows):
    return BatchPlan(0, tuple(Draw(row, 1000 + row) for row in rows))


WHOLE, REDUCED, WINDOW = Sizes((12, 12), (12, 12)), Sizes((12, 12), (6, 6)), Sizes((12, 12), (8, 8), 3)


@pytest.mark.parametrize("sizes", [WHOLE, REDUCED, WINDOW], ids=["whole", "reduced", "window"])
def test_a_picture_and_what_it_is_conditioned_on_are_cut_flipped_and_reduced_alike(inverted, sizes):
    bucket = Bucket(inverted(16, height=20, width=14), sizes)
    assembled = Assembler([bucket], RANDOM, max_bad=0)[plan(range(16))]
    side = sizes.window or sizes.stage[0]
    assert assembled.condition.shape == assembled.images.shape == (16, 3, side, side)
    torch.testing.assert_close(assembled.condition, -assembled.images, atol=0.01, rtol=0)  # uint8 in between
    columns = assembled.images[:, 2, 0]
    flipped = columns[:, 0] > columns[:, -1]
    assert 0 < flipped.sum() < 16
    assert len({image.numpy().tobytes() for image in assembled.images[:, 1]}) > 3  # rows: cut at different places


def test_what_is_not_asked_for_is_neither_read_nor_given(numbers, text):
    source = numbers(8)
    module = ImagenDataModule(source, source, text, 8, 8, None, 2, 0, 0)
    assert next(iter(module.train_dataloader())).condition is None
    assert ShapesSource(0, 4, "train", 16)[0].condition is None


def test_a_batch_holds_them_on_every_way_to_a_stage(inverted, text):
    source = inverted(12)
    module = ImagenDataModule(AllButEveryNth(source, 3), EveryNth(source, 3), text, 8, 8, None, 2, 0, 0)
    for loader in (module.train_dataloader(), module.val_dataloader()):
        batch = next(iter(loader)).to("cpu")
        torch.testing.assert_close(batch.condition, -batch.images)


def test_a_row_without_one_or_with_one_of_another_size_is_refused_in_one_line(inverted):
    source = inverted(4)
    bucket = Bucket(source, Sizes((4, 4), (4, 4)))
    for lacking, message in (
        ("without", "numbers row 2: no picture to condition on; copy it there"),
        ("wider", "numbers row 2: 8 × 8 pixels, but 16 × 8 in the picture to condition on; give both of it the same"),
    ):
        source.without, source.wider = (), ()
        setattr(source, lacking, (2,))
        refused = Assembler([bucket], RANDOM, max_bad=0)[plan([1, 2])]
        assert refused.message.startswith(message)
        skipped = Assembler([bucket], RANDOM, max_bad=1)[plan([1, 2])]
        assert skipped.ids == (1, 3)


def test_the_shapes_world_draws_the_outline_of_the_same_scene_at_every_size():
    source = ShapesSource(0, 4, "train", 64, outlines=True).at(32)
    for row in range(4):
        scene = sample_scene(0, row, "train")
        assert np.array_equal(source[row].condition, outline(scene, 32))
        assert np.array_equal(source[row].image, draw(scene, 32))
    with pytest.raises(UserError, match="resolution 7 cannot be drawn"):
        outline(scene, 7)
