"""Prompt sets that bring questions, in the layout of their published files."""

import json

import pytest

from imagen.errors import UserError
from imagen.evaluation.prompts.dpg import dpg_prompts
from imagen.evaluation.prompts.geneval2 import geneval2_prompts
from imagen.evaluation.prompts.prompt_set import Question

BICYCLES = {
    "prompt": "four white bicycles in front of three plastic cows",
    "atom_count": 7,
    "vqa_list": [["How many bicycles are in the image?", "four"], ["Are the bicycles white?", "Yes"]],
    "skills": ["count", "attribute"],
}
TOYS = {"prompt": "two metal toys", "atom_count": 3, "vqa_list": [["Are the toys metal?", "Yes"]], "skills": ["x"]}
HEAD = (
    "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,question_natural_language"
)
ROWS = (
    'partiprompts97,"A red truck, parked.",,1,0,entity,whole,entity - whole (truck),Is there a truck?',
    'partiprompts97,"A red truck, parked.",,2,1,attribute,color,"attribute - color (truck, red)",Is the truck red?',
    "1,A dog.,,1,0,entity,whole,entity - whole (dog),Is there a dog?",
)


def geneval2(folder, *lines):
    path = folder / "geneval2_data.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def dpg(folder, *rows, head=HEAD):
    (folder / "dpg_bench.csv").write_text("\n".join((head, *rows)) + "\n")
    return folder


def test_geneval2_gives_each_prompt_its_questions_and_its_number_of_atoms(tmp_path):
    prompts = geneval2_prompts(geneval2(tmp_path, BICYCLES, TOYS))
    assert prompts.texts == [BICYCLES["prompt"], "two metal toys"]
    assert [prompt.category for prompt in prompts.prompts] == ["7 atoms", "3 atoms"]
    assert prompts.prompts[0].questions == (
        Question("How many bicycles are in the image?", "four", "count"),
        Question("Are the bicycles white?", "Yes", "attribute"),
    )
    few = geneval2_prompts(tmp_path / "geneval2_data.jsonl", count=1)
    assert few.texts == prompts.texts[:1]
    assert few.identity == prompts.identity
    changed = BICYCLES | {"vqa_list": [["How many bicycles are in the image?", "five"], ["Are they white?", "Yes"]]}
    assert geneval2_prompts(geneval2(tmp_path, changed, TOYS)).identity != prompts.identity


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: a JSON object is expected"),
        ({"prompt": "a"}, "line 2: the field 'vqa_list' is missing"),
        (TOYS | {"vqa_list": [["Is it?"]]}, r"line 2: vqa_list holds \['Is it\?'\], expected \[question, answer\]"),
        (TOYS | {"vqa_list": [[1, 2]]}, r"line 2: vqa_list is \[\[1, 2\]\]"),
        (TOYS | {"vqa_list": [], "skills": []}, "line 2: vqa_list is empty"),
        (TOYS | {"skills": []}, "line 2: 0 skills for 1 questions"),
        (TOYS | {"atom_count": "3"}, "line 2: atom_count is '3'"),
        (TOYS | {"prompt": " "}, "line 2: a prompt must be a text that is not empty"),
    ],
)
def test_a_malformed_line_of_geneval2_is_named(tmp_path, line, complaint):
    with pytest.raises(UserError, match=complaint) as raised:
        geneval2_prompts(geneval2(tmp_path, BICYCLES, line))
    assert "\n" not in str(raised.value)


def test_dpg_bench_gives_each_item_its_questions_and_its_source(tmp_path):
    prompts = dpg_prompts(dpg(tmp_path, *ROWS))
    assert prompts.texts == ["A red truck, parked.", "A dog."]
    assert [prompt.category for prompt in prompts.prompts] == ["partiprompts", None]
    assert prompts.prompts[0].questions == (
        Question("Is there a truck?", "Yes", "entity"),
        Question("Is the truck red?", "Yes", "attribute"),
    )
    assert dpg_prompts(tmp_path / "dpg_bench.csv", count=1).texts == prompts.texts[:1]


def test_dpg_bench_without_its_table_is_a_folder_of_texts(tmp_path):
    (tmp_path / "prompts").mkdir()
    for name, text in (("1", "A dog.\n"), ("whoops12", "\ufeffA cat\non a mat.")):
        (tmp_path / "prompts" / f"{name}.txt").write_text(text, encoding="utf-8")
    for path in (tmp_path, tmp_path / "prompts"):
        prompts = dpg_prompts(path)
        assert prompts.texts == ["A dog.", "A cat on a mat."]
        assert [prompt.category for prompt in prompts.prompts] == [None, "whoops"]
        assert not any(prompt.questions for prompt in prompts.prompts)


@pytest.mark.parametrize(
    ("rows", "head", "complaint"),
    [
        (("a,b",), "item_id,text", "no column category_broad and no column question_natural_language"),
        ((), HEAD, "no column item_id"),
        ((*ROWS, "1,A cat.,,2,0,entity,,,Is there a cat?"), HEAD, "item_id '1': 2 different texts, expected one"),
        ((*ROWS, "2,,,1,0,entity,,,Is there a cat?"), HEAD, "item_id '2': 0 different texts"),
        ((*ROWS, "2,A cat.,,1,0,entity,,,"), HEAD, "item_id '2': a question_natural_language is empty"),
        ((*ROWS, '2,"A cat.'), HEAD, "is not a table of commas"),
    ],
)
def test_a_malformed_table_of_dpg_bench_is_refused(tmp_path, rows, head, complaint):
    with pytest.raises(UserError, match=complaint):
        dpg_prompts(dpg(tmp_path, *rows, head=head))


@pytest.mark.parametrize("read", [geneval2_prompts, dpg_prompts])
def test_what_cannot_be_read_is_refused(tmp_path, read):
    with pytest.raises(UserError, match=r"cannot be read: No such file"):
        read(tmp_path / "none")
    (tmp_path / "latin").write_bytes(b"\xe9t\xe9")
    with pytest.raises(UserError, match="is not UTF-8"):
        read(tmp_path / "latin")
    good = geneval2(tmp_path, TOYS) if read is geneval2_prompts else dpg(tmp_path, *ROWS)
    with pytest.raises(UserError, match=r"prompts\.count is 9"):
        read(good, count=9)


def test_an_empty_folder_is_no_dpg_bench(tmp_path):
    with pytest.raises(UserError, match=r"holds neither dpg_bench\.csv nor texts"):
        dpg_prompts(tmp_path)
