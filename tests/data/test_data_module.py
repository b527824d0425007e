import logging
from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest
import torch

from imagen.data.batch import Batch
from imagen.data.image_folder import ImageFolderSource
from imagen.data.module import BadPictures, ImagenDataModule
from imagen.data.pixels import from_uint8, to_uint8
from imagen.data.shapes_source import ShapesSource
from imagen.data.source import AllButEveryNth, EveryNth, First
from imagen.data.transforms import Geometry
from imagen.diffusion.conditioning import resize
from imagen.errors import UserError
from imagen.text.embeddings import TextEmbeddings
from imagen.text.sources import NoText


@pytest.fixture
def module(text, numbers):
    def make(train=None, validation=None, **options: object) -> ImagenDataModule:
        defaults = {
            "resolution": 8,
            "source_resolution": 8,
            "crop_size": None,
            "batch_size": 4,
            "num_workers": 0,
            "seed": 0,
        }
        train = train or numbers(10)
        return ImagenDataModule(train, validation or numbers(7), text, **(defaults | options))

    return make


def first(data: ImagenDataModule, count: int = 3) -> list[Batch]:
    return list(islice(data.train_dataloader(), count))


def same(one: Batch, other: Batch) -> bool:
    return (
        one.position == other.position
        and one.captions == other.captions
        and all(torch.equal(getattr(one, n), getattr(other, n)) for n in ("images", "text", "text_mask", "ids"))
    )


def test_picture_caption_id_and_text_of_a_batch_belong_together(module):
    for batch in first(module()):
        assert batch.images.shape == (4, 3, 8, 8)
        for row, (image, caption, text) in enumerate(zip(batch.images, batch.captions, batch.text, strict=True)):
            number = batch.ids[row].item()
            assert caption == f"number {number}"
            assert (to_uint8(image[None])[0, :, :, 0] == number).all()
            assert text.tolist() == [[len(caption)] * 2] * 2
    assert [batch.position for batch in first(module())] == [0, 1, 2]


def test_batches_are_the_same_with_any_number_of_workers(module):
    options = {"resolution": 4, "crop_size": 3, "geometry": Geometry(random_crop=True, horizontal_flip=True)}
    alone, helped = first(module(**options), 5), first(module(num_workers=2, **options), 5)
    assert all(same(one, other) for one, other in zip(alone, helped, strict=True))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_batches_hold_the_pictures_before_they_were_reduced_if_asked(module, num_workers):
    source = ShapesSource(seed=1, size=8, split="train", resolution=16)
    data = module(source, source, resolution=4, source_resolution=16, num_workers=num_workers)
    assert first(data, 1)[0].large is None
    data.keep_large = True
    for batch in (first(data, 1)[0], next(iter(data.val_dataloader()))):
        assert batch.large.shape == (4, 3, 16, 16)
        assert torch.equal(resize(batch.large, 4), batch.images)
        assert batch.to("meta").large.device.type == "meta"


def test_a_loader_starts_where_the_state_says(module):
    through = first(module(), 6)
    data, resumed = module(), module()
    for batch in islice(data.train_dataloader(), 4):
        data.next_position = batch.position + 1
    resumed.load_state_dict(data.state_dict())
    assert all(same(one, other) for one, other in zip(first(resumed, 2), through[4:], strict=True))


def test_what_is_read_ahead_does_not_count_as_trained_on(module):
    data = module(num_workers=2)
    next(iter(data.train_dataloader()))
    assert data.state_dict()["next_position"] == 0


def test_another_batch_size_goes_on_with_the_next_picture_or_is_refused(module):
    state = {"next_position": 3, "global_batch_size": 4, "train_size": 10}
    data = module(batch_size=2)
    data.load_state_dict(state)
    assert data.next_position == 6
    order = torch.cat([batch.ids for batch in first(module(), 5)])
    assert torch.equal(first(data, 1)[0].ids, order[12:14])
    with pytest.raises(UserError, match=r"has seen 12 pictures.* now 5; keep it at 4"):
        module(batch_size=5).load_state_dict(state)


def test_a_changed_training_set_is_mentioned_on_resuming(module, caplog):
    with caplog.at_level(logging.WARNING):
        module().load_state_dict({"next_position": 3, "global_batch_size": 4, "train_size": 9})
    assert "has 10 rows now and had 9" in caplog.text


def test_small_pictures_are_made_by_the_resize_of_the_cascade(module, numbers):
    source = numbers(10, 32, 32)
    batch = first(module(source, source, resolution=8, source_resolution=32), 1)[0]
    large = from_uint8(np.stack([source[i].image for i in batch.ids.tolist()]))
    assert torch.equal(batch.images, resize(large, 8))


def test_training_windows_are_cut_from_the_stage_resolution(module, numbers):
    source = numbers(10, 16, 16)
    whole = first(module(source, resolution=16), 2)
    windows = first(module(source, resolution=16, crop_size=5), 2)
    corners = set()
    for one, other in zip(whole, windows, strict=True):
        assert other.images.shape == (4, 3, 5, 5)
        for image, window in zip(to_uint8(one.images), to_uint8(other.images), strict=True):
            top, left = window[0, 0, 1], window[0, 0, 2]
            assert np.array_equal(image[top : top + 5, left : left + 5], window)
            corners.add((int(top), int(left)))
    assert len(corners) > 4


def test_validation_is_every_row_once_in_order_with_a_short_last_batch(module):
    data = module(geometry=Geometry(random_crop=True, horizontal_flip=True))
    batches = list(data.val_dataloader())
    assert len(batches) == len(data.val_dataloader()) == 2
    assert [batch.ids.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6]]
    assert all(same(one, other) for one, other in zip(batches, data.val_dataloader(), strict=True))
    assert (to_uint8(batches[0].images)[0, 0, :, 2] == range(8)).all()  # not mirrored


def test_training_batches_have_no_end_and_say_so(module):
    with pytest.raises(TypeError):
        len(module().train_dataloader())


def test_the_captions_of_both_parts_are_prepared(module, text, numbers):
    module(numbers(3), numbers(2)).prepare_data()
    assert text.prepared == ["number 0", "number 1", "number 2", "number 0", "number 1"]


def test_held_out_rows_and_the_others_are_the_whole(numbers):
    for size in (2, 3, 10, 11):
        held_out, others = EveryNth(numbers(size), 3), AllButEveryNth(numbers(size), 3)
        ids = [[source[i].id for i in range(len(source))] for source in (held_out, others)]
        assert ids[0] == list(range(0, size, 3))
        assert sorted(ids[0] + ids[1]) == list(range(size))
        for source, rows in zip((held_out, others), ids, strict=True):
            assert list(source.captions()) == [f"number {row}" for row in rows]
    with pytest.raises(UserError, match=r"data\.train\.n=1: .*at least 2"):
        EveryNth(numbers(4), 1)
    with pytest.raises(UserError, match="nothing is left to train on"):
        AllButEveryNth(numbers(1), 2)


def test_the_first_rows_fill_every_batch_when_they_are_as_many(module, numbers):
    batches = first(module(First(numbers(100), 4)), 3)
    assert [sorted(batch.ids.tolist()) for batch in batches] == [[0, 1, 2, 3]] * 3
    with pytest.raises(UserError, match="first 5 rows of numbers: it has 4"):
        First(numbers(4), 5)


def test_the_shapes_world_is_drawn_as_large_as_the_stage_needs(module, text):
    source = ShapesSource(seed=0, size=50, split="train", resolution=16)
    again = ShapesSource(seed=0, size=50, split="train", resolution=16)
    assert all(np.array_equal(source[i].image, again[i].image) for i in (0, 7, 49))
    assert source[3].caption in set(source.captions())
    batch = first(module(source, source, resolution=32, source_resolution=16), 1)[0]
    assert batch.images.shape == (4, 3, 32, 32)
    drawn = ShapesSource(seed=0, size=50, split="train", resolution=32)
    assert np.array_equal(to_uint8(batch.images)[0], drawn[batch.ids[0].item()].image)
    other = ShapesSource(seed=1, size=50, split="train", resolution=16)
    assert any(source[i].caption != other[i].caption for i in range(10))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_picture_ends_the_run_with_one_line_from_any_process(module, numbers, workers):
    data = module(numbers(10, bad=frozenset({4})), num_workers=workers)
    with pytest.raises(UserError, match="numbers row 4: damaged; repair or remove it") as caught:
        first(data, 3)
    assert "\n" not in str(caught.value)


def test_a_few_bad_pictures_may_be_passed_over_each_being_listed(module, numbers, caplog):
    bad = BadPictures(max_share=0.001)
    data = module(numbers(1000, bad=frozenset({4})), bad_pictures=bad, batch_size=250)
    with caplog.at_level(logging.WARNING):
        batches = first(data, 8)  # two epochs
    ids = torch.cat([batch.ids for batch in batches]).tolist()
    assert 4 not in ids
    assert ids.count(5) == 4  # in the place of 4 too
    assert caplog.messages == ["skipped: numbers row 4: damaged"]


def test_validation_may_have_as_many_bad_pictures_as_training(module, numbers):
    bad = BadPictures(max_share=0.001)
    data = module(numbers(1000), numbers(10, bad=frozenset({4})), bad_pictures=bad, batch_size=5)
    assert [len(batch.ids) for batch in data.val_dataloader()] == [5, 5]


def test_more_bad_pictures_than_allowed_end_the_run(module, numbers):
    data = module(numbers(1000, bad=frozenset({4, 700})), bad_pictures=BadPictures(0.001), batch_size=250)
    with pytest.raises(
        UserError, match=r"2 of 1000 pictures \(2 damaged\) are unusable \(1 may be\), first numbers row"
    ):
        first(data, 4)


def test_small_pictures_are_counted_before_training(module, folder):
    source = ImageFolderSource(folder())
    with pytest.raises(
        UserError, match=r"6 of 6 pictures \(6 too small\) are unusable, first \S*0\.png \(metadata\.jsonl line 1\)"
    ):
        module(source, source, source_resolution=16).prepare_data()
    relaxed = module(source, source, source_resolution=16, geometry=Geometry(upscale=True))
    relaxed.prepare_data()
    assert first(relaxed, 1)[0].images.shape == (4, 3, 8, 8)
    unchecked = module(source, source, source_resolution=16, bad_pictures=BadPictures(check_first=False))
    unchecked.prepare_data()
    with pytest.raises(UserError, match=r"\.png \(metadata.jsonl line \d\): 12 × 10 pixels are fewer than"):
        first(unchecked, 1)


def test_a_picture_without_a_caption_trains_without_text(numbers, folder):
    source = ImageFolderSource(folder({2: b'{"file_name": "1.png", "text": " "}'}))
    words = {caption for caption in source.captions() if caption.strip()}

    class Words(NoText):
        """One token for a caption that says something."""

        def embed(self, captions: Sequence[str]) -> TextEmbeddings:
            lengths = tuple(int(caption in words) for caption in captions)
            return TextEmbeddings(torch.ones(sum(lengths), self.features), lengths)

    data = ImagenDataModule(source, source, Words(3), 8, 8, None, 6, 0, seed=0)
    batch = first(data, 1)[0]
    assert batch.text_mask.shape == (6, 1)
    assert batch.text_mask[:, 0].tolist() == [row != 1 for row in batch.ids.tolist()]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: at least 1"),
        ({"num_workers": -1}, "num_workers=-1: 0 or more"),
        ({"resolution": 0}, "resolution of the stage is 0"),
        ({"crop_size": 9}, "crop_size=9 must lie between 1 and the stage's resolution, 8"),
    ],
)
def test_numbers_out_of_range_are_refused(module, option, message):
    with pytest.raises(UserError, match=message):
        module(**option)


@pytest.mark.parametrize("share", [-0.1, 0.01, float("nan")])
def test_the_share_of_bad_pictures_is_limited(share):
    with pytest.raises(UserError, match="max_share"):
        BadPictures(max_share=share)
