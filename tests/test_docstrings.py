"""What the API pages read from docstrings: every entry under "Args:" is one parameter."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "src" / "imagen"
MODULES = sorted(SOURCES.rglob("*.py"))
Documented = ast.FunctionDef | ast.ClassDef


def documented(path: Path) -> Iterator[Documented]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Documented) and "\nArgs:\n" in (ast.get_docstring(node) or ""):
            yield node


def entries(node: Documented) -> list[str]:
    """The names before the colons of the section "Args:"."""
    section = ast.get_docstring(node).split("\nArgs:\n", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^ {4}(\S[^:]*):", section, flags=re.MULTILINE)


def parameters(node: Documented) -> set[str] | None:
    """Those of a function or a constructor, or the fields of a dataclass; None where a base class has them."""
    if isinstance(node, ast.FunctionDef):
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        return {argument.arg for argument in every if argument is not None}
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            return parameters(member)
    if node.bases:
        return None
    return {member.target.id for member in node.body if isinstance(member, ast.AnnAssign)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCES).as_posix())
def test_what_is_described_are_parameters(path):
    for node in documented(path):
        for name in entries(node):
            assert name.isidentifier(), f"{node.name}, line {node.lineno}: give {name!r} an entry for each parameter"
            known = parameters(node)
            assert known is None or name in known, f"{node.name}, line {node.lineno}: {name} is no parameter"
