"""Configuration values are checked against the annotations of the classes that they build."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from imagen.checks.arguments import Count, Natural, check_arguments, described, fits
from imagen.errors import UserError

BUILT = {"_target_": "imagen.diffusion.spacing.UniformTime"}

FITS = [
    (int, 3), (int, -3), (float, 3), (float, 0.5), (bool, True), (str, "3"), (Count, 1), (Natural, 0),
    (int | None, None), (Sequence[int], [1, 2]), (list[float], [1, 0.5]), (tuple[float, float], [0.9, 0.99]),
    (float | Sequence[float], [1]), (Literal["a", 1], "a"), (str | Path, "x"), (Path, "x"), (Any, 1.5), (object, True),
    (Mapping[str, int], {"a": 1}), (float | torch.Tensor, 1e-3),
]  # fmt: skip
MISFITS = [
    (int, True), (int, 1.5), (int, 64.0), (int, "3"), (int, None), (float, "1"), (float, True), (float, None),
    (bool, 1), (bool, "yes"), (str, 3), (Count, 0), (Count, True), (Count, 1.0), (Natural, -1), (int | None, 0.5),
    (Sequence[int], 3), (Sequence[str], "abc"), (Sequence[Count], [16, 64.0]), (tuple[float, float], [0.9]),
    (float | Sequence[float], [1, "a"]), (Literal["a", 1], True), (torch.nn.Module, 3), (torch.nn.Module, "x"),
    (float | torch.Tensor, "abc"), (Mapping[str, int], 3), (Path, 3),
    (float, float("inf")), (float, float("nan")), (float, 10**400), (Sequence[float], [float("-inf")]),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "value"), FITS, ids=str)
def test_what_an_annotation_asks_for_fits(hint, value):
    assert fits(value, hint)


@pytest.mark.parametrize(("hint", "value"), MISFITS, ids=str)
def test_what_python_would_take_for_something_else_does_not_fit(hint, value):
    assert not fits(value, hint)


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (Count | None, "a whole number of at least 1 or null"),
        (float | Sequence[float], "a finite number or a list, each a finite number"),
        (Literal["a", "b"], "a or b"),
        (torch.nn.Module, "Module"),
        (float | torch.Tensor, "a finite number"),
    ],
)
def test_an_annotation_is_said_in_words(hint, text):
    assert described(hint) == text


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (torch.nn.Module, BUILT), (Sequence[torch.nn.Module], [BUILT, BUILT]), (int, BUILT),
        (Callable[[], int], BUILT), (Mapping[str, int], {"a": BUILT}),
    ],
)  # fmt: skip
def test_what_is_to_be_built_is_held_to_its_own_signature(hint, value):
    def draw(value: Any) -> None:
        raise AssertionError("not called")

    draw.__annotations__["value"] = hint
    check_arguments(draw, {"value": value}, "here")
    assert not fits(BUILT, int)


def test_the_argument_and_its_place_are_named():
    def draw(count: Count, scale: float = 1.0, **rest: Any) -> None:
        raise AssertionError("not called")

    check_arguments(draw, {"count": 3, "scale": 2, "other": True, "_target_": 7}, "here")
    with pytest.raises(UserError, match=r"^here\.count=True must be a whole number of at least 1$"):
        check_arguments(draw, {"count": True}, "here")
