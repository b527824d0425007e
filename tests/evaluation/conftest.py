import pytest
import torch

from imagen.evaluation.prompts.prompt_set import shapes_prompts

from .stand_ins import DrawingSampler, clip_folder, plan, ticks

WEIGHTS = [1, 1.5, 4]


@pytest.fixture
def steady_clock(monkeypatch):
    """Every call of a sampler takes half a second, so that equal blocks are equal files."""
    monkeypatch.setattr("imagen.evaluation.sweep.sweep.perf_counter", ticks().__next__)


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """Folder of a random CLIPModel of 32 x 32 pictures."""
    return clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def judge(clip):
    from imagen.evaluation.judges.clip import ClipJudge

    return ClipJudge(clip, "tiny", device="cpu", batch_size=8)


@pytest.fixture(scope="session")
def random_pixels():
    """Twelve noisy 48 x 48 pictures."""
    return torch.randint(0, 256, (12, 48, 48, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


@pytest.fixture(scope="session")
def run(tmp_path_factory, judge):
    """A finished evaluation of twelve prompts at `WEIGHTS`, two curves that cost the same: its results and its
    folder."""
    from .test_sweep import evaluation

    prompts = shapes_prompts(count=12, seed=5)
    out = tmp_path_factory.mktemp("evaluation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("imagen.evaluation.sweep.sweep.perf_counter", ticks().__next__)
        return evaluation(out, [judge], prompts).run(plan(DrawingSampler(prompts), WEIGHTS)), out


@pytest.fixture
def prompts():
    return shapes_prompts(count=12, seed=5)


@pytest.fixture
def sampler(prompts):
    return DrawingSampler(prompts)


@pytest.fixture(scope="session")
def inception_weights(tmp_path_factory):
    """Random weights of torch-fidelity's InceptionV3, in the file format of the real ones."""
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    with torch.random.fork_rng(), pytest.MonkeyPatch.context() as patch:
        torch.manual_seed(0)
        # Its constructor always loads weights; skip that once to get at its random ones.
        patch.setattr(theirs, "load_state_dict_from_url", lambda *args, **kwargs: None)
        patch.setattr(torch.nn.Module, "load_state_dict", lambda self, state: None)
        network = theirs.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):  # the library's own start lets features vanish
                torch.nn.init.kaiming_normal_(module.weight)
    torch.save(network.state_dict(), path)
    return path
