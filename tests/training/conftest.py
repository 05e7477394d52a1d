import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maskgym.agent import GameSpec
from maskgym.masking.patches import Patches


class Toy(nn.Module):
    """The smallest learner: three weights that should become those of a noisy target."""

    def __init__(self, seed: int = 0, log: Path | None = None, trouble: str = "", nap: float = 0.0):
        super().__init__()
        self.seed, self.log, self.trouble, self.nap = seed, log, trouble, nap
        self.game_spec = GameSpec(Patches((4, 4), (2, 2)))
        self.weights = nn.Parameter(torch.zeros(3))
        self.register_buffer("met", torch.zeros(1))

    def games(self) -> int:
        return 4

    def optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.05)

    def rate(self, share: float) -> float:
        return 0.05 * (1 - 0.9 * share)

    def gradients(self, env: Any, turn: int) -> dict[str, Tensor]:
        time.sleep(self.nap)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{self.seed} {turn} {torch.get_num_threads()}\n")
        if turn == 3 and self.seed == 0 and self.trouble == "raises":
            raise ArithmeticError("the third turn is cursed")
        if turn == 3 and self.seed == 0 and self.trouble == "hangs":
            time.sleep(1000)
        assert self.weights.grad is None
        noise = torch.Generator().manual_seed(self.seed * 1000 + turn)
        loss = (self.weights - torch.arange(3.0) - torch.randn(3, generator=noise)).square().sum()
        loss.backward()
        self.met += 1
        return {"reward": -loss.detach(), "loss": loss.detach()}

    def save(self, folder: Path) -> None:
        torch.save(self.state_dict(), folder / "toy.pt")


class Games:
    """An environment of which only the size matters here."""

    def __init__(self, num_envs: int = 4):
        self.num_envs = num_envs


@pytest.fixture
def toy() -> type[Toy]:
    return Toy


@pytest.fixture
def games() -> type[Games]:
    return Games
