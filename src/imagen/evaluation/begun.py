"""The identity of an evaluation, written when it begins. An evaluation resumes in its folder only if it is the same.

With more prompts, weights or curves it is the same evaluation. With another seed, judge, cascade or prompt, or with no
curve in common, it is another one.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagen.checks.foreign import read_json
from imagen.checks.names import printable
from imagen.errors import UserError
from imagen.evaluation.evaluation import Evaluation
from imagen.evaluation.sweep.plan import Plan
from imagen.files import fingerprint, write_json
from imagen.locks import hold

FILE = "evaluation.json"

OURS = {"blocks", "locks", "reference", "stages", "strips.safetensors", "evaluation.json"}
"""Files that an unfinished evaluation of an earlier version may have left. Fingerprints say what they depend on."""


def keep_identity(evaluation: Evaluation, plan: Plan) -> None:
    """Write the identity of `evaluation` to its folder, or compare it with the identity written there.

    Raises:
        UserError: if another evaluation was begun there (names the first fact that differs, with both values), or if
            the folder holds other files.
    """
    folder, texts = evaluation.out, evaluation.all_prompts.texts
    depends = {"reference": dict(evaluation.reference.identity), "weight_of": plan.weight_of}
    facts = {**evaluation.identity(), **depends, "curves": plan.identities}
    facts = json.loads(json.dumps(facts))  # as JSON gives them back
    with hold(folder / "locks" / "identity", wait=True):
        begun = _begun(folder)
        if begun is not None:
            _insist_on_same(folder, begun, facts, texts)
            facts["curves"] = {**begun["curves"], **facts["curves"]}
        if begun is None or begun.get("prompts_count", 0) < len(texts):
            count, digest = len(texts), fingerprint(texts)
        else:
            count, digest = begun["prompts_count"], begun["texts_sha256"]
        identity = {**facts, "prompts_count": count, "texts_sha256": digest}
        if identity != begun:
            write_json(identity, folder / FILE)


def _begun(folder: Path) -> dict[str, Any] | None:
    """The facts of the evaluation in `folder`; None if there is none. Raises UserError for any other file there."""
    way_out = "give another name=..., or remove this folder"
    for name in (FILE, "results.json"):  # the second if an earlier version finished it
        if (folder / name).is_file():
            record = read_json(folder / name, way_out)
            sound = isinstance(record, dict) and isinstance(record.get("curves"), dict)
            if not sound or type(record.get("prompts_count", 0)) is not int:
                raise UserError(f"{folder / name} does not say to which evaluation it belongs; {way_out}")
            return record
    other = sorted(path.name for path in folder.iterdir() if path.name not in OURS and not path.name.startswith("."))
    if other:
        raise UserError(f"{folder} holds {printable(other[0])}, which does not belong to an evaluation; {way_out}")
    return None


def _insist_on_same(folder: Path, begun: Mapping[str, Any], requested: Mapping[str, Any], texts: list[str]) -> None:
    for key in ("seed", "prompts", "judges", "checker", "reference", "weight_of"):
        _refuse_difference(folder, key, begun.get(key), requested[key])
    if begun["curves"].keys().isdisjoint(requested["curves"]):
        _refuse_difference(folder, "curves", sorted(begun["curves"]), sorted(requested["curves"]))
    for label, curve in requested["curves"].items():
        if label in begun["curves"]:
            _refuse_difference(folder, f"curves.{label}", begun["curves"][label], curve)
    count = begun.get("prompts_count", 0)
    if 0 < count <= len(texts):
        digest = fingerprint(texts[:count])
        _refuse_difference(folder, f"texts_sha256 of {count} prompts", begun.get("texts_sha256"), digest)


def _refuse_difference(folder: Path, key: str, begun: Any, requested: Any) -> None:
    """Raise UserError that names the first value that differs, at any depth."""
    if begun == requested:
        return
    if isinstance(begun, dict) and isinstance(requested, dict):
        for name in sorted(begun.keys() | requested.keys()):
            _refuse_difference(folder, f"{key}.{name}", begun.get(name), requested.get(name))
    if key != "curves" and isinstance(begun, list) and isinstance(requested, list) and len(begun) == len(requested):
        for number, (one, other) in enumerate(zip(begun, requested, strict=True)):
            _refuse_difference(folder, f"{key}[{number}]", one, other)
    raise UserError(
        printable(
            f"{folder} was begun with {key}={begun!r:.100} and cannot resume with {requested!r:.100}; give another "
            "name=..., or remove that folder"
        )
    )
