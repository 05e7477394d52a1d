"""Hard patches mining: a small network learns to rank patches by what they cost, and its teacher says what to hide."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from math import pi, prod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskgym.agent import GameSpec
from maskgym.errors import BadInput
from maskgym.learner import Learner, Played, Proposal
from maskgym.masking.patches import Patches
from maskgym.masking.select import select
from maskgym.patchnet import PatchNet
from maskgym.pretrain_hooks import PretrainHooks
from maskgym.seeding import seeded

_WAVES = 4  # frequencies a position is written in, each twice the one before


@dataclass(frozen=True)
class HpmSettings:
    """Settings of `hpm`."""

    trunk: Literal["conv", "vit"] = "conv"
    """What the ranker stands on: PatchNet, or a small vision transformer."""
    width: int = 48
    """Features per patch."""
    depth: int = 4
    """Blocks of the vision transformer."""
    images: int = 32
    """Images an update."""
    masks: int = 1
    """Masks of each image."""
    lr: float = 2e-3
    """Learning rate of Adam at the start; it falls to zero along a cosine."""
    ema: float = 0.98
    """The teacher that chooses masks keeps this share of itself each step; 0 = the ranker chooses itself."""
    share: float = 0.5
    """Share of the hidden patches that is chosen by score while learning, the rest is random: what is never hidden is
    never ranked."""

    def __post_init__(self) -> None:
        if not (0.0 <= self.ema < 1.0 and 0.0 <= self.share <= 1.0):
            raise BadInput(f"hpm with ema={self.ema}, share={self.share}: ema must be in [0, 1), share in [0, 1]")
        if min(self.width, self.depth, self.images, self.masks) < 1 or self.lr <= 0:
            raise BadInput(f"{self}: width, depth, images, masks and lr must be positive")


class Hpm(PretrainHooks, Learner):
    """Hide what a ranker expects to cost most.

    In an environment the ranker is a network of the agent's own, trained on the losses that came back. In pre-training
    it is trained in `observe`, unless the student predicts its own losses and takes its place: any attached network
    with `predict_loss(images, mask)` giving (B, *grid) scores, where `mask=None` shows it the whole image. Then the
    teacher's predictor scores, and the ranking loss is handed to the student as an auxiliary loss.
    """

    name = "hpm"
    paper = "SelfMedHPM"

    ranks = True
    Settings = HpmSettings

    def __init__(self, game_spec: GameSpec, settings: Any = None, seed: int = 0):
        super().__init__(game_spec, settings, seed)
        with seeded(seed):
            self.ranker = _Ranker(game_spec.channels, game_spec.patches, self.settings).to(game_spec.device)
        self.teacher = deepcopy(self.ranker).requires_grad_(False)

    def score(self, images: Tensor) -> Tensor:
        """Score by how much the teacher expects a patch to cost."""
        if self._student is not None:
            teacher: Any
            with self.lent_network() as teacher:
                return teacher.predict_loss(images, None)
        with torch.no_grad():
            return self.teacher(images)

    def sample(self, images: Tensor, index: Tensor | None = None) -> Tensor:
        """Score the first `share` of K patches as ever, and put all others below them in random order."""
        scores = self.score(images).flatten(1)
        keys = self.draw_keys(len(images))
        hard = select(scores, round(self.settings.share * self.game_spec.budget), keys)
        below = scores.amin(1, keepdim=True) - 1 - keys.to(scores.dtype) / 2**63
        return torch.where(hard, scores, below).view(-1, *self.patches.grid)

    def propose(self, images: Tensor, masks: int) -> Proposal:
        """Ask for what the teacher expects to cost most, and leave the rest of the budget random."""
        mask = self.to_mask(self.sample(images.repeat_interleave(masks, 0)))
        return Proposal(mask.unflatten(0, (-1, masks)))

    def loss(self, images: Tensor, proposal: Proposal, played: Played) -> dict[str, Tensor]:
        """Teach the ranker in which order the hidden patches cost."""
        masks = played.mask.shape[1]
        scores = self.ranker(images).flatten(1).repeat_interleave(masks, 0)
        loss = ranking_loss(scores, played.patch_reward.flatten(0, 1), played.mask.flatten(0, 1))
        return {"loss": loss, "ranking loss": loss}

    @torch.no_grad()
    def after_step(self) -> None:
        """Let the teacher follow the ranker."""
        leading: list[Tensor] = list(self.ranker.parameters())
        torch._foreach_lerp_(list[Tensor](self.teacher.parameters()), leading, 1.0 - self.settings.ema)

    def observe(self, images: Tensor, mask: Tensor, patch_loss: Tensor, index: Tensor) -> dict[str, float]:
        """Teach the ranker in pre-training, where the student does not rank for itself."""
        if self._student is not None:
            return {}
        with torch.enable_grad():
            loss = ranking_loss(self.ranker(images), patch_loss, mask)
            self.optimizer.zero_grad()
            loss.backward()
        self.optimizer.step()
        self.after_step()
        return {"ranking loss": float(loss.detach())}

    def auxiliary_loss(self, images: Tensor, mask: Tensor, patch_loss: Tensor, index: Tensor) -> Tensor | None:
        """Rank by the student's own predictor, if it has one, from what the student sees of the images."""
        if self._student is None:
            return None
        return ranking_loss(self._student.predict_loss(images, mask), patch_loss, mask)

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """Adam over the ranker in pre-training; made when first needed, for importing it takes longer than a game."""
        return torch.optim.Adam(self.ranker.parameters(), lr=self.settings.lr)

    @property
    def _student(self) -> Any:
        """The attached student, if it predicts its losses."""
        return self._attached[0] if hasattr(self._attached[0], "predict_loss") else None


def ranking_loss(scores: Tensor, patch_loss: Tensor, mask: Tensor) -> Tensor:
    """Ask of every two hidden patches of an image which one cost more: mean cross-entropy over the pairs.

    The paper sums over ordered pairs (i, j) with target [L_i > L_j]; (j, i) with the opposite target costs the same, so
    the mean over pairs with L_i > L_j is the mean over all ordered pairs that are not equal. Softplus stands for
    -log(sigmoid), whose logarithm saturates for pairs that are wrong with confidence.

    Args:
        scores: (B, *grid).
        patch_loss: (B, *grid), gives no gradient.
        mask: (B, *grid) bool, True = hidden.
    """
    scores, cost, hidden = scores.flatten(1), patch_loss.detach().flatten(1), mask.flatten(1)
    ordered = (cost[:, :, None] > cost[:, None]) & hidden[:, :, None] & hidden[:, None]  # (B, N, N): i cost more than j
    wrong = F.softplus(scores[:, None] - scores[:, :, None])  # (B, N, N): s_j - s_i
    return (wrong * ordered).sum() / ordered.sum().clamp(min=1)


class _Ranker(nn.Module):
    """One number per patch."""

    def __init__(self, channels: int, patches: Patches, settings: HpmSettings):
        super().__init__()
        trunks = {"conv": PatchNet, "vit": _Transformer}
        more = {"depth": settings.depth} if settings.trunk == "vit" else {}
        self.trunk = trunks[settings.trunk](channels, patches, settings.width, **more)
        self.head = nn.Linear(settings.width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Rank the patches of (B, C, *size) images: (B, *grid)."""
        return self.head(self.trunk(images).movedim(1, -1))[..., 0].float()  # rounded ones would tie


class _Transformer(nn.Module):
    """A small vision transformer with positions as sines, so that it takes grids of any size."""

    def __init__(self, channels: int, patches: Patches, width: int, depth: int, heads: int = 4):
        super().__init__()
        self.patches = patches
        self.embed = nn.Linear(channels * prod(patches.patch), width)
        self.place = nn.Linear(2 * _WAVES * patches.dims, width)
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        axes = [torch.linspace(0, 1, cells) for cells in patches.grid]
        cells = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)  # (N, dims)
        phase = (cells[..., None] * pi * 2 ** torch.arange(_WAVES)).flatten(1)
        self.register_buffer("waves", torch.cat([phase.sin(), phase.cos()], 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Turn (B, C, *size) images into features (B, width, *grid)."""
        tokens = self.embed(self.patches.split(images)) + self.place(self.waves)
        return self.blocks(tokens).mT.unflatten(2, self.patches.grid)
