"""GenEval 2 (Kamath et al., 2025, arXiv 2512.16853): prompts with questions about every atom, from the user's copy."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from imagen.checks.arguments import Count, fits
from imagen.checks.captions import checked_prompt
from imagen.checks.foreign import parse_json
from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import Prompt, PromptSet, Question, content_of, list_prompts, numbered_lines
from imagen.files import user_path

WAY_OUT = "use the published geneval2_data.jsonl"


def geneval2_prompts(path: str | Path, count: int | None = None) -> PromptSet:
    """The first `count` prompts of geneval2_data.jsonl, or all (800 in the published file).

    Each line is a JSON object: `prompt`; `vqa_list`, pairs of a question and its answer; `skills`, one for each pair;
    `atom_count`. The category of a prompt is its number of atoms, such as "3 atoms"; the kind of a question its skill.

    Raises:
        UserError: for a file or line that is not like that (names the line), and if there are fewer prompts.
    """
    path = user_path(path)
    content = content_of(path, "GenEval 2 file")
    lines = numbered_lines(content, f"GenEval 2 file {path}")
    if count is not None and not 1 <= count <= len(lines):
        raise UserError(f"GenEval 2 file {path} has {len(lines)} prompts; prompts.count is {count}")
    prompts = tuple(_prompt(text, f"{path}, line {number}") for number, text in lines[:count])
    return PromptSet(prompts, {"kind": "GenEval 2", "sha256": hashlib.sha256(content).hexdigest()})


def _prompt(line: str, where: str) -> Prompt:
    fields = parse_json(line, where, WAY_OUT)
    if not isinstance(fields, dict):
        raise UserError(f"{where}: a JSON object is expected, found {line!r:.60}; {WAY_OUT}")
    text, pairs, skills, atoms = (_field(fields, name, hint, where) for name, hint in FIELDS.items())
    if len(skills) != len(pairs):
        raise UserError(f"{where}: {len(skills)} skills for {len(pairs)} questions of vqa_list; {WAY_OUT}")
    questions = tuple(_question(pair, skill, where) for pair, skill in zip(pairs, skills, strict=True))
    if not questions:
        raise UserError(f"{where}: vqa_list is empty; {WAY_OUT}")
    prompt = list_prompts([checked_prompt(" ".join(text.split()), where)]).prompts[0]
    return replace(prompt, category=f"{atoms} atoms", questions=questions)


FIELDS = {"prompt": str, "vqa_list": list[list[str]], "skills": list[str], "atom_count": Count}


def _field(fields: dict[str, Any], name: str, hint: Any, where: str) -> Any:
    if name not in fields:
        raise UserError(f"{where}: the field {name!r} is missing; {WAY_OUT}")
    if not fits(fields[name], hint):
        raise UserError(f"{where}: {name} is {fields[name]!r:.60}; {WAY_OUT}")
    return fields[name]


def _question(pair: Sequence[str], skill: str, where: str) -> Question:
    if len(pair) != 2 or not all(part.strip() for part in pair):
        raise UserError(f"{where}: vqa_list holds {pair!r:.80}, expected [question, answer]; {WAY_OUT}")
    return Question(pair[0].strip(), pair[1].strip(), skill)
