import numpy as np
import torch

from maskgym.masking import rng


def splitmix64(seed: int, count: int) -> list[int]:
    """The generator as published, in Python integers; our keys are its numbers without the last bit."""
    numbers, word = [], 2**64 - 1
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & word
        bits = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & word
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & word
        numbers.append((bits ^ (bits >> 31)) >> 1)
    return numbers


def test_keys_are_those_of_splitmix64():
    seeds = [0, 1, 7, 2**62, 2**63 - 1]
    keys = rng.keys(torch.tensor(seeds), 20)
    assert keys.dtype == torch.int64
    assert keys.tolist() == [splitmix64(seed, 20) for seed in seeds]


def test_keys_are_spread_evenly_and_neighbouring_seeds_are_unlike():
    keys = rng.keys(torch.arange(2000), 50).double() / 2**63
    assert keys.min() >= 0
    counts = torch.histc(keys, 20, 0, 1) / keys.numel()
    assert (counts - 1 / 20).abs().max() < 5 * (0.05 / keys.numel()) ** 0.5
    alike = np.corrcoef(keys[:200].numpy()) - np.eye(200)
    assert np.abs(alike).max() < 0.75


def test_a_second_draw_is_unlike_the_first():
    first = rng.keys(torch.arange(2000), 50)
    second = rng.again(first)
    assert second.min() >= 0
    assert abs(np.corrcoef(first.flatten().numpy(), second.flatten().numpy())[0, 1]) < 5 / 100_000**0.5


def test_drawing_from_a_generator_repeats_with_its_seed():
    first, second = (rng.draw((4, 9), torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.min() >= 0
    assert len(first.unique()) == 36
