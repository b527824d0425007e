import json

import pytest

from imagen.errors import UserError
from imagen.evaluation.prompts.coco import coco_prompts


@pytest.fixture
def annotations():
    """Forty pictures, five captions each, in the order of COCO's file: by no number."""
    rows = [(1000 - 7 * image, 50_000 + 13 * (5 * image + k), f"caption {k} of  {image}\n") for k in range(5)
            for image in range(40)]  # fmt: skip
    return [{"image_id": image, "id": number, "caption": text} for image, number, text in rows]


@pytest.fixture
def prompts(tmp_path, annotations):
    """prompts(count) from a file of these annotations, or of others."""

    def make(count=30, rows=None, **changes):
        path = tmp_path / "captions.json"
        path.write_text(json.dumps({"info": {}, "annotations": annotations if rows is None else rows}))
        given = {"images": 40, "captions": 200, "manifest": tmp_path / "frozen" / "coco.json"} | changes
        return coco_prompts(path, count, **given)

    return make


def test_every_picture_has_one_caption_and_a_beginning_is_the_same(prompts):
    many, few = prompts(40), prompts(10)
    pictures = [text.split(" of ")[1] for text in many.texts]
    assert len(set(pictures)) == 40
    assert pictures != sorted(pictures)
    assert len({text.split()[1] for text in many.texts}) == 5
    assert few.texts == many.texts[:10]
    assert few.identity == many.identity
    assert all("  " not in text and text == text.strip() for text in many.texts)


def test_the_rule_is_what_it_says_whatever_the_order_of_the_file(prompts, annotations):
    import hashlib

    def rank(kind, number):
        return hashlib.sha256(f"{kind} {number}".encode()).hexdigest()

    first = min({row["image_id"] for row in annotations}, key=lambda image: rank("image", image))
    own = [row for row in annotations if row["image_id"] == first]
    expected = min(own, key=lambda row: rank("caption", row["id"]))["caption"]
    assert prompts(1).texts == [" ".join(expected.split())]
    assert prompts(1, annotations[::-1]).texts == prompts(1).texts


def test_the_choice_is_frozen_at_first_use(prompts, annotations, tmp_path):
    prompts()
    manifest = tmp_path / "frozen" / "coco.json"
    recorded = json.loads(manifest.read_text())
    assert len(recorded["ids"]) == 40
    assert "caption 1 of" not in manifest.read_text()
    before = manifest.read_bytes()
    prompts(10)
    assert manifest.read_bytes() == before
    chosen = recorded["ids"][0][1]
    edited = [row | ({"caption": "edited"} if row["id"] == chosen else {}) for row in annotations]
    with pytest.raises(UserError, match=rf"coco\.json: texts_sha256 is {recorded['texts_sha256'][:60]}"):
        prompts(rows=edited)
    renumbered = [row | {"id": row["id"] + 1} for row in annotations]
    with pytest.raises(UserError, match="ids_sha256 is"):
        prompts(rows=renumbered)
    manifest.write_text("{}")
    with pytest.raises(UserError, match=r"manifest .* cannot be read"):
        prompts()


def test_another_number_of_pictures_or_captions_is_refused(prompts, annotations, tmp_path):
    with pytest.raises(UserError, match=r": 199 captions of 40 pictures, but captions_val2014\.json has 200 of 40"):
        prompts(rows=annotations[1:])
    with pytest.raises(UserError, match=r": 200 captions of 40 pictures, but .* has 202654 of 40504"):
        prompts(images=40504, captions=202654)
    with pytest.raises(UserError, match=r"prompts\.count is 41"):
        prompts(41)
    assert not (tmp_path / "frozen").exists()


@pytest.mark.parametrize("content", [b"[]", b'{"annotations": [{"id": 1}]}', b"{", b"\xff", b'{"annotations": 3}'])
def test_what_is_not_cocos_file_is_refused(tmp_path, content):
    (tmp_path / "captions.json").write_bytes(content)
    with pytest.raises(UserError, match="not COCO's captions"):
        coco_prompts(tmp_path / "captions.json", 1, 40, 200, tmp_path / "coco.json")
    with pytest.raises(UserError, match="cannot be read"):
        coco_prompts(tmp_path / "absent.json", 1, 40, 200, tmp_path / "coco.json")
