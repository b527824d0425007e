import pytest
import torch

from .tiny_vlms import save_blip2, save_llava

CAPTIONS = ["a red circle", "the green square left of the blue circle", "a circle", "a blue square above the circle"]


@pytest.fixture(scope="session")
def llava(tmp_path_factory):
    """Folder of a random LLaVA of 16 x 16 pictures."""
    return save_llava(tmp_path_factory.mktemp("vlm") / "llava")


@pytest.fixture(scope="session")
def blip2(tmp_path_factory):
    """Folder of a random BLIP-2 with a T5 of 16 x 16 pictures."""
    return save_blip2(tmp_path_factory.mktemp("vlm") / "blip2")


@pytest.fixture(scope="session")
def vlm(llava):
    from imagen.evaluation.judges.vlm.judge import VlmJudge

    return VlmJudge(llava, "tiny", device="cpu", batch_size=3)


@pytest.fixture(scope="session")
def pictures():
    """Four noisy 24 x 24 pictures."""
    return torch.randint(0, 256, (4, 24, 24, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
