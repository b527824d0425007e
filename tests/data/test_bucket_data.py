"""Pictures of many shapes through the DataModule: in buckets, whole, each seen once in validation."""

import json
import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from imagen.data.image_folder import ImageFolderSource
from imagen.data.module import BadPictures, ImagenDataModule
from imagen.data.pixels import from_uint8, to_uint8
from imagen.data.reading.problems import BadExampleError, Fault, Problem
from imagen.data.shapes_source import ShapesSource
from imagen.data.source import AllButEveryNth, EveryNth, Example, Source
from imagen.data.transforms import Geometry, resize_picture
from imagen.diffusion.conditioning import resize
from imagen.errors import UserError

BUCKETS = [[1, 1], [3, 4], [4, 3]]
SIZES = ((16, 16), (12, 16), (16, 12), (24, 24), (30, 40), (33, 24), (16, 16), (17, 12))
CELLS = {(16, 16): (16, 16), (24, 24): (16, 16), (12, 16): (12, 16), (30, 40): (12, 16), (16, 12): (16, 12),
         (33, 24): (16, 12), (17, 12): (16, 12)}  # fmt: skip
"""The size of the bucket that a picture belongs to, at 16 × 16."""


class SizedSource(Source):
    """Row i is a picture of size `sizes[i % len(sizes)]` whose blue tells i; those in `bad` cannot be decoded, those in
    `unreadable` have no header either."""

    def __init__(
        self, count: int, sizes=SIZES, bad: Iterable[int] = (), unreadable: Iterable[int] = (), title: str = "sized"
    ) -> None:
        self.count, self._sizes, self.title = count, sizes, title
        self.bad, self.unreadable = {*bad, *unreadable}, set(unreadable)

    @property
    def name(self) -> str:
        return self.title

    def __len__(self) -> int:
        return self.count

    def size(self, index: int) -> tuple[int, int]:
        return self._sizes[index % len(self._sizes)]

    def __getitem__(self, index: int) -> Example:
        if index in self.bad:
            raise BadExampleError(f"{self.where(index)}: damaged")
        height, width = self.size(index)
        rows, columns = np.mgrid[:height, :width]
        picture = np.stack([rows, columns, np.full_like(rows, index)], axis=-1).astype(np.uint8)
        return Example(picture, (f"number {index}",), index)

    def captions_by_row(self) -> list[tuple[str, ...]]:
        return [(f"number {index}",) for index in range(self.count)]

    def sizes(self) -> Iterator[tuple[int, int] | Problem]:
        for row in range(self.count):
            unreadable = row in self.unreadable
            yield Problem(row, Fault.DAMAGED, f"sized row {row}: damaged") if unreadable else self.size(row)


@pytest.fixture
def module(text):
    def make(train: Source | None = None, validation: Source | None = None, **options) -> ImagenDataModule:
        train = train or SizedSource(48)
        defaults = {"resolution": 8, "source_resolution": 16, "crop_size": None, "batch_size": 4, "num_workers": 0,
                    "seed": 0, "geometry": Geometry(buckets=BUCKETS, bucket_steps=4)}  # fmt: skip
        return ImagenDataModule(train, validation or train, text, **(defaults | options))

    return make


def test_a_batch_holds_pictures_of_one_shape_at_the_size_of_the_stage(module):
    source, seen = SizedSource(48), set()
    for batch in islice(module(source).train_dataloader(), 40):
        height, width = batch.images.shape[-2:]
        assert {CELLS[source.size(row)] for row in batch.ids.tolist()} == {(2 * height, 2 * width)}
        assert batch.captions == tuple(f"number {row}" for row in batch.ids.tolist())
        seen.add((height, width))
    assert seen == {(8, 8), (6, 8), (8, 6)}


def test_a_picture_of_the_shape_of_its_bucket_is_seen_to_its_edges_and_reduced_as_the_cascade_does(module):
    source = SizedSource(48)
    for batch in islice(module(source).train_dataloader(), 12):
        for image, row in zip(batch.images, batch.ids.tolist(), strict=True):
            if source.size(row) in ((33, 24), (17, 12)):
                continue
            wanted = CELLS[source.size(row)]
            whole = resize_picture(source[row].image, wanted)
            reduced = resize(from_uint8(whole[None]), (wanted[0] // 2, wanted[1] // 2))
            assert torch.equal(image, reduced[0])


def test_what_remains_is_cut_at_random_or_from_both_ends(module):
    source = SizedSource(8, ((32, 20),))
    fixed = Geometry(buckets=[[4, 3]], bucket_steps=4)
    left = fixed(source[0].image, (16, 12), key=0)
    assert left.shape == (16, 12, 3)
    assert abs(int(left[0, 0, 0]) - (31 - int(left[-1, 0, 0]))) <= 1
    loose = Geometry(buckets=[[4, 3]], bucket_steps=4, random_crop=True)
    tops = {int(loose(source[0].image, (16, 12), key)[0, 0, 0]) for key in range(40)}
    assert len(tops) > 3
    assert {int(loose(source[0].image, (16, 12), key)[0, 0, 1]) for key in range(40)} == {0}


def test_batches_are_the_same_with_any_number_of_workers(module):
    geometry = Geometry(buckets=BUCKETS, bucket_steps=4, random_crop=True, horizontal_flip=True)
    alone, helped = (
        list(islice(module(num_workers=workers, geometry=geometry, crop_size=5).train_dataloader(), 8))
        for workers in (0, 2)
    )
    for one, other in zip(alone, helped, strict=True):
        assert (one.position, one.captions) == (other.position, other.captions)
        assert torch.equal(one.images, other.images)


def test_a_loader_starts_where_the_state_says(module):
    through = list(islice(module().train_dataloader(), 9))
    data, resumed = module(), module()
    data.next_position = 5
    resumed.load_state_dict(data.state_dict())
    rest = list(islice(resumed.train_dataloader(), 4))
    assert [batch.captions for batch in rest] == [batch.captions for batch in through[5:]]
    assert resumed.pictures_seen == 20


def test_another_batch_size_is_said_to_change_the_order(module, caplog):
    data = module(batch_size=2)
    with caplog.at_level(logging.WARNING):
        data.load_state_dict({"next_position": 3, "global_batch_size": 4, "train_size": 48})
    assert "another batch size changes the order of the pictures" in caplog.text
    assert data.next_position == 6


def test_windows_are_squares_that_fit_into_every_bucket(module):
    assert {tuple(batch.images.shape) for batch in islice(module(crop_size=6).train_dataloader(), 12)} == {(4, 3, 6, 6)}
    with pytest.raises(UserError, match=r"crop_size=7 must lie between 1 and the shorter side of \(6, 8\), 6"):
        module(crop_size=7)


def test_validation_shows_every_picture_once_in_the_same_batches(module):
    data = module(SizedSource(48), SizedSource(21))
    batches = list(data.val_dataloader())
    assert sorted(row for batch in batches for row in batch.ids.tolist()) == list(range(21))
    assert [batch.position for batch in batches] == list(range(len(batches)))
    again = list(data.val_dataloader())
    assert all(torch.equal(one.images, other.images) for one, other in zip(batches, again, strict=True))
    examples = list(data.examples())
    assert [tuple(batch.images.shape[-2:]) for batch in examples] == [(8, 8), (8, 6), (6, 8)]


def test_a_bucket_smaller_than_a_batch_is_refused_with_a_list_that_works(module):
    sizes = ((16, 16),) * 20 + ((12, 16),) * 3 + ((16, 12),) * 7
    source = SizedSource(30, sizes)
    with pytest.raises(UserError) as caught:
        module(source).setup()
    assert str(caught.value) == (
        "sized: of the buckets for training, 12 × 16 has 3 pictures, fewer than the 4 of a batch on all processes "
        "together; use data.geometry.buckets=[[1,1],[4,3]], or a smaller data.batch_size"
    )
    module(source, geometry=Geometry(buckets=[[1, 1], [4, 3]], bucket_steps=4, upscale=True)).setup()
    two = module(source, batch_size=3)
    two.setup()
    two.trainer = SimpleNamespace(global_rank=0, world_size=2)
    with pytest.raises(UserError, match="12 × 16 has 3 pictures, fewer than the 6 of a batch"):
        two.setup()
    with pytest.raises(UserError, match=r"use data\.geometry\.buckets=null, or"):
        module(source, batch_size=64).setup()


def test_a_bucket_without_any_picture_does_no_harm(module):
    data = module(SizedSource(10, ((12, 16),)))
    data.setup()
    assert next(iter(data.train_dataloader())).images.shape == (4, 3, 6, 8)


def test_the_start_says_what_is_in_each_bucket_and_what_is_cut(module, capsys):
    module(SizedSource(16, ((12, 16), (16, 16), (16, 20)))).prepare_data()
    # 12 × 16 and 16 × 16 lose nothing; 16 × 20 goes to 12 × 16 and loses 1/16, as a square 1/5.
    assert capsys.readouterr().out == (
        "sized: 16 pictures for training in buckets of height × width, 12 × 16: 11, 16 × 16: 5; "
        "2.0 % of their pixels are cut off, as squares 15.6 %\n"
    )


def test_a_picture_is_too_small_by_its_own_bucket(module, tmp_path):
    for i, size in enumerate([(16, 12), (12, 16), (16, 16), (14, 14), (15, 12)]):  # width × height
        Image.new("RGB", size).save(tmp_path / f"{i}.png")
    rows = [json.dumps({"file_name": f"{i}.png", "text": f"{i}"}) for i in range(5)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(rows))
    source = ImageFolderSource(tmp_path)
    with pytest.raises(
        UserError,
        match=r"2 of 5 pictures \(2 too small\).* line 4\): 14 × 14 pixels are fewer than the 16 × 16 needed",
    ):
        module(source, batch_size=1).prepare_data()
    data = module(source, batch_size=1, bad_pictures=BadPictures(skip_small=True))
    data.prepare_data()
    assert [data.train[i].caption for i in range(len(data.train))] == ["0", "1", "2"]
    larger = module(source, batch_size=1, geometry=Geometry(buckets=BUCKETS, bucket_steps=4, upscale=True))
    larger.prepare_data()
    assert sum(len(batch.ids) for batch in larger.val_dataloader()) == 5


def test_a_row_without_a_header_belongs_to_no_bucket(module):
    with pytest.raises(UserError, match="sized row 2: damaged; repair or remove it"):
        module(SizedSource(48, unreadable=[2]), bad_pictures=BadPictures(check_first=False)).prepare_data()
    source = SizedSource(1000, unreadable=[2])
    data = module(source, bad_pictures=BadPictures(max_share=0.001))
    data.prepare_data()
    assert len(data.train) == 999
    assert 2 not in [data.train.origin_row(index) for index in range(999)]


def test_what_cannot_be_decoded_is_replaced_by_a_picture_of_the_same_bucket(module):
    source = SizedSource(24, bad=[1], title="held out")
    data = module(SizedSource(1000), source, bad_pictures=BadPictures(max_share=0.001))
    ids = [row for batch in data.val_dataloader() for row in batch.ids.tolist()]
    (replacement,) = (row for row in set(ids) if ids.count(row) == 2)
    assert CELLS[source.size(replacement)] == CELLS[source.size(1)]


def test_a_source_that_does_not_know_its_sizes_is_refused(module, numbers):
    with pytest.raises(UserError, match=r"numbers: .* sizes of all pictures, which NumberedSource does not tell"):
        module(numbers(20, 16, 16)).setup()


def test_drawn_pictures_are_squares(module):
    data = module(ShapesSource(0, 12, "train", 1), ShapesSource(0, 4, "validation", 1))
    data.setup()
    assert next(iter(data.train_dataloader())).images.shape == (4, 3, 8, 8)


def test_the_part_of_a_folder_that_is_held_out_is_sorted_by_its_own_pictures(module):
    source = SizedSource(40)
    data = module(AllButEveryNth(source, 4), EveryNth(source, 4))
    data.setup()
    for batch in data.val_dataloader():
        assert all(row % 4 == 0 for row in batch.ids.tolist())
        assert (to_uint8(batch.images)[:, 0, 0, 2] == batch.ids.numpy()).all()
