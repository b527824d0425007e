"""OpenMoji: names, splits and drawn pictures of the installed package."""

import importlib.util
import pickle
from collections import Counter

import numpy as np
import pytest
from omegaconf import OmegaConf

from imagen.data.openmoji import names, rendering
from imagen.data.openmoji.names import all_emoji
from imagen.data.openmoji.source import OpenMojiSource
from imagen.data.openmoji.splits import Split, split_of
from imagen.errors import UserError

SPLITS = tuple(Split)


def name_of(stem: str) -> str:
    return next(emoji.name for emoji in all_emoji() if emoji.stem == stem)


def test_names_are_those_of_unicode_whatever_variation_selectors_say():
    assert name_of("1F469-1F3FF-200D-1F680") == "woman astronaut dark skin tone"
    assert name_of("0023-FE0F-20E3") == "keycap #"
    assert name_of("00A9") == "copyright"
    assert name_of("1F1E9-1F1EA") == "flag of Germany"
    assert name_of("1F3F4-E0067-E0062-E0073-E0063-E0074-E007F") == "flag of Scotland"


def test_every_name_is_one_picture():
    counts = Counter(emoji.name for emoji in all_emoji())
    assert len(counts) == len(all_emoji()) == 3953
    assert all(name == name.strip() and "_" not in name and ":" not in name for name in counts)


def test_skin_tones_are_in_the_order_of_the_name():
    couple = next(emoji for emoji in all_emoji() if emoji.name.startswith("kiss woman man light skin tone dark"))
    assert couple.skin_tones == ("light", "dark")


def test_a_quarter_of_the_compositions_is_held_out_and_their_words_are_all_trained_on():
    by_split = {split: [emoji for emoji in all_emoji() if split_of(emoji) is split] for split in SPLITS}
    assert {split: len(found) for split, found in by_split.items()} == {
        Split.TRAIN: 3291,
        Split.VALIDATION: 98,
        Split.HELD_OUT: 564,
    }
    known = {word for emoji in by_split[Split.TRAIN] for word in emoji.name.split()}
    acts = {emoji.without_tones for emoji in by_split[Split.TRAIN]}
    for emoji in by_split[Split.HELD_OUT]:
        assert emoji.skin_tones
        assert set(emoji.name.split()) <= known
        assert emoji.without_tones in acts


def test_pictures_are_drawn_once_and_mapped(few, tmp_path, monkeypatch):
    source = OpenMojiSource("train", 16, tmp_path)
    first = source[0].image.copy()
    assert first.shape == (16, 16, 3)
    assert first[0, 0].tolist() == [255, 255, 255]
    assert first.std() > 10
    rendering.rendered.cache_clear()
    monkeypatch.setattr(rendering, "draw", None)  # would fail
    assert np.array_equal(pickle.loads(pickle.dumps(source))[0].image, first)
    assert len(pickle.dumps(source)) < 2000  # no pictures travel to a worker


def test_every_row_is_the_picture_of_its_own_name(few, tmp_path):
    for split in SPLITS:
        source = OpenMojiSource(split, 16, tmp_path)
        assert len(source) == 5
        for index in range(5):
            example = source[index]
            emoji = few[example.id]
            assert example.captions == (emoji.name,)
            assert np.array_equal(example.image, rendering.draw(emoji.stem, 16))
        with pytest.raises(IndexError):
            source[5]


def test_the_size_is_that_of_the_stage(few, tmp_path):
    assert OpenMojiSource("train", 16, tmp_path).at(24)[1].image.shape == (24, 24, 3)


def test_captions_are_drawn_by_kind(tmp_path):
    source = OpenMojiSource("train", 16, tmp_path, {"name": 0.8, "lower": 0.1, "alias": 0.1})
    rows = dict(zip((row[0] for row in source.captions_by_row()), source.captions_by_row(), strict=True))
    assert rows["flag of Germany"] == ("flag of Germany", "flag of germany", "Germany flag")
    assert rows["thumbs up"] == ("thumbs up", "thumbs up", "thumbsup")


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00v\x00{'descr': '|u1'"])
def test_a_damaged_file_is_named(few, tmp_path, content):
    OpenMojiSource("train", 16, tmp_path)[0]
    rendering.rendered.cache_clear()
    (file,) = tmp_path.glob("*.npy")
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"-16\.npy is damaged .* delete it"):
        OpenMojiSource("train", 16, tmp_path)[0]


def test_a_file_of_another_shape_is_refused(few, tmp_path):
    OpenMojiSource("train", 16, tmp_path)[0]
    rendering.rendered.cache_clear()
    (file,) = tmp_path.glob("*.npy")
    with file.open("wb") as stream:
        np.save(stream, np.zeros((2, 16, 16, 3), np.uint8))
    with pytest.raises(UserError, match=r"holds uint8 \(2, 16, 16, 3\), not uint8 \(15, 16, 16, 3\); delete it"):
        OpenMojiSource("train", 16, tmp_path)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("test", 16), r"split=test of OpenMoji is not one of train, validation, held_out"),
        (("train", 0), r"resolution=0 of OpenMoji: at least 1 is needed"),
        (("train", 16, {"title": 1.0}), r"there is no column 'title'; choose among name, lower, alias"),
    ],
)
def test_mistakes_are_named(arguments, message, tmp_path):
    split, resolution, *columns = arguments
    with pytest.raises(UserError, match=message):
        OpenMojiSource(split, resolution, tmp_path, *columns)


def test_a_missing_package_is_named_with_the_command(monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(names, "find_spec", lambda name: None if name == "resvg_py" else found(name))
    with pytest.raises(UserError, match=r"needs the package resvg-py: pip install -e '.\[pictures\]'") as error:
        names.svg_folder()
    assert error.value.environment


def test_the_text_encoder_of_the_package_is_found(monkeypatch):
    from imagen.text.model_files import MissingModelError, resolve_folder

    config = OmegaConf.load("conf/text/minilm.yaml")
    assert (resolve_folder(config.encoder.path, None, True) / "model.safetensors").is_file()
    monkeypatch.setattr("imagen.text.model_files.find_spec", lambda name: None)
    with pytest.raises(MissingModelError, match=r"pip install -e '.\[pictures\]'"):
        resolve_folder(config.encoder.path, None, True)
