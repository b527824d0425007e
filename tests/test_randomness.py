"""Seeds: on which parts of their key they depend, and how many of their bits matter."""

from collections import Counter

import numpy as np
import torch

from imagen.randomness import derive_seed, make_generator

TORCH_BITS = 32


def noise(*key):
    return torch.randn(64, generator=make_generator(*key))


def test_every_part_of_a_key_its_type_and_its_place_matter():
    keys = [(0, "noise", 3), (3, "noise", 0), ("0", "noise", 3), (0, "noise3"), (0, "noise", 3, 0), (1, "noise", 3)]
    assert len({derive_seed(*key) for key in keys}) == len(keys)
    assert all(0 <= derive_seed(*key) < 2**63 for key in keys)
    assert torch.equal(noise(*keys[0]), noise(*keys[0]))


def test_torch_takes_the_low_32_bits_of_a_seed_and_numpy_all():
    seed = derive_seed(0, "train", 8351, 0)
    for bit in range(TORCH_BITS, 63):
        other = seed ^ (1 << bit)
        one, two = (torch.randn(4, generator=torch.Generator().manual_seed(s)) for s in (seed, other))
        assert torch.equal(one, two)
        assert np.random.default_rng(seed).random() != np.random.default_rng(other).random()
    lower = (torch.randn(4, generator=torch.Generator().manual_seed(seed ^ (1 << bit))) for bit in range(TORCH_BITS))
    assert len({tuple(one.tolist()) for one in lower}) == TORCH_BITS


def test_two_batches_of_seed_0_draw_the_same_noise_as_the_docstring_says():
    """Their seeds differ, in the bits that torch leaves out. These draws are kept: others would move every figure."""
    one, other = (0, "train", 8351, 0), (0, "train", 82655, 0)
    assert derive_seed(*one) != derive_seed(*other)
    assert torch.equal(noise(*one), noise(*other))


def test_about_n_squared_over_2_to_the_33_pairs_coincide():
    count = 200_000
    seeds = Counter(derive_seed(0, "picture", index, "base") % 2**TORCH_BITS for index in range(count))
    pairs = sum(number * (number - 1) // 2 for number in seeds.values())
    expected = count**2 / 2 ** (TORCH_BITS + 1)
    assert abs(pairs - expected) < 3 * expected**0.5  # 5, of 4.66 expected
