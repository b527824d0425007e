import pytest

from imagen.errors import UserError
from imagen.evaluation.prompts.tables import drawbench_prompts, parti_prompts


def write(path, separator, head, rows):
    lines = [separator.join(head), *(separator.join(row) for row in rows)]
    path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")
    return path


def drawbench(folder, rows=200, categories=11, head=("Prompts", "Category")):
    content = [(f'"prompt {i}, with a comma"', f"category {i % categories}") for i in range(rows)]
    return write(folder / "DrawBench.csv", ",", head, content)


def test_drawbench_is_read_in_order_and_a_beginning_has_the_same_identity(tmp_path):
    prompts = drawbench_prompts(drawbench(tmp_path))
    assert len(prompts) == 200
    assert prompts.texts[3] == "prompt 3, with a comma"
    few = drawbench_prompts(tmp_path / "DrawBench.csv", count=5)
    assert few.texts == prompts.texts[:5]
    assert few.identity == prompts.identity


def test_parti_prompts_is_a_table_with_tabs(tmp_path):
    rows = [(f"prompt {i}", f"category {i % 12}", "Basic", "") for i in range(1632)]
    path = write(tmp_path / "PartiPrompts.tsv", "\t", ("Prompt", "Category", "Challenge", "Note"), rows)
    assert parti_prompts(path).texts[-1] == "prompt 1631"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"rows": 199}, "199 prompts in 11 categories, the published one has 200 in 11"),
        ({"categories": 10}, "200 prompts in 10 categories"),
        ({"head": ("Prompt", "Category")}, "no column Prompts"),
        ({"rows": 0}, "no column Category and no column Prompts"),
    ],
)
def test_another_table_is_refused(tmp_path, changes, complaint):
    with pytest.raises(UserError, match=complaint):
        drawbench_prompts(drawbench(tmp_path, **changes))


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        drawbench_prompts(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"Prompts,Category\n\xe9t\xe9,Colors\n")
    with pytest.raises(UserError, match="not a UTF-8 table"):
        drawbench_prompts(tmp_path / "latin.csv")
    with pytest.raises(UserError, match=r"prompts\.count is 201"):
        drawbench_prompts(drawbench(tmp_path), count=201)
