import json
import logging

import pytest
from PIL import Image

from imagen.data.image_folder import ImageFolderSource
from imagen.data.reading.problems import BadExampleError
from imagen.errors import UserError


def line(name: str, text: object = "a caption") -> bytes:
    return json.dumps({"file_name": name, "text": text}).encode()


def test_pictures_and_captions_belong_together(folder):
    source = ImageFolderSource(folder())
    assert len(source) == 6
    for index in range(6):
        example = source[index]
        assert (example.id, example.caption) == (index, f"picture {index}")
        assert example.image.shape == (10, 12, 3)
        assert example.image[0, 0].tolist() == [40 * index, 0, 0]
    assert list(source.captions()) == [f"picture {index}" for index in range(6)]
    assert list(source.problems(min_side=10)) == []


def test_columns_can_have_other_names(folder):
    path = folder({n: json.dumps({"image": f"{n - 1}.png", "title": f"t{n}"}).encode() for n in range(1, 7)})
    assert ImageFolderSource(path, "image", "title")[1].caption == "t2"
    with pytest.raises(UserError, match=r"line 1: no 'file_name' among \['image', 'title'\]"):
        ImageFolderSource(path)


def test_a_byte_order_mark_windows_line_ends_blank_lines_and_any_script_are_read(folder):
    path = folder({1: b"\xef\xbb\xbf" + line("0.png"), 3: b"   ", 4: line("3.png", "שלום 猫 🎉") + b"\r"})
    source = ImageFolderSource(path)
    assert [row.line for row in source.rows] == [1, 2, 4, 5, 6]
    assert source[2].caption == "שלום 猫 🎉"
    assert source[2].image[0, 0, 0] == 120


def test_an_empty_caption_is_allowed(folder):
    assert ImageFolderSource(folder({2: line("1.png", "")}))[1].caption == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"file_name": "1.png", "text": "x"', "line 2: not JSON"),
        (b'["1.png", "x"]', "line 2: not a JSON object"),
        (b"[" * 100_000, "line 2: JSON nested too deeply"),
        (b'{"file_name": "1.png", "text": "caf\xe9"}', "line 2: not UTF-8 .byte 0xe9 at 35"),
        (line("1.png").decode().encode("utf-16"), "line 2: not UTF-8"),
        (b'{"file_name": "1.png"}', "line 2: no 'text' among"),
        (line("0.png"), "line 2: '0.png' is already listed in line 1"),
        (line("./0.png"), "line 2: '0.png' is already listed in line 1"),
        (line("../1.png"), "line 2: '../1.png' leads out of the folder"),
        (line("/etc/passwd"), "leads out of the folder"),
        (line(""), "line 2: 'file_name' is '', not the name of a file"),
        (line("1.png", None), "line 2: the caption is null, not text"),
        (line("1.png", ["a", 1]), "line 2, caption 2: the caption is a int, not text"),
        (line("1.png", "a\0b"), "line 2: the caption holds the control character U.0000 at position 1"),
        (b'{"file_name": "1.png", "text": "\\ud83d"}', "line 2: the caption holds half a surrogate pair"),
    ],
)
def test_a_wrong_line_is_named(folder, content, message):
    path = folder({2: content})
    with pytest.raises(UserError, match=message) as caught:
        ImageFolderSource(path)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named_with_the_way_out(tmp_path):
    with pytest.raises(UserError, match=r"no folder .*absent; give the one that holds your pictures"):
        ImageFolderSource(tmp_path / "absent")
    with pytest.raises(UserError, match="is empty; write one line for each picture"):
        ImageFolderSource(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"has no metadata\.jsonl or metadata\.csv; write one line"):
        ImageFolderSource(tmp_path)
    with pytest.raises(UserError, match=r"a\.png is not a folder"):
        ImageFolderSource(tmp_path / "a.png")
    (tmp_path / "metadata.jsonl").write_bytes(b"\n\n")
    with pytest.raises(UserError, match=r"metadata\.jsonl lists no pictures"):
        ImageFolderSource(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"<html>404</html>", "a web page"), (None, "no such file")],
)
def test_a_picture_that_cannot_be_read_is_named_with_its_line(folder, content, reason):
    path = folder(files={"3.png": content or b""})
    if content is None:
        (path / "3.png").unlink()
    source = ImageFolderSource(path)
    with pytest.raises(BadExampleError, match=rf"3\.png \(metadata\.jsonl line 4\): .*{reason}"):
        source[3]
    (problem,) = source.problems(min_side=1)
    assert "3.png (metadata.jsonl line 4)" in problem.text
    assert reason in problem.text


def test_pictures_too_small_are_found_without_decoding(folder):
    source = ImageFolderSource(folder())
    Image.new("RGB", (50, 11)).save(source.path / "4.png")
    problems = list(source.problems(min_side=11))
    assert len(problems) == 5
    assert "0.png (metadata.jsonl line 1): 12 × 10 pixels are fewer than the 11 × 11 needed" in problems[0].text


def test_pictures_that_are_not_listed_are_mentioned(folder, caplog):
    path = folder()
    Image.new("RGB", (10, 10)).save(path / "extra.png")
    with caplog.at_level(logging.WARNING):
        list(ImageFolderSource(path).problems(min_side=1))
    assert "1 pictures are not listed" in caplog.text
    assert "extra.png" in caplog.text


def with_condition(name: str, condition: object) -> bytes:
    return json.dumps({"file_name": name, "text": "a caption", "condition_file_name": condition}).encode()


def test_pictures_to_condition_on_are_read_from_their_own_column_when_asked(folder, encoded, caplog):
    lines = {i + 1: with_condition(f"{i}.png", f"lines{i}.png") for i in range(6)}
    path = folder(lines, {f"lines{i}.png": encoded(Image.new("RGB", (12, 10), (0, 0, 10 * i))) for i in range(6)})
    source = ImageFolderSource(path, condition_column="condition_file_name")
    assert source.has_conditions
    for index in range(6):
        assert source[index].image[0, 0].tolist() == [40 * index, 0, 0]
        assert source[index].condition[0, 0].tolist() == [0, 0, 10 * index]
    assert list(source.problems(min_side=10)) == []
    assert "not listed" not in caplog.text
    (path / "lines3.png").unlink()
    where = r"lines3\.png \(metadata\.jsonl line 4\): there is no such file"
    (problem,) = source.problems(min_side=10)
    assert "lines3.png (metadata.jsonl line 4)" in problem.text
    with pytest.raises(BadExampleError, match=where):
        source[3]
    unasked = ImageFolderSource(path)
    assert (unasked.has_conditions, unasked[3].condition) == (False, None)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (None, "line 2: 'condition_file_name' is None, not the name of a file"),
        ("../lines.png", r"line 2: '\.\./lines\.png' leads out of the folder"),
    ],
)
def test_a_line_without_a_picture_to_condition_on_is_refused(folder, condition, message):
    lines = {i: with_condition(f"{i - 1}.png", f"{i}.png") for i in range(1, 7)}
    path = folder(lines | {2: with_condition("1.png", condition)})
    with pytest.raises(UserError, match=message):
        ImageFolderSource(path, condition_column="condition_file_name")
    with pytest.raises(
        UserError, match=r"line 1: no 'depth' among .* name another with data\.train\.source\.condition_col"
    ):
        ImageFolderSource(path, condition_column="depth")
