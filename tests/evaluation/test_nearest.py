"""The search for nearest training pictures, and what counts as a copy."""

import numpy as np
import pytest
import torch

from imagen.data.source import Example, Source
from imagen.errors import UserError
from imagen.evaluation.results.copies import TrainingSet
from imagen.evaluation.statistics.jackknife import wilson
from imagen.evaluation.statistics.nearest import NEIGHBOURS, QUERIES, different, distances, nearest
from imagen.evaluation.sweep.blocks import Block
from imagen.evaluation.sweep.reference import SourceReference, TrainingPictures
from imagen.evaluation.sweep.thumbnails import SIDE, stored_thumbnails, thumbnails


def random_bytes(count, values=75, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, values), dtype=np.uint8)


class Pictures(Source):
    """Pictures in memory, each with captions of its own."""

    def __init__(self, pictures, captions):
        self.pictures, self.texts, self.read = pictures, captions, 0

    @property
    def name(self):
        return "pictures"

    @property
    def identity(self):
        return {"name": self.name, "sum": int(self.pictures.sum(dtype=np.int64)), "texts": list(map(list, self.texts))}

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        self.read += 1
        return Example(self.pictures[index], self.texts[index], index)

    def captions_by_row(self):
        return iter(self.texts)


def noise(count, seed, side=16):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def smooth(count, seed, side=16):
    """Pictures of a few colours, so that some are nearer to each other than others."""
    return np.kron(noise(count, seed, 2), np.ones((side // 2, side // 2, 1), np.uint8))


def block(pictures, kept=2):
    pixels = torch.from_numpy(pictures)
    return Block({}, {}, [None] * len(pixels), pixels[:kept], pixels.shape[1], thumbnails(pixels))


def of(pictures, captions):
    return Pictures(pictures, [(caption,) for caption in captions])


@pytest.fixture
def world(tmp_path):
    """200 training pictures and 120 real ones that were not trained on; caption i of each names it."""
    training = of(smooth(200, 1), [f"trained {i}" for i in range(200)])
    real = of(smooth(120, 2), [f"real {i}" for i in range(120)])
    return training, real, TrainingSet(TrainingPictures(training), SourceReference(real), 16, tmp_path)


def near(picture, error, seed):
    change = np.random.default_rng(seed).normal(0, error, picture.shape)
    return np.clip(picture + change, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("chunk", [1, 7, 64, 5000])
def test_the_search_in_parts_finds_what_comparing_every_pair_finds(chunk):
    pictures, training = random_bytes(30, seed=1), random_bytes(200, seed=2)
    rows = np.arange(0, 200, 3)
    found = nearest(pictures, training, rows, chunk)
    every = np.sqrt(((pictures[:, None].astype(float) - training[rows][None]) ** 2).mean(axis=2)) / 255
    order = np.argsort(every, axis=1, kind="stable")[:, :NEIGHBOURS]
    np.testing.assert_array_equal(found.rows, rows[order])
    np.testing.assert_allclose(found.distances, np.take_along_axis(every, order, axis=1), rtol=1e-12)
    assert (np.diff(found.distances, axis=1) >= 0).all()


def test_more_pictures_than_are_searched_at_a_time():
    pictures, training = random_bytes(QUERIES + 5, 12), random_bytes(40, 12, seed=3)
    found = nearest(pictures, training, np.arange(40))
    again = nearest(pictures[-5:], training, np.arange(40))
    np.testing.assert_array_equal(found.part(QUERIES, QUERIES + 5).rows, again.rows)
    assert len(found) == QUERIES + 5
    assert len(nearest(pictures[:0], training, np.arange(40))) == 0


def test_a_copy_is_found_at_distance_zero_however_dark_or_light_the_pictures_are():
    for low, high in ((0, 3), (252, 256), (0, 256)):
        training = np.random.default_rng(0).integers(low, high, (300, 3072)).astype(np.uint8)
        found = nearest(training[[17, 250]], training, np.arange(300))
        assert found.rows[:, 0].tolist() == [17, 250]
        assert found.nearest.tolist() == found.ratios.tolist() == [0, 0]
        assert (found.distances[:, 1] > 0).all()


def test_distances_are_root_mean_squares_from_0_to_1():
    black, white = np.zeros((1, 12), np.uint8), np.full((1, 12), 255, np.uint8)
    half = np.where(np.arange(12) % 2, 255, 0).astype(np.uint8)[None]
    assert distances(black, white).tolist() == [1]
    assert distances(black, half) == pytest.approx([0.5**0.5])


def test_equal_pictures_are_one_picture():
    pictures = random_bytes(5)
    pictures[3] = pictures[1]
    assert different(pictures).tolist() == [0, 1, 2, 1, 4]


def test_too_few_different_pictures_are_refused():
    with pytest.raises(UserError, match=r"metrics\.training has 3 different pictures; at least 4"):
        nearest(random_bytes(2), random_bytes(9), np.arange(3))
    with pytest.raises(UserError, match=r"metrics\.training has 0 pictures; .*metrics\.training=null looks for none"):
        TrainingPictures(of(smooth(0, 1), []))
    with pytest.raises(UserError, match="training: 9 pictures requested, pictures has 5"):
        TrainingPictures(of(smooth(5, 1), "abcde"), count=9)


def test_training_pictures_smaller_than_the_generated_ones_are_named(tmp_path):
    small = TrainingPictures(of(smooth(8, 1), "abcdefgh"))
    with pytest.raises(
        UserError, match=r"training: pictures row 0: .*metrics\.training\.min_side=32 skips such pictur"
    ):
        stored_thumbnails(small, 8, 32, tmp_path, "")


class TestThumbnails:
    def test_large_pictures_are_reduced_and_small_ones_are_kept(self):
        small = torch.from_numpy(noise(3, 1, SIDE - 8))
        assert thumbnails(small) is not small
        assert torch.equal(thumbnails(small), small)
        grey = torch.full((2, 100, 100, 3), 90, dtype=torch.uint8)
        assert torch.equal(thumbnails(grey), torch.full((2, SIDE, SIDE, 3), 90, dtype=torch.uint8))
        assert thumbnails(small[:0]).shape == (0, SIDE - 8, SIDE - 8, 3)

    def test_they_are_stored_and_read_once(self, tmp_path):
        source = of(noise(70, 1, 40), ["a"] * 70)
        first = stored_thumbnails(TrainingPictures(source), 70, 40, tmp_path, "")
        assert source.read == 70
        again = stored_thumbnails(TrainingPictures(source), 70, 40, tmp_path, "")
        assert source.read == 70
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(again, thumbnails(torch.from_numpy(source.pictures)).numpy())
        other = of(noise(70, 2, 40), ["a"] * 70)
        assert (stored_thumbnails(TrainingPictures(other), 70, 40, tmp_path, "") != again).any()

    @pytest.mark.parametrize("content", [b"junk", b""])
    def test_a_damaged_file_is_named(self, tmp_path, content):
        source = TrainingPictures(of(noise(70, 1, 16), ["a"] * 70))
        stored_thumbnails(source, 70, 16, tmp_path, "")
        (path,) = tmp_path.iterdir()
        path.write_bytes(content)
        with pytest.raises(UserError, match="delete it, and it is made again"):
            stored_thumbnails(source, 70, 16, tmp_path, "")

    def test_a_file_of_other_pictures_is_named(self, tmp_path):
        source = TrainingPictures(of(noise(70, 1, 16), ["a"] * 70))
        stored_thumbnails(source, 70, 16, tmp_path, "")
        (path,) = tmp_path.iterdir()
        np.save(path, np.zeros((3, 16, 16, 3), np.uint8))
        with pytest.raises(UserError, match="not 70 thumbnails; delete it"):
            stored_thumbnails(source, 70, 16, tmp_path, "")


class TestCopies:
    def test_one_in_twenty_real_pictures_would_be_called_a_copy(self, world):
        training, _, known = world
        assert (known.of_real.ratios < known.threshold).sum() == 120 * 0.05
        assert not known.repeated.any()
        found = known.compare({"cell": block(training.pictures[:4])}, list("abcd"), [])
        assert found.false_alarms == wilson(6, 120)

    def test_real_pictures_a_grey_level_or_two_from_a_training_picture_repeat_it(self, tmp_path):
        shared = smooth(120, 1).clip(8, 240)
        training = TrainingPictures(of(shared, [f"t{i}" for i in range(120)]))
        moved = np.concatenate([shared[:60] + 2, shared[60:] + 3])
        known = TrainingSet(training, SourceReference(of(moved, [f"r{i}" for i in range(120)])), 16, tmp_path)
        assert known.repeated.tolist() == [True] * 60 + [False] * 60

    def test_redrawn_training_pictures_are_copies_and_redrawn_real_ones_are_not(self, world):
        training, real, known = world
        texts = [f"prompt {i}" for i in range(120)]
        redrawn = np.stack([near(picture, 8, i) for i, picture in enumerate(training.pictures[:120])])
        new = np.stack([near(picture, 8, i) for i, picture in enumerate(real.pictures)])
        found = known.compare({"copied": block(redrawn), "composed": block(new)}, texts, [])
        assert found.neighbours["copied"].rows[:, 0].tolist() == list(range(120))
        assert found.numbers["copied"].copies.estimate > 0.9
        assert found.numbers["composed"].copies.estimate < 0.1
        assert found.numbers["copied"].copies.low < found.numbers["copied"].copies.estimate
        assert found.numbers["copied"].own_caption is None
        assert found.numbers["copied"].copies_of_others == found.numbers["copied"].copies

    def test_a_copy_of_the_prompts_own_picture_is_counted_apart(self, world):
        training, _, known = world
        texts = ["trained 0", "trained 1", "trained 5", "never a caption"]
        numbers = known.compare({"cell": block(training.pictures[:4])}, texts, []).numbers["cell"]
        assert numbers.copies.estimate == 1
        assert numbers.copies_of_others.estimate == 0.5
        assert (numbers.own_caption.estimate, numbers.own_caption_of) == (pytest.approx(2 / 3), 3)
        assert numbers.distance == 0

    def test_pictures_nearer_to_the_unseen_one_of_their_prompt_are_composed(self, world):
        training, real, known = world
        pictures = np.stack([near(real.pictures[7], 10, 1), training.pictures[3], near(real.pictures[8], 10, 2)])
        texts = ["real 7", "real 9", "trained 5"]
        numbers = known.compare({"cell": block(pictures)}, texts, []).numbers["cell"]
        assert (numbers.unseen.estimate, numbers.unseen_of) == (0.5, 2)

    def test_real_pictures_that_were_trained_on_are_set_aside(self, tmp_path):
        shared = smooth(60, 1)
        training = of(np.concatenate([shared[:50], shared[:5], smooth(50, 3)]), [f"t{i}" for i in range(105)])
        real = of(shared, [f"r{i}" for i in range(60)])
        known = TrainingSet(TrainingPictures(training), SourceReference(real), 16, tmp_path)
        assert known.repeated.tolist() == [True] * 50 + [False] * 10
        assert known.threshold is None  # ten are too few
        found = known.compare({"cell": block(shared)}, [f"r{i}" for i in range(60)], ["cell"])
        assert (found.training_pictures, found.different_pictures, len(found.new)) == (105, 100, 10)
        numbers = found.numbers["cell"]
        assert numbers.copies is numbers.copies_of_others is None
        assert (numbers.unseen.estimate, numbers.unseen_of) == (1, 10)
        assert known.captions[0] == ["t0", "t50", "r0"]  # three names of one drawing
        assert found.shown["cell"][0].near[0].captions == ("t0", "t50", "r0")
        assert (numbers.own_caption.estimate, numbers.own_caption_of) == (1, 50)

    def test_the_pictures_shown_are_those_kept_with_their_nearest(self, world):
        training, _, known = world
        found = known.compare({"a": block(training.pictures[:9]), "b": block(smooth(9, 5))}, list("123456789"), ["b"])
        assert found.shown.keys() == {"b"}
        assert [match.text for match in found.shown["b"]] == ["1", "2"]
        for match, row in zip(found.shown["b"], found.neighbours["b"].rows[:2], strict=True):
            assert [one.captions for one in match.near] == [(f"trained {index}",) for index in row[:3]]
            np.testing.assert_array_equal(match.near[0].picture, training.pictures[row[0]])
        assert [match.cell for match in found.alike] == ["a"] * 6
        assert all(match.ratio == 0 and match.copy for match in found.alike)

    def test_blocks_of_an_earlier_version_are_named(self, world):
        _, _, known = world
        old = Block({}, {}, [None] * 4, torch.from_numpy(smooth(2, 1)), 16)
        found = known.compare({"old": old, "new": block(smooth(4, 1))}, list("abcd"), ["old", "new"])
        assert found.missing == ["old"]
        assert found.numbers.keys() == found.shown.keys() == {"new"}
