import math

import numpy as np
import pytest
import torch

from imagen.diffusion.thresholding import DynamicThresholding, NoThresholding, StaticThresholding
from imagen.errors import UserError


@pytest.fixture
def wild():
    scales = torch.tensor([0.2, 1.0, 3.0, 30.0])[:, None, None, None]
    return scales * torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("thresholding", [StaticThresholding(), DynamicThresholding(), DynamicThresholding(1.0)])
def test_the_result_is_in_range_and_an_image_in_range_is_left_alone(thresholding, wild):
    assert thresholding(wild).abs().max() <= 1
    tame = wild / wild.abs().max()
    assert torch.equal(thresholding(tame), tame)


def test_none_leaves_everything_alone(wild):
    assert torch.equal(NoThresholding()(wild), wild)


def test_static_clips(wild):
    assert torch.equal(StaticThresholding()(wild), wild.clamp(-1, 1))


@pytest.mark.parametrize("percentile", [0.5, 0.9, 0.995])
def test_dynamic_divides_by_the_percentile_of_each_image_and_has_no_cap(percentile, wild):
    result = DynamicThresholding(percentile)(wild)
    for image, thresholded in zip(wild.numpy(), result.numpy(), strict=True):
        limit = max(np.percentile(np.abs(image), 100 * percentile), 1)
        np.testing.assert_allclose(thresholded, np.clip(image, -limit, limit) / limit, rtol=1e-5, atol=1e-6)


def test_dynamic_saturates_few_pixels_where_static_saturates_many(wild):
    saturated = [(t(wild[-1:]).abs() == 1).float().mean() for t in (StaticThresholding(), DynamicThresholding(0.9))]
    assert saturated[0] > 0.9
    assert 0.05 < saturated[1] < 0.15


def test_dynamic_treats_each_image_by_itself(wild):
    alone = torch.cat([DynamicThresholding()(image[None]) for image in wild])
    assert torch.equal(DynamicThresholding()(wild), alone)


def test_percentile_one_scales_without_clipping(wild):
    largest = wild.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1)
    torch.testing.assert_close(DynamicThresholding(1.0)(wild), wild / largest)


@pytest.mark.parametrize("percentile", [0.0, -0.1, 99.5, math.nan])
def test_an_impossible_percentile_is_refused_with_its_value(percentile):
    with pytest.raises(UserError, match=f"is {percentile};"):
        DynamicThresholding(percentile)
