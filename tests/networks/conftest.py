"""Run a test once for each kind of network."""

from collections.abc import Callable

import pytest
from small_networks import MAKERS
from torch import nn


@pytest.fixture(params=MAKERS)
def make_network(request: pytest.FixtureRequest) -> Callable[..., nn.Module]:
    """One network kind after the other, as a function of changes to its settings."""
    return MAKERS[request.param]
