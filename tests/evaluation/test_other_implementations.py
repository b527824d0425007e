"""Numbers of other implementations for the same input: torch-fidelity's own tests, pytorch-fid, clean-fid, and a
computation by singular values."""

import importlib.util
import itertools
import os
import socket
import sys
import unittest
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from imagen.evaluation.judges.inception import CleanResize, Inception, TensorFlowResize
from imagen.evaluation.statistics.audit import frechet_by_torch_fidelity, frechet_by_torchmetrics
from imagen.evaluation.statistics.frechet import Gaussian, frechet_distance
from imagen.evaluation.statistics.kernel_distance import KID, KernelDistance
from imagen.evaluation.statistics.precision_recall import precision_recall


def features(count, size, seed, shift=0.0, scale=1.0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed)).double() * scale + shift


@pytest.fixture
def shipped_test(monkeypatch):
    """A module of the tests that torch-fidelity installs beside itself."""
    import torch_fidelity

    def load(name):
        path = Path(torch_fidelity.__file__).parents[1] / "tests" / "torch_pure" / "misc" / f"{name}.py"
        base = ModuleType("tests")
        base.TimeTrackingTestCase = unittest.TestCase
        monkeypatch.setitem(sys.modules, "tests", base)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated")
def test_f2_frechet_distances_of_torch_fidelitys_grid(shipped_test):
    module = shipped_test("test_fid_stats_fn")

    def ours(one, other, verbose):
        gaussians = (Gaussian(torch.from_numpy(s["mu"]), torch.from_numpy(s["sigma"]), 2) for s in (one, other))
        return {module.KEY_METRIC_FID: frechet_distance(*gaussians)}

    module.impl_lib = ours
    case = module.TestFIDStatsFunction()
    case._test_fid_stat(*case.make_stat_for_buggy_nan_impl(), "where an implementation gave NaN", False)
    for count, size in itertools.product((2**power for power in range(1, 13)), (2**power for power in range(1, 8))):
        if count > size:
            case._test_fid_stat(*case.make_stat(count, size, 2023), f"N={count} C={size}", False)
        else:  # the square root of a singular matrix, its reference, is itself wrong in the eighth digit
            random = np.random.RandomState(2023)
            one, other = (torch.from_numpy(random.randn(count, size)) for _ in range(2))
            ours = frechet_distance(Gaussian.fit(one), Gaussian.fit(other))
            assert ours == pytest.approx(by_singular_values(one, other), rel=3e-8), f"N={count} C={size}"


def test_f2_precision_and_recall_by_torch_fidelitys_convention(shipped_test):
    module = shipped_test("test_prc_convention")
    module.calculate_precision_recall_full = lambda generated, real: precision_recall(generated, real, 3)
    cases = unittest.defaultTestLoader.loadTestsFromTestCase(module.TestPrcConvention)
    result = unittest.TestResult()
    cases.run(result)
    assert result.testsRun == 3
    assert result.wasSuccessful(), result.failures + result.errors


def by_singular_values(one, other):
    """No covariance: Tr √(Σ₁Σ₂) is the sum of the singular values of A₁A₂ᵀ, with A the centred features / √(n-1)."""
    a, b = ((f - f.mean(dim=0)) / (len(f) - 1) ** 0.5 for f in (one, other))
    difference = (one.mean(dim=0) - other.mean(dim=0)).square().sum()
    return float(difference + a.square().sum() + b.square().sum() - 2 * torch.linalg.svdvals(a @ b.T).sum())


@pytest.mark.parametrize(("count", "size"), [(300, 24), (20, 60)])
def test_f3_the_same_features_by_every_route(count, size):
    one, other = features(count, size, 1), features(count + 7, size, 2, 0.3, 1.7)
    ours = frechet_distance(Gaussian.fit(other), Gaussian.fit(one))
    assert by_singular_values(one, other) == pytest.approx(ours, rel=3e-7)
    assert frechet_by_torchmetrics(one, other) == pytest.approx(ours, rel=3e-7)
    assert frechet_by_torch_fidelity(one, other) == pytest.approx(ours, rel=3e-7)


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated")
def test_f3_pytorch_fid_and_clean_fid_agree():
    from cleanfid.fid import frechet_distance as by_clean_fid
    from pytorch_fid.fid_score import calculate_frechet_distance as by_pytorch_fid

    one, other = features(300, 24, 1).numpy(), features(300, 24, 2, 0.3, 1.7).numpy()
    moments = [moment for f in (one, other) for moment in (f.mean(axis=0), np.cov(f, rowvar=False))]
    ours = frechet_distance(*(Gaussian.fit(torch.from_numpy(f)) for f in (other, one)))
    assert float(by_pytorch_fid(*moments)) == pytest.approx(ours, rel=3e-7)
    assert float(by_clean_fid(*moments)) == pytest.approx(ours, rel=3e-7)


def test_f4_one_state_dict_in_every_inception(inception_weights, random_pixels, monkeypatch):
    from pytorch_fid import inception as theirs
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    weights = torch.load(inception_weights, map_location="cpu", weights_only=True)
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *arguments, **options: weights)
    judge = Inception(inception_weights, device="cpu", batch_size=4)
    pixels = random_pixels[:2]
    ours = judge.image_features(pixels)
    assert ours.std() > 1e-2
    whole = FeatureExtractorInceptionV3("same", ["2048"], feature_extractor_weights_path=str(inception_weights))
    assert torch.equal(whole(pixels.movedim(-1, 1).contiguous())[0], ours)
    resized = (TensorFlowResize()(pixels, torch.device("cpu")) - 128) / 128
    other = theirs.InceptionV3(resize_input=False, normalize_input=False).eval()
    with torch.inference_mode():
        (found,) = other(resized)
    assert torch.equal(found.flatten(1), ours)


@pytest.mark.parametrize("side", [16, 64, 299, 320])
def test_clean_resize_is_clean_fids(side):
    from cleanfid.resize import build_resizer

    pixels = torch.randint(0, 256, (2, side, side, 3), generator=torch.Generator().manual_seed(4)).to(torch.uint8)
    theirs = torch.stack([torch.from_numpy(build_resizer("clean")(picture.numpy())) for picture in pixels])
    found = CleanResize()(pixels, torch.device("cpu"))
    assert torch.equal(found, theirs.movedim(-1, 1))
    assert side == 299 or not torch.equal(found, TensorFlowResize()(pixels, torch.device("cpu")))


def test_the_two_resizes_are_two_judges(inception_weights, random_pixels):
    clean = Inception(inception_weights, device="cpu", resize=CleanResize())
    assert clean.name == f"inception-clean:{clean.identity['files']['weights'][:8]}"
    assert clean.fidelity_key == f"fd[{clean.name}]"
    plain = Inception(inception_weights, device="cpu")
    assert plain.identity != clean.identity
    assert not torch.allclose(plain.image_features(random_pixels[:2]), clean.image_features(random_pixels[:2]))


def test_f6_kid_is_clean_fids():
    from cleanfid.fid import kernel_distance

    one, other = features(90, 12, 1, 0.4), features(90, 12, 2)
    # As large a subset as there are pictures: every subset is all of them, and nothing is left to chance.
    theirs = kernel_distance(one.numpy(), other.numpy(), num_subsets=1, max_subset_size=90)
    assert KernelDistance(KID, other)(one).value == pytest.approx(theirs, rel=1e-9)
    assert theirs > 0.01


def test_importing_the_other_implementations_opens_no_connection(monkeypatch):
    attempts = []
    monkeypatch.setattr(socket.socket, "connect", lambda *arguments: attempts.append(arguments))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: attempts.append(arguments))
    names = ("cleanfid", "pytorch_fid")
    for name in [module for module in sys.modules if module.split(".")[0] in names]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("cleanfid.fid", "cleanfid.resize", "pytorch_fid.fid_score", "pytorch_fid.inception"):
        importlib.import_module(name)
    assert attempts == []


def cifar10(folder, names, count):
    """The first `count` pictures of CIFAR-10's python batches, (count, 32, 32, 3)."""
    import pickle

    parts = [pickle.loads((folder / name).read_bytes(), encoding="latin1")["data"] for name in names]
    return torch.from_numpy(np.concatenate(parts)[:count]).unflatten(1, (3, 32, 32)).movedim(1, -1).contiguous()


WEIGHTS, CIFAR = os.environ.get("IMAGEN_INCEPTION_WEIGHTS"), os.environ.get("IMAGEN_CIFAR10")


@pytest.mark.skipif(not (WEIGHTS and CIFAR), reason="needs IMAGEN_INCEPTION_WEIGHTS and IMAGEN_CIFAR10")
def test_f8_fid_of_cifar10_with_the_real_weights():
    """The first 5,000 pictures of training and of test; the number is that of torch-fidelity's own test."""
    judge = Inception(WEIGHTS, device="auto", batch_size=64)
    assert judge.fidelity_key == "fid"
    folder = Path(CIFAR)
    training = cifar10(folder, [f"data_batch_{number}" for number in range(1, 6)], 5000)
    test = cifar10(folder, ["test_batch"], 5000)
    found = frechet_distance(*(Gaussian.fit(judge.image_features(pixels)) for pixels in (test, training)))
    assert found == pytest.approx(10.3233274, abs=1e-4)
