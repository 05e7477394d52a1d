import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskgym.agent import GameSpec
from maskgym.game import Game
from maskgym.learner import Learner, Optimization, Played, Proposal
from maskgym.masking.patches import Patches


@dataclass(frozen=True)
class ToySettings:
    images: int = 2
    masks: int = 2
    lr: float = 0.05


class Toy(Learner):
    """The smallest learner: three weights that should become those of a noisy target. Trouble comes in update 3."""

    name = "toy"
    Settings = ToySettings

    def __init__(self, seed: int = 0, log: Path | None = None, trouble: str = "", nap: float = 0.0):
        super().__init__(GameSpec(Patches((4, 4), (2, 2)), ratio=0.5), seed=seed)
        self.log, self.trouble, self.nap = log, trouble, nap
        self.weights = nn.Parameter(torch.zeros(3))
        self.register_buffer("met", torch.zeros(1))
        self.first = True

    def optimization(self) -> Optimization:
        return Optimization(lr=self.settings.lr, clip=100.0)

    def propose(self, images: Tensor, masks: int) -> Proposal:
        number = int(self.drawn[0]) // (8 * len(images) * masks)
        time.sleep(self.nap)
        if self.first and self.trouble == "starts slowly":
            time.sleep(2.0)
        self.first = False
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{self.seed} {number} {torch.get_num_threads()}\n")
        if number == 3 and self.seed == 0 and self.trouble == "raises":
            raise ArithmeticError("the third update is cursed")
        if number == 3 and self.seed == 0 and self.trouble == "hangs":
            time.sleep(1000)
        return Proposal(torch.rand(len(images), masks, 4) < 0.5, number)

    def loss(self, images: Tensor, proposal: Proposal, played: Played) -> dict[str, Tensor]:
        assert self.weights.grad is None
        noise = torch.Generator().manual_seed(self.seed * 1000 + proposal.kept)
        loss = (self.weights - torch.arange(3.0) - torch.randn(3, generator=noise)).square().sum()
        self.met += 1
        half = torch.ones(1, 1, requires_grad=True) @ torch.ones(1, 1)
        assert self.trouble != "needs bf16" or half.dtype == torch.bfloat16
        if (proposal.kept == 3 and self.seed == 0 and self.trouble == "NaN") or self.trouble == "only NaN":
            loss, self.met = loss * float("nan"), self.met * float("nan")
        return {"loss": loss, "bits": torch.tensor(8.0 * half.element_size())}

    def save(self, folder: Any) -> None:
        torch.save(self.state_dict(), Path(folder) / "toy.pt")


class Blank(nn.Module):
    """Rebuilds nothing: a hidden patch costs what is in it."""

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        return images


class Task:
    """Eight images of noise under a network that rebuilds nothing."""

    def __init__(self) -> None:
        self.device, self.patches = torch.device("cpu"), Patches((4, 4), (2, 2))
        self.game = Game(Blank(), self.patches, 0.5)
        self.images = torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))

    def fetch(self, index: Any) -> Tensor:
        return self.images[torch.as_tensor(np.asarray(index))]


class Games:
    """A vector environment, of which the trainer needs the size and the task."""

    def __init__(self, num_envs: int = 4):
        self.num_envs, self.task = num_envs, Task()


@pytest.fixture
def toy() -> type[Toy]:
    return Toy


@pytest.fixture
def games() -> type[Games]:
    return Games
