"""Random keys for a whole batch at once: from one integer a sample, the same on every device and in every batch.

Environments draw one integer an episode from Gymnasium's `np_random`; what must be random inside the episode is hashed
from it (the finaliser of splitmix64). So sub-environment i of a vector of a thousand meets the same keys as a lone
environment with its seed, and no step loops over samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

_STEP = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX = (-4658895280553007687, -7723592293110705685)  # 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def keys(seeds: Tensor, count: int) -> Tensor:
    """Hash (B,) int64 seeds into (B, count) int64 keys in [0, 2^63): the random order in which ties are broken."""
    steps = torch.arange(1, count + 1, device=seeds.device, dtype=torch.int64)
    return _mixed(seeds[:, None] + steps * _STEP)


def again(earlier: Tensor) -> Tensor:
    """Make other keys out of keys, as if drawn anew: a second choice must not follow from who lost the first one."""
    return _mixed(earlier + _STEP)


def gumbel(earlier: Tensor) -> Tensor:
    """Make float64 noise out of keys: the order of score / T + noise draws without replacement by exp(score / T)."""
    uniform = (earlier.double() / 2**63).clamp(1e-12, 1 - 1e-12)
    return -(-uniform.log()).log()


def _mixed(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift(bits, 30)) * _MIX[0]
    bits = (bits ^ _shift(bits, 27)) * _MIX[1]
    return _shift(bits ^ _shift(bits, 31), 1)


def _shift(bits: Tensor, by: int) -> Tensor:
    """Shift right as unsigned integers do."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def draw(
    shape: tuple[int, ...], generator: torch.Generator | None = None, device: torch.device | str = "cpu"
) -> Tensor:
    """Draw keys from a torch generator, for those who have one (pre-training, agents)."""
    where = generator.device if generator is not None else torch.device(device)
    return torch.randint(0, 2**63 - 1, shape, generator=generator, device=where, dtype=torch.int64).to(device)
