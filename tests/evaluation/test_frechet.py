from dataclasses import replace

import numpy as np
import pytest
import torch

from imagen.errors import UserError
from imagen.evaluation.statistics.audit import audit_frechet, frechet_by_torch_fidelity, frechet_by_torchmetrics
from imagen.evaluation.statistics.frechet import Gaussian, frechet_distance


def features(count, size, seed=0, shift=0.0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator) * scale + shift


def gaussian(mean, covariance):
    return Gaussian(torch.as_tensor(mean).double(), torch.as_tensor(covariance).double(), 100)


def test_unit_gaussians_one_apart_on_every_axis_are_as_far_as_there_are_axes():
    size = 7
    one, other = gaussian(np.zeros(size), np.eye(size)), gaussian(np.ones(size), np.eye(size))
    assert frechet_distance(one, other) == pytest.approx(size, rel=1e-12)


def test_diagonal_covariances_follow_the_closed_form():
    a, b = torch.tensor([0.5, 2.0, 9.0]).double(), torch.tensor([4.0, 1.0, 0.25]).double()
    mean = torch.tensor([1.0, -2.0, 0.5]).double()
    expected = float(mean.square().sum() + (a.sqrt() - b.sqrt()).square().sum())
    assert frechet_distance(gaussian(torch.zeros(3), a.diag()), gaussian(mean, b.diag())) == pytest.approx(expected)


def test_covariances_that_do_not_commute_agree_with_scipy():
    from scipy.linalg import sqrtm

    one, other = (Gaussian.fit(features(50, 6, seed) @ features(6, 6, seed + 10)) for seed in (1, 2))
    root = sqrtm((one.covariance @ other.covariance).numpy()).real
    expected = float((one.mean - other.mean).square().sum() + (one.covariance + other.covariance).trace())
    assert frechet_distance(one, other) == pytest.approx(expected - 2 * np.trace(root), rel=1e-9)


def test_the_distance_of_a_set_to_itself_is_zero_and_does_not_depend_on_the_order():
    values = features(40, 8)
    one = Gaussian.fit(values)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    other = Gaussian.fit(features(40, 8, seed=1))
    shuffled = Gaussian.fit(values[torch.randperm(40, generator=torch.Generator().manual_seed(0))])
    assert frechet_distance(shuffled, other) == pytest.approx(frechet_distance(one, other), rel=1e-12)


def test_statistics_are_unbiased_and_in_double_precision():
    values = features(30, 4) + 1000  # float32 covariances of such features are wrong in the third digit
    fitted = Gaussian.fit(values)
    torch.testing.assert_close(fitted.covariance, torch.from_numpy(np.cov(values.double().numpy(), rowvar=False)))
    assert fitted.covariance.dtype == torch.float64


@pytest.mark.parametrize(("count", "size"), [(200, 16), (12, 40)])
def test_torchmetrics_and_torch_fidelity_agree_with_ours(count, size):
    audit = audit_frechet("fd", features(count, size, 1), features(count + 5, size, 2, shift=0.3, scale=1.7))
    assert audit.torch_fidelity is not None
    assert audit.relative_difference < 1e-7
    assert audit.agrees
    assert audit.ours > 1


UNLIKE = {
    "as drawn": lambda x: x,
    "large": lambda x: 1000 * x,
    "small": lambda x: 1e-4 * x,
    "far from zero": lambda x: x + 100,
    "falling spectrum": lambda x: x * torch.logspace(0, -3, x.shape[1]),
    "three directions": lambda x: x[:, :3] @ features(3, x.shape[1], 5),
    "half of them zero": lambda x: x * (torch.arange(x.shape[1]) < x.shape[1] // 2),
    "all alike": lambda x: x[:1].expand_as(x),
    "all zero": torch.zeros_like,
}


@pytest.mark.parametrize("count", [2, 12, 40, 41, 100])
@pytest.mark.parametrize("form", UNLIKE.values(), ids=UNLIKE.keys())
def test_calculators_agree_about_a_set_and_itself_also_where_covariances_are_singular(count, form):
    """The root of a singular matrix is right to 1e-8 only, so 12 pictures of 40 features gave -1e-6 for 0."""
    one, other = form(features(count, 40)), form(features(count, 40, 1))
    assert audit_frechet("fd", one, one).agrees
    assert audit_frechet("fd", one, other).agrees


@pytest.mark.parametrize("form", UNLIKE.values(), ids=UNLIKE.keys())
def test_a_mistake_in_a_distance_of_singular_covariances_is_found(form):
    audit = audit_frechet("fd", form(features(12, 40)), form(features(15, 40, 1, shift=0.3, scale=1.7)))
    for factor in (1 + 1e-4, 1 - 1e-4, 0, -1, float("nan")):
        wrong = {name: replace(audit, **{name: audit.ours * factor}) for name in ("torchmetrics", "torch_fidelity")}
        found = [name for name, one in wrong.items() if not one.agrees]
        assert found == ([] if audit.ours == 0 and factor == factor else list(wrong))


def test_a_mistake_at_few_features_of_any_size_is_found():
    for scale in (1e-4, 1, 1000):
        audit = audit_frechet("fd", scale * features(50, 4), scale * features(50, 4, 1))
        assert audit.agrees
        assert not replace(audit, torchmetrics=audit.ours * (1 + 2e-5)).agrees


def test_an_audit_that_disagrees_says_so():
    audit = audit_frechet("fd", features(50, 4), features(50, 4, 1))
    assert not replace(audit, torchmetrics=audit.ours * (1 + 2e-5)).agrees
    assert not replace(audit, torch_fidelity=audit.ours * (1 - 2e-5)).agrees


def test_the_libraries_are_fed_in_double_precision():
    generated, reference = features(60, 8, 1, shift=100), features(60, 8, 2, shift=100)
    exact = frechet_distance(Gaussian.fit(reference), Gaussian.fit(generated))
    assert frechet_by_torchmetrics(generated, reference) == pytest.approx(exact, rel=1e-7)
    assert frechet_by_torch_fidelity(generated, reference) == pytest.approx(exact, rel=1e-7)


def test_too_few_broken_or_unlike_features_are_refused():
    with pytest.raises(UserError, match="at least 2 pictures"):
        Gaussian.fit(features(1, 3))
    broken = features(5, 3)
    broken[2, 1] = float("nan")
    with pytest.raises(UserError, match="nan"):
        Gaussian.fit(broken)
    with pytest.raises(UserError, match="different sizes: 3 in the reference, 4"):
        frechet_distance(Gaussian.fit(features(5, 3)), Gaussian.fit(features(5, 4)))


def test_the_root_of_the_reference_is_taken_once(monkeypatch):
    features = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    reference, other = Gaussian.fit(features[:20]), Gaussian.fit(features[20:])
    taken, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: taken.append(matrix) or eigh(matrix))
    assert len({frechet_distance(reference, other) for _ in range(3)}) == 1
    assert len(taken) == 1
