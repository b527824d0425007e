from dataclasses import replace

import pytest
import torch

from imagen.evaluation.statistics.audit import audit_kernel
from imagen.evaluation.statistics.jackknife import groups_of
from imagen.evaluation.statistics.kernel_distance import CMMD, KID, KernelDistance
from imagen.evaluation.statistics.precision_recall import precision_recall


def features(count, size, seed, shift=0.0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed)) + shift


def test_torchmetrics_and_torch_fidelity_agree_about_kid():
    audit = audit_kernel("kid", features(40, 12, 1, 0.4), features(50, 12, 2))
    assert audit.ours > 0.01
    assert audit.relative_difference < 1e-9
    assert audit.agrees


@pytest.mark.parametrize("count", [2, 3, 40])
@pytest.mark.parametrize("scale", [0, 1e-3, 1, 1000])
def test_calculators_agree_about_kid_of_a_set_and_itself(count, scale):
    one, other = scale * features(count, 12, 1), scale * features(count, 12, 2)
    assert audit_kernel("kid", one, one).agrees
    assert audit_kernel("kid", one, other).agrees
    wrong = replace(audit_kernel("kid", one, other), torch_fidelity=float("nan"))
    assert not wrong.agrees


def test_cmmd_is_its_definition():
    one, other = (torch.nn.functional.normalize(features(n, 6, n).double(), dim=1) for n in (9, 14))

    def mean(a, b):
        return float((-torch.cdist(a, b).square() / (2 * 10**2)).exp().mean())

    expected = 1000 * (mean(one, one) + mean(other, other) - 2 * mean(one, other))
    found = KernelDistance(CMMD, features(14, 6, 14))(features(9, 6, 9)).value
    assert found == pytest.approx(expected, rel=1e-6)
    assert found > 0


@pytest.mark.parametrize("form", [KID, CMMD], ids=["kid", "cmmd"])
def test_leaving_a_group_out_is_the_distance_of_the_others(form):
    distance = KernelDistance(form, features(30, 5, 1))
    generated = features(47, 5, 2, 0.5)
    found = distance(generated)
    for index in (0, 6, 19):
        expected = distance(generated[groups_of(47) != index]).value
        assert float(found.without[index]) == pytest.approx(expected, rel=1e-9)


def test_kid_has_no_bias():
    distance = KernelDistance(KID, features(4000, 4, 0))
    found = torch.tensor([distance(features(30, 4, seed)).value for seed in range(1, 120)])
    assert (found < 0).any()
    assert abs(float(found.mean())) < 3.5 * float(found.std()) / len(found) ** 0.5


def test_precision_is_of_the_generated_and_recall_of_the_real():
    real = torch.cat([features(40, 2, 1), features(40, 2, 2, shift=50)])
    generated = features(40, 2, 3)  # one of two modes: faithful, not diverse
    precision, recall = precision_recall(generated, real, 3)
    assert precision > 0.8
    assert recall < 0.55
