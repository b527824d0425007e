"""The parts of the training of a judge, one by one."""

import pytest
import torch

from imagen.errors import UserError
from imagen.judging.augmentation import Augmentation, moved
from imagen.judging.model import JudgeNetwork, make_model, make_tokenizer
from imagen.judging.pictures import CaptionedPictures, CaptionNumbers
from imagen.judging.retrieval import check_rows, retrieval
from imagen.judging.training import Optimisation, contrastive_loss


def pictures(*captions: tuple[str, ...], weights: list[tuple[float, ...]] | None = None) -> CaptionedPictures:
    blank = torch.zeros(len(captions), 8, 8, 3, dtype=torch.uint8)
    return CaptionedPictures(blank, list(captions), weights or [()] * len(captions))


def test_a_tokenizer_knows_frequent_words_whole_and_no_text_is_unknown():
    captions = ["a red circle", "a blue circle"] * 9
    tokenizer, again = (make_tokenizer(captions, 600) for _ in range(2))
    assert tokenizer.get_vocab() == again.get_vocab()
    assert tokenizer.tokenize("a red circle") == ["a</w>", "red</w>", "circle</w>"]
    for text in ("a zebra", "ein Bär", "красный 😀"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids[1:-1]
        assert tokenizer.decode(ids, skip_special_tokens=True).strip() == text.lower()


def test_weights_depend_on_the_seed_alone():
    network = JudgeNetwork(patch=8, width=32, layers=1, text_width=32, text_layers=1, image_size=16)
    tokenizer = make_tokenizer(["a red circle"], 600)
    one, same, other = (make_model(network, tokenizer, seed).state_dict() for seed in (1, 1, 2))
    name = "vision_model.embeddings.patch_embedding.weight"
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one[name], other[name])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: JudgeNetwork(7, 32, 1, 32, 1, image_size=16), "image_size=16 is no multiple of the network's patch=7"),
        (lambda: JudgeNetwork(8, 40, 1, 32, 1, image_size=16), "width=40 of a judge's network must be a multiple"),
        (lambda: Optimisation(learning_rate=0.0), r"learning_rate=0\.0 of a judge must lie above 0"),
        (lambda: Optimisation(weight_decay=-1.0), r"weight_decay=-1\.0 of a judge must lie between"),
        (lambda: Augmentation(shift=0.6), r"augmentation\.shift=0\.6 must lie between 0 and 0\.5"),
        (lambda: check_rows(9, "cats"), "cats: 9 validation rows, and the recall of a judge needs at least 10"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(make, expected):
    with pytest.raises(UserError, match=expected):
        make()


def test_a_picture_is_moved_and_enlarged_as_asked_and_its_edge_goes_on():
    picture = torch.randint(0, 256, (1, 16, 16, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert torch.equal(moved(picture, torch.zeros(1, 2), torch.ones(1)), picture)
    shifted = moved(picture, torch.tensor([[0.25, 0.0]]), torch.ones(1))
    assert (shifted[:, :, 4:].int() - picture[:, :, :-4].int()).abs().max() <= 1
    assert (shifted[:, :, 0].int() - picture[:, :, 0].int()).abs().max() <= 1
    dot = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    dot[:, 7:9, 7:9] = 255
    assert moved(dot, torch.zeros(1, 2), torch.tensor([2.0])).float().mean() > 2 * dot.float().mean()


def test_augmentation_keeps_what_it_is_told_to_keep():
    picture = torch.randint(0, 256, (3, 16, 16, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    none = Augmentation(shift=0.0, zoom=0.0, soften=False, drop_words=0.0)
    draw = torch.Generator().manual_seed(1)
    assert torch.equal(none.pictures(picture, draw), picture)
    assert none.captions(["a  red circle"], draw) == ["a red circle"]
    flat = torch.full((3, 16, 16, 3), 77, dtype=torch.uint8)
    assert torch.equal(Augmentation(soften=False).pictures(flat, draw), flat)
    texts = ["one two three four"] * 200 + ["", "word"] * 20
    thinned = Augmentation(drop_words=0.5).captions(texts, draw)
    assert thinned[200:] == ["", "word"] * 20
    lengths = [len(text.split()) for text in thinned[:200]]
    assert min(lengths) >= 1
    assert 1.7 < sum(lengths) / 200 < 2.5


def test_captions_are_drawn_by_their_weights():
    numbers = CaptionNumbers(pictures(("a", "b"), ("c",), ("d", "e", "f"), weights=[(0.9, 0.1), (), ()]))
    rows, draw = torch.tensor([0, 1, 2]).repeat(3000), torch.Generator().manual_seed(0)
    drawn = numbers.draw(rows, draw)
    shares = [torch.bincount(drawn[rows == row], minlength=3) / 3000 for row in range(3)]
    for found, wanted in zip(shares, ((0.9, 0.1, 0), (1, 0, 0), (1 / 3, 1 / 3, 1 / 3)), strict=True):
        assert found.tolist() == pytest.approx(wanted, abs=0.03)
    assert numbers.distinct == 6


def test_a_caption_of_two_pictures_fits_both():
    numbers = CaptionNumbers(pictures(("cat", "pet"), ("pet",), ("dog",)))
    rows = torch.arange(3)
    assert numbers.may_fit(rows, torch.tensor([0, 0, 0])).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert numbers.may_fit(rows, torch.tensor([1, 0, 0])).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_the_loss_has_no_wrong_answer_where_all_captions_are_one():
    features = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    loss = contrastive_loss(features, features.flip(0), torch.ones(4, 4, dtype=torch.bool), torch.tensor(10.0))
    assert float(loss) == pytest.approx(0)
    apart = contrastive_loss(features, features.flip(0), torch.eye(4).bool(), torch.tensor(10.0))
    assert float(apart) > 1


def test_recalls_count_the_partner_among_the_best_and_any_picture_of_the_same_caption():
    several = pictures(*((str(i),) for i in range(10)))
    features = torch.eye(10)
    perfect = retrieval(features, features, several)
    assert {recall.estimate for recall in perfect.recalls.values()} == {1.0}
    nothing = retrieval(torch.ones(10, 4), torch.ones(10, 4), several)
    assert {recall.estimate for recall in nothing.recalls.values()} == {0.0}
    features[0, 1] = features[1, 0] = 0.9  # near each other, so that the other's caption fits well
    swapped = features[[1, 0, *range(2, 10)]]
    exchanged = retrieval(features, swapped, several).recalls
    assert [exchanged[f"R@{rank}, caption to picture"].estimate for rank in (1, 5)] == [0.8, 1.0]
    assert exchanged["R@5, caption to picture"].low < 1
    twins = pictures(*((str(max(i, 1)),) for i in range(10)))  # the first two have one caption
    assert retrieval(features, swapped, twins).recalls["R@1, caption to picture"].estimate == 1
