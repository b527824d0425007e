"""Captions from several columns, drawn in training by the weight of their column."""

import json
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from imagen.data.image_folder import ImageFolderSource
from imagen.data.module import ImagenDataModule
from imagen.data.reading.captions import CaptionColumns, Captions
from imagen.data.source import Source
from imagen.errors import UserError

WEIGHTS = {"text": 0.6, "keywords": 0.4}


def read(record: dict, **weights: float) -> Captions:
    return CaptionColumns.of(weights or WEIGHTS).read(record, "row 3")


def test_a_list_shares_the_weight_of_its_column():
    captions = read({"text": "a robin", "keywords": ["bird", "red"]})
    assert captions.texts == ("a robin", "bird", "red")
    assert captions.weights == pytest.approx((0.6, 0.2, 0.2))


@pytest.mark.parametrize("nothing", [None, "", "  ", [], ["", " "]])
def test_an_empty_column_leaves_its_weight_to_the_others(nothing):
    captions = read({"text": nothing, "keywords": ["bird", "red"]})
    assert captions.texts == ("bird", "red")
    assert captions.weights == pytest.approx((0.5, 0.5))


def test_weights_need_not_add_up_to_one():
    assert read({"a": "x", "b": "y"}, a=3, b=1).weights == pytest.approx((0.75, 0.25))


def test_a_row_of_blanks_trains_without_text_and_a_row_of_nothing_is_refused():
    assert read({"text": "", "keywords": []}) == Captions(("",))
    with pytest.raises(UserError, match=r"row 3: no caption in text, keywords; add one"):
        read({"file_name": "0.png"})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, r"caption_columns=\{\} must name at least one column"),
        ("text", r"caption_columns='text' must name"),
        ({"text": 0}, r"caption_columns.text=0: a weight must be a positive number"),
        ({"text": -1.0}, r"caption_columns.text=-1.0"),
        ({"text": float("nan")}, r"caption_columns.text=nan"),
        ({"text": float("inf")}, r"caption_columns.text=inf"),
        ({"text": True}, r"caption_columns.text=True"),
        ({"text": "much"}, r"caption_columns.text=much"),
    ],
)
def test_wrong_weights_are_refused(weights, message):
    with pytest.raises(UserError, match=message):
        CaptionColumns.of(weights)


def test_an_invalid_caption_names_its_row_and_column():
    with pytest.raises(UserError, match=r"row 3, keywords: the caption is a int, not text"):
        read({"text": "a robin", "keywords": 7})


@pytest.fixture
def folder(tmp_path):
    rows = [{"file_name": f"{i}.png", "text": f"long {i}", "keywords": [f"short {i}", f"word {i}"]} for i in range(4)]
    for row in rows:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / row["file_name"])
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def module(source: Source, text, seed: int = 0) -> ImagenDataModule:
    return ImagenDataModule(source, source, text, 8, 8, None, batch_size=4, num_workers=0, seed=seed)


def drawn(data: ImagenDataModule, batches: int) -> list[str]:
    return [caption for batch in islice(data.train_dataloader(), batches) for caption in batch.captions]


def test_training_draws_by_weight_and_validation_reads_the_first_column(folder, text):
    data = module(ImageFolderSource(folder, caption_columns=WEIGHTS), text)
    found = drawn(data, 500)  # 2,000 captions
    for kind, share in (("long", 0.6), ("short", 0.2), ("word", 0.2)):
        assert sum(caption.startswith(kind) for caption in found) / 2000 == pytest.approx(share, abs=0.04)
    assert [batch.captions for batch in data.val_dataloader()] == [("long 0", "long 1", "long 2", "long 3")]
    data.prepare_data()
    assert len(set(text.prepared)) == 12


def test_the_draw_depends_on_seed_and_position_alone(folder, text):
    source = ImageFolderSource(folder, caption_columns=WEIGHTS)
    through = drawn(module(source, text), 20)
    assert drawn(module(source, text, seed=1), 20) != through
    later = module(source, text)
    later.load_state_dict({"next_position": 7, "global_batch_size": 4, "train_size": 4})
    assert drawn(later, 13) == through[28:]


def test_a_column_that_no_row_has_is_a_mistake(folder):
    with pytest.raises(UserError, match=r"no row has a column 'keyword'; correct data.train.source.caption_columns"):
        ImageFolderSource(folder, caption_columns={"text": 1, "keyword": 1})
