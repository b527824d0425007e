import pytest

from benchmarks.deepfloyd.tiny import save_if_base, save_if_upscaler


@pytest.fixture(scope="session")
def if_base(tmp_path_factory):
    """The folder of a tiny IF-I, with its T5."""
    pytest.importorskip("diffusers")
    return save_if_base(tmp_path_factory.mktemp("models") / "IF-I")


@pytest.fixture(scope="session")
def if_upscaler(tmp_path_factory):
    """The folder of a tiny IF-II."""
    pytest.importorskip("diffusers")
    return save_if_upscaler(tmp_path_factory.mktemp("models") / "IF-II")
