import pytest
import torch

from imagen.evaluation.judges.clip import ClipJudge
from imagen.judging.model import save
from imagen.judging.training import contrastive_loss
from imagen.shapes import Position, parse
from imagen.shapes.descriptions import LOOKS
from imagen.shipped import judge_training
from imagen.shipped.judge_hints import UNKNOWN, objects_at_patches, sides_in_captions, sides_in_scenes
from imagen.shipped.judge_model import JudgeRecipe, make_tokenizer
from imagen.shipped.judge_training import judge_scene, train

TINY = JudgeRecipe(
    seed=1, patch=32, width=32, layers=1, text_width=32, text_layers=1, steps=3, caption_steps=3, late_steps=3, batch=4
)


def test_what_a_caption_says_about_sides_is_what_its_picture_shows():
    scenes = [judge_scene(3, index) for index in range(120)]
    said, seen = sides_in_captions([scene.description for scene in scenes]), sides_in_scenes(scenes)
    both = (said != UNKNOWN) & (seen != UNKNOWN)
    assert torch.equal(said[both], seen[both])
    positions = torch.tensor([isinstance(scene.description, Position) for scene in scenes])
    assert ((said != UNKNOWN).sum(dim=1)[positions] == 2).all()
    # The axis of a position is always clear in its picture.
    assert (both.sum(dim=1)[positions] >= 2).all()


def test_a_turned_caption_says_the_opposite_sides():
    left = sides_in_captions([parse("a red circle to the left of a blue square on a white background")])
    right = sides_in_captions([parse("a red circle to the right of a blue square on a white background")])
    assert left[0, :2].tolist() == right[0, :2].flip(0).tolist()
    assert left[0, 2:].tolist() == [UNKNOWN, UNKNOWN]
    assert left[0, 0] != left[0, 1]


def test_patches_are_named_after_the_object_they_lie_in():
    for index in range(20):
        scene = judge_scene(4, index)
        found = objects_at_patches(scene, 16).reshape(16, 16)
        for item in scene.objects:
            assert found[int(item.y * 16), int(item.x * 16)] == 1 + LOOKS.index(item.look)
        assert len({*found.flatten().tolist()} - {0}) == len({item.look for item in scene.objects})


def test_pictures_of_one_group_are_not_told_apart_and_wrong_captions_cost():
    images, scale = torch.eye(3), torch.tensor(10.0)
    harmless = torch.tensor([[0.0, 0, 1], [0, 0, 1], [1, 0, 0]])  # one wrong caption each, of another direction
    apart, together = torch.eye(3).bool(), torch.block_diag(torch.ones(2, 2), torch.ones(1, 1)).bool()
    right = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]])  # the second caption is that of the first picture
    assert contrastive_loss(images, torch.cat([right, harmless]), together, scale) < contrastive_loss(
        images, torch.cat([right, harmless]), apart, scale
    )
    tempting = images.clone()
    assert contrastive_loss(images, torch.cat([images, tempting]), apart, scale) == pytest.approx(
        0.5 * 0.6931, abs=1e-2
    )
    assert contrastive_loss(images, torch.cat([images, harmless]), apart, scale) < 1e-2


def test_training_is_a_function_of_the_recipe_and_makes_a_judge(tmp_path, monkeypatch):
    monkeypatch.setattr(judge_training, "CAPTION_POOL", 12)
    tokenizer = make_tokenizer()
    one, other = (train(TINY, tokenizer) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    save(one, tokenizer, tmp_path)
    judge = ClipJudge(tmp_path, "tiny", device="cpu")
    assert judge.text_features(["a red circle on a white background"]).shape == (1, 64)
    assert len(judge.tokenizer.tokenize("a red circle to the left of two purple crosses")) == 10
    assert judge.too_long(["a red circle to the left of a blue square on a white background"]) == [False]
