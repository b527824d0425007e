import pytest
import torch

from imagen.evaluation.prompts import shapes_prompts

from .stand_ins import DrawingSampler, clip_folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """Folder of a random CLIPModel of 32 x 32 pictures."""
    return clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def judge(clip):
    from imagen.evaluation.features import Judge

    return Judge(clip, "tiny", device="cpu", batch_size=8)


@pytest.fixture(scope="session")
def random_pixels():
    """Twelve noisy 48 x 48 pictures."""
    return torch.randint(0, 256, (12, 48, 48, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


@pytest.fixture
def prompts():
    return shapes_prompts(count=12, seed=5)


@pytest.fixture
def sampler(prompts):
    return DrawingSampler(prompts)
