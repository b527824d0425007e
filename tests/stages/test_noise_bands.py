"""Loss by noise level."""

import torch

from imagen.stages.noise_bands import BandedMean


def test_each_band_averages_its_own_images_and_starts_afresh():
    bands = BandedMean()
    bands.update(torch.tensor([1.0, 3.0, 10.0]), torch.tensor([-7.0, -8.0, 0.5]))
    bands.update(torch.tensor([20.0]), torch.tensor([1.5]))
    assert {name: mean.item() for name, mean in bands.pop().items()} == {"below_-6": 2.0, "-2_to_2": 15.0}
    assert bands.pop() == {}
