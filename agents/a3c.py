"""The masking actor-critic: every patch an agent, one trunk for all, credited with what its mask earns around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskgym.agent import GameSpec
from maskgym.dimensions import AVG_POOL, CONV
from maskgym.errors import BadInput
from maskgym.learner import Learner, Played, Proposal
from maskgym.masking.patches import Patches
from maskgym.masking.select import select
from maskgym.patchnet import ResidualPatchNet
from maskgym.seeding import seeded

_FIELD = {2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class A3CSettings:
    """Settings of `a3c`."""

    reach: int = 1
    """How far the consequences of hiding a patch are looked for, in patches; -1 = over the whole image."""
    price: float = 1.0
    """What hiding a patch costs, in mean losses of the image's hidden patches; with K fixed another one is shown."""
    width: int = 96
    """Features per patch."""
    images: int = 8
    """Images an update."""
    masks: int = 4
    """Masks of each image, to be compared with each other."""
    lr: float = 2e-3
    """Learning rate of Adam at the start; it falls to zero along a cosine."""
    temperature: float = 1.5
    """Deviation that the scores of an image are brought to, so that exploration does not end."""
    field: float = 0.7
    """Deviation of a smooth random field that is added to the scores of each mask: neighbours are tried together."""
    value: float = 0.2
    """Weight of the critic's loss."""
    hint_share: float = 0.0
    """p, the share of the hidden patches chosen at random while learning."""

    def __post_init__(self) -> None:
        if min(self.width, self.images) < 1 or self.masks < 2 or self.reach < -1:
            raise BadInput(f"{self}: width and images must be at least 1, masks at least 2, reach at least -1")
        if self.lr <= 0 or self.temperature <= 0 or min(self.field, self.value, self.price) < 0:
            raise BadInput(f"{self}: lr and temperature must be positive, field, value and price at least 0")
        if not 0.0 <= self.hint_share <= 1.0:
            raise BadInput(f"hint_share {self.hint_share} is outside [0, 1]: 0 leaves all to the policy")


class A3C(Learner):
    """Score by the logits of a policy that was rewarded for whole masks.

    The paper credits a patch with its own loss, but a hidden patch also makes its hidden neighbours harder, and no loss
    map shows that. Here several masks of one image are drawn from the policy and compared: a patch is credited with how
    much more than under the other masks was lost around it, less what hiding one costs. The paper's form: `a3c-paper`.
    """

    name = "a3c"
    paper = "AHM, with joint credit"

    Settings = A3CSettings

    def __init__(self, game_spec: GameSpec, settings: Any = None, seed: int = 0):
        super().__init__(game_spec, settings, seed)
        with seeded(seed):
            self.policy = ActorCritic(game_spec.channels, game_spec.patches, self.settings).to(game_spec.device)

    def score(self, images: Tensor) -> Tensor:
        """Score by the logits."""
        with torch.no_grad():
            return self.policy(images)[0].view(-1, *self.patches.grid)

    def sample(self, images: Tensor, index: Tensor | None = None) -> Tensor:
        """Score by logits, smooth field and Gumbel noise: the top K are then drawn one by one without replacement."""
        logits = self.score(images).flatten(1)
        tilted = logits + self._field(len(logits))
        return (tilted + self._gumbel(len(logits))).view(-1, *self.patches.grid)

    def propose(self, images: Tensor, masks: int) -> Proposal:
        """Draw masks of each image; the hints among them are drawn by nobody."""
        logits, values = self.policy(images)  # (I, N) both
        tilted = logits.detach().repeat_interleave(masks, 0)
        tilted = tilted + self._field(len(tilted))  # (I * M, N): of these scores each mask is a sample
        noisy = tilted + self._gumbel(len(tilted))
        budget, hard_share = self.game_spec.budget, 1.0 - self.settings.hint_share
        mask = select(noisy, budget, self.draw_keys(len(noisy)), hard_share)
        pull = drawing_gradient(tilted, noisy.argsort(1, descending=True), round(hard_share * budget))
        return Proposal(mask.unflatten(0, (-1, masks)), (logits, values, pull.unflatten(0, (-1, masks))))

    def loss(self, images: Tensor, proposal: Proposal, played: Played) -> dict[str, Tensor]:
        """Push drawn patches by their advantage; teach the critic the mean loss of each patch."""
        logits, values, pull = proposal.kept
        earned = played.patch_reward / played.patch_reward.mean()  # about one, whatever the game's rewards are
        advantage = self.advantage(earned, played.mask)
        policy_loss = -(advantage * pull * logits[:, None]).sum(2).mean() / self.game_spec.budget
        value_loss = (earned.mean(1) - values).square().mean()
        loss = policy_loss + self.settings.value * value_loss
        return {"loss": loss, "policy loss": policy_loss, "value loss": value_loss}

    def advantage(self, earned: Tensor, mask: Tensor) -> Tensor:
        """Say of rewards (I, M, N) how much better than under the image's other masks each patch's surroundings did.

        K is fixed: for every patch that is hidden another one is shown. So a hidden patch has to bring more than the
        mean hidden patch of its image does, else hiding looks good everywhere and only crowds are told apart.
        """
        mean = (earned * mask).sum((1, 2), keepdim=True) / mask.sum((1, 2), keepdim=True)
        net = earned - self.settings.price * mean * mask
        above = leave_one_out(around(net.flatten(0, 1), self.patches, self.settings.reach).view_as(net))
        return above / (above.std() + 1e-6)

    def _gumbel(self, batch: int) -> Tensor:
        """Noise (B, N) under which the order of scores is a sample of Plackett and Luce."""
        return -torch.log(-torch.log(self._uniform(batch, self.patches.count)))

    def _field(self, batch: int) -> Tensor:
        """Draw a smooth random field of a knot for every two patches, (B, N)."""
        knots = [max(2, cells // 2) for cells in self.patches.grid]
        count = torch.Size(knots).numel()
        normal = torch.special.ndtri(self._uniform(batch, count)).view(batch, 1, *knots)
        smooth = F.interpolate(normal, self.patches.grid, mode=_FIELD[self.patches.dims])
        return self.settings.field * smooth.flatten(1)

    def _uniform(self, batch: int, count: int) -> Tensor:
        return (self.draw_keys(batch, count).double() / 2**63).clamp(1e-12, 1 - 1e-12).float().clamp(max=1 - 2**-24)


class ActorCritic(nn.Module):
    """A trunk, and two heads with one number a patch: the policy's logit and the critic's guess of the patch's loss."""

    def __init__(self, channels: int, patches: Patches, settings: A3CSettings):
        super().__init__()
        self.temperature = settings.temperature
        self.trunk = ResidualPatchNet(channels, patches, settings.width)
        conv = CONV[patches.dims]
        self.actor, self.critic = conv(settings.width, 1, 1), conv(settings.width, 1, 1)
        for parameter in (*self.actor.parameters(), *self.critic.parameters()):
            nn.init.zeros_(parameter)  # start with all masks equally likely

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Turn images (B, C, *size) into logits (B, N), all of one deviation, and values (B, N)."""
        features = self.trunk(images)
        # In 32 bits again, whatever the trunk computed in: rounded scores would tie, and ties are no policy's choice.
        logits, values = (head(features).flatten(1).float() for head in (self.actor, self.critic))
        logits = logits - logits.mean(1, keepdim=True)
        return self.temperature * logits / (logits.std(1, keepdim=True) + 0.1), values


def drawing_gradient(logits: Tensor, order: Tensor, drawn: int) -> Tensor:
    """Differentiate the log-probability of drawing the first patches of `order` one by one, without replacement.

    Each draw is a softmax over what is left (Plackett and Luce). Patch i pulls on the sum by 1 if it was drawn, minus
    its probability in every draw in which it was still there.

    Args:
        logits: (B, N).
        order: (B, N), a permutation; the first `drawn` were drawn, in this order.
        drawn: how many; the hints of a mask are not among them.

    Returns:
        (B, N), the gradient with respect to the logits.
    """
    if not drawn:
        return torch.zeros_like(logits)
    ranked = logits.gather(1, order)
    left = ranked.flip(1).logcumsumexp(1).flip(1)[:, :drawn]  # (B, drawn): log of the sum over what was left
    rank = order.argsort(1)
    since = (-left).logcumsumexp(1).gather(1, rank.clamp(max=drawn - 1))  # over the draws in which patch i was there
    return (rank < drawn).to(logits.dtype) - (logits + since).exp()


def around(values: Tensor, patches: Patches, reach: int) -> Tensor:
    """Average (B, N) over the patches within reach, what lies outside the image counting as zero."""
    if reach < 0:
        return values.mean(1, keepdim=True).expand_as(values)
    return AVG_POOL[patches.dims](values.view(-1, 1, *patches.grid), 2 * reach + 1, 1, reach).flatten(1)


def leave_one_out(values: Tensor) -> Tensor:
    """Compare each mask (I, M, ...) with the mean of the other masks of its image."""
    return values - (values.sum(1, keepdim=True) - values) / (values.shape[1] - 1)
