import pytest
from tiny_models import save_t5


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory):
    """A tiny T5 with random weights. Tests must not change it."""
    return save_t5(tmp_path_factory.mktemp("t5"))
