import pytest

from imagen.checks.captions import checked_caption
from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import file_prompts, list_prompts, shapes_prompts
from imagen.shapes import is_held_out


def test_shapes_prompts_are_held_out_compositions_with_their_answers():
    prompts = shapes_prompts(count=20, seed=1)
    assert len(prompts) == 20
    assert all(is_held_out(prompt.description) for prompt in prompts.prompts)
    assert all(prompt.truth.scene.caption == prompt.text for prompt in prompts.prompts)
    assert prompts.have_truths


def test_more_prompts_begin_with_the_same_prompts_under_the_same_identity():
    few, many = shapes_prompts(count=5, seed=1), shapes_prompts(count=9, seed=1)
    assert many.texts[:5] == few.texts
    assert many.identity == few.identity
    assert shapes_prompts(count=5, seed=2).texts != few.texts


def test_a_file_has_one_prompt_on_each_line_that_is_not_empty(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeffa cat\r\n\n  eine Möwe über Zürich \na red circle on a white background\n".encode())
    prompts = file_prompts(path)
    assert prompts.texts == ["a cat", "eine Möwe über Zürich", "a red circle on a white background"]
    assert [prompt.description is not None for prompt in prompts.prompts] == [False, False, True]
    assert not prompts.have_truths
    assert file_prompts(path, count=2).texts == prompts.texts[:2]


def test_errors_in_a_file_name_the_line(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"fine\n\nnot \xff utf-8\n")
    with pytest.raises(UserError, match=r"line 3: byte 5 is not UTF-8"):
        file_prompts(path)
    path.write_bytes(b"fine\nring the bell \x07\n")
    with pytest.raises(
        UserError, match=r"line 2: the caption holds the control character U\+0007 at position 14; remove it"
    ):
        file_prompts(path)


def test_a_prompt_may_hold_what_a_caption_may(tmp_path):
    texts = [
        "10\u00a0km of road",
        "猫\u3000犬",
        "👩\u200d🚀 in space",
        "می\u200cخواهم",
        "soft\u00adhyphen",
        "e\u0301",
        "a\tb",
    ]
    (tmp_path / "prompts.txt").write_text("\n".join(texts), encoding="utf-8")
    assert file_prompts(tmp_path / "prompts.txt").texts == list_prompts(texts).texts == texts
    for text in texts:
        assert checked_caption(text, "here") == text
    for text in ("a\x1b[2J", "a\x7f", "a\x93quoted\x94", "a\0b", "a\ud83d"):
        for refuse in (lambda text: checked_caption(text, "prompt 1"), lambda text: list_prompts([text])):
            with pytest.raises(
                UserError, match=r"prompt 1: the caption holds (the control character U\+|half)"
            ) as caught:
                refuse(text)
            assert str(caught.value).isprintable()


def test_missing_or_empty_prompts_are_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        file_prompts(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(UserError, match="are empty; give at least one"):
        file_prompts(tmp_path / "empty.txt")
    (tmp_path / "two.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match="has 2 prompts"):
        file_prompts(tmp_path / "two.txt", count=3)
    with pytest.raises(UserError, match="at least 1"):
        shapes_prompts(count=0, seed=1)
    with pytest.raises(UserError, match="prompt 2"):
        list_prompts(["a", "  "])
    with pytest.raises(UserError, match="must be a list"):
        list_prompts("a cat")
