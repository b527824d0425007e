"""The checks of types and shapes that all tests run under."""

import jaxtyping
import pytest
import torch
from type_checks import CALLS, begin_again

from imagen.diffusion.conditioning import resize

FLAT = torch.zeros(3, 4)


def is_checked() -> bool:
    try:
        resize(FLAT, 2)
    except jaxtyping.TypeCheckError:
        return True
    except ValueError:  # of PyTorch's own
        return False
    raise AssertionError("no picture was resized")


def test_the_first_calls_of_a_function_are_checked_in_every_test():
    assert is_checked()
    for _ in range(CALLS):
        resize(torch.zeros(1, 3, 4, 4), 2)
    assert not is_checked()
    begin_again()
    assert is_checked()


def test_results_are_checked_too(monkeypatch):
    monkeypatch.setattr("torch.nn.functional.interpolate", lambda images, **_: images[0])
    with pytest.raises(jaxtyping.TypeCheckError, match="return value"):
        resize(torch.zeros(1, 3, 4, 4), 2)
