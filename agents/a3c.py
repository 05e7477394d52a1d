"""The masking actor-critic: every patch an agent, one trunk for all, paid for what its mask does around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, gcd, pi
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskgym.agent import Agent, GameSpec, seeded
from maskgym.errors import BadInput
from maskgym.masking.observation import from_observation
from maskgym.masking.patches import Patches
from maskgym.masking.select import select
from maskgym.patchnet import ResidualPatchNet, table3_head, table3_trunk
from maskgym.training.learner import train_alone

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_POOL: dict[int, Any] = {2: F.avg_pool2d, 3: F.avg_pool3d}


@dataclass(frozen=True)
class A3CSettings:
    """Settings of `a3c`."""

    credit: Literal["joint", "counterfactual", "centred", "own"] = "joint"
    """What a patch is credited with. "joint": the loss of all patches within `reach`, compared between the masks of one
    image. "counterfactual": mean of that over the masks that hide the patch, minus mean over those that show it.
    "centred": its own loss against the mean of the hidden ones. "own": its own loss against the critic's guess."""
    reach: int = 1
    """How far the consequences of hiding a patch are looked for, in patches; -1 = over the whole image."""
    whole: float = 0.0
    """Weight of the whole image's reward, compared in the same way, beside what happened within reach ("joint")."""
    policy_gradient: Literal["sample", "bernoulli"] = "sample"
    """Whose probability is pushed: that of the ordered sample really drawn, or of N independent coins (the paper)."""
    network: Literal["residual", "table3"] = "residual"
    """The trunk: residual with group norms, or the paper's table III with batch norms."""
    width: int = 48
    """Features per patch."""
    images: int = 8
    """Images an update."""
    masks: int = 4
    """Masks of each image, to be compared with each other."""
    lr: float = 1e-3
    """Learning rate of Adam at the start."""
    decay: Literal["cosine", "steps"] = "cosine"
    """How it falls: to zero along a cosine, or by a tenth eight times (the paper: x 0.9 every 25 of 200 epochs)."""
    temperature: float = 1.5
    """Deviation that the scores of an image are brought to, so that chance keeps its say; 0 = as they come (paper)."""
    entropy: float = 0.0
    """Weight of the entropy bonus."""
    value: float = 0.2
    """Weight of the critic's loss."""
    hint_share: float = 0.0
    """p, the share of the hidden patches left to chance while learning."""

    def __post_init__(self) -> None:
        if min(self.width, self.images, self.masks) < 1 or self.reach < -1 or self.lr <= 0 or self.temperature < 0:
            raise BadInput(f"{self}: width, images, masks, lr must be positive, temperature at least 0, reach -1")
        if not 0.0 <= self.hint_share <= 1.0:
            raise BadInput(f"hint_share {self.hint_share} is outside [0, 1]: 0 leaves all to the policy")
        if self.masks == 1 and self.credit in ("joint", "counterfactual"):
            raise BadInput(f"credit {self.credit!r} compares masks of one image: set masks to 2 or more")


@dataclass(frozen=True)
class PaperSettings(A3CSettings):
    """Settings of `a3c-paper`, as AHM prints them."""

    credit: Literal["joint", "counterfactual", "centred", "own"] = "own"
    policy_gradient: Literal["sample", "bernoulli"] = "bernoulli"
    network: Literal["residual", "table3"] = "table3"
    width: int = 64
    images: int = 4
    masks: int = 1
    lr: float = 3e-4
    decay: Literal["cosine", "steps"] = "steps"
    temperature: float = 0.0
    value: float = 1.0
    hint_share: float = 0.3


class A3C(Agent):
    """Score by the logits of a policy that was paid for whole masks.

    The paper credits a patch with its own loss, but a hidden patch also makes its hidden neighbours harder, and no loss
    map shows that. Here several masks of one image are drawn from the policy and compared: a patch is credited with how
    much more than in the other masks was lost around it. `a3c-paper` is the same code in the paper's form.
    """

    name = "a3c"
    paper = "AHM, with credit for the neighbourhood"
    learns = True

    Settings = A3CSettings

    def __init__(self, game_spec: GameSpec, settings: Any = None, seed: int = 0):
        super().__init__(game_spec, settings, seed)
        with seeded(seed):
            self.policy = ActorCritic(game_spec.channels, game_spec.patches, self.settings).to(game_spec.device)

    # Playing

    def score(self, images: Tensor) -> Tensor:
        """Score by the logits."""
        self.policy.eval()
        with torch.no_grad():
            return self.policy(images)[0].view(-1, *self.patches.grid)

    def sample(self, images: Tensor, index: Tensor | None = None) -> Tensor:
        """Score by logits and Gumbel noise: the top K are then drawn one after the other, without replacement."""
        return self._drawn(self.score(images).flatten(1)).view(-1, *self.patches.grid)

    def _drawn(self, logits: Tensor) -> Tensor:
        """Perturb logits (B, N) so that their order is a sample; hints are lifted into the top K."""
        keys = self.draw_keys(len(logits))
        uniform = (keys.double() / 2**63).clamp(1e-12, 1 - 1e-12)
        noisy = logits + -torch.log(-torch.log(uniform)).to(logits.dtype)
        if not self.settings.hint_share:
            return noisy
        chosen = select(
            noisy, self.game_spec.budget, keys, 1.0 - self.settings.hint_share
        )  # the hard ones and the hints
        return noisy + 1e4 * chosen

    # Learning

    def learn(self, env: Any, steps: int, report: Callable[[int, dict[str, float]], None] | None = None) -> Agent:
        """Train in this process for so many masks; `maskgym train a3c` does it with many workers."""
        train_alone(self, env, steps, report)
        return self

    def games(self) -> int:
        """Say how many environments a worker plays."""
        return self.settings.images * self.settings.masks

    def optimiser(self) -> torch.optim.Optimizer:
        """Make Adam over all weights."""
        return torch.optim.Adam(self.parameters(), lr=self.settings.lr)

    def rate(self, share: float) -> float:
        """Let the learning rate fall."""
        if self.settings.decay == "steps":
            return self.settings.lr * 0.9 ** int(8 * share)
        return self.settings.lr * 0.5 * (1 + cos(pi * min(share, 1.0)))

    def gradients(self, env: Any, turn: int) -> dict[str, Tensor]:
        """Play one batch of masks against a vector environment and leave the gradients of its loss in the weights."""
        s, repeat = self.settings, gcd(self.settings.masks, env.num_envs)
        if repeat < min(s.masks, 2):
            raise BadInput(f"{env.num_envs} environments cannot show each image {s.masks} times: take a multiple of it")
        images = self._look(env, turn, repeat)  # (I, C, *size)
        self.policy.train()
        with torch.enable_grad():
            logits, values = self.policy(images)  # (I, N) both
        many = logits.detach().repeat_interleave(repeat, 0)  # (I * M, N)
        order = self._drawn(many).argsort(1, descending=True)
        mask = torch.zeros_like(many, dtype=torch.bool).scatter_(1, order[:, : self.game_spec.budget], True)
        _, reward, _, _, infos = env.step(mask)
        paid = infos["patch_reward"].flatten(1).to(logits.dtype).unflatten(0, (-1, repeat))  # (I, M, N)
        hidden = mask.unflatten(0, (-1, repeat))
        scale = 1.0 if s.credit == "own" else paid.mean()  # the critic's targets are about one; the paper's are raw
        advantage = self._advantage(paid / scale, hidden, values.detach())
        with torch.enable_grad():
            if s.policy_gradient == "bernoulli":
                tossed = logits[:, None].expand_as(advantage)
                coins = F.binary_cross_entropy_with_logits(tossed, hidden.to(logits.dtype), reduction="none")
                policy_loss = (advantage * coins).mean()
                entropy = (F.softplus(logits) - logits * logits.sigmoid()).mean()
            else:
                pull = drawing_gradient(many, order, self.game_spec.budget).unflatten(0, (-1, repeat))
                policy_loss = -(advantage * pull * logits[:, None]).sum(2).mean() / self.game_spec.budget
                entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
            value_loss = (paid.mean(1) / scale - values).square().mean()
            (policy_loss + s.value * value_loss - s.entropy * entropy).backward()
        norm = nn.utils.clip_grad_norm_(self.parameters(), 1.0)
        figures = {"reward": reward.mean(), "policy loss": policy_loss, "value loss": value_loss, "entropy": entropy}
        figures |= {"mean probability": logits.sigmoid().mean(), "gradient norm": norm}
        return {name: value.detach() for name, value in figures.items()}

    def _look(self, env: Any, turn: int, repeat: int) -> Tensor:
        """Show the next images of an endless shuffled row to the environment, each `repeat` times."""
        shown, there = env.num_envs // repeat, len(env.task.images)
        places = np.arange(turn * shown, (turn + 1) * shown)
        rounds = {i: np.random.default_rng((self.seed % 2**32, i)) for i in {*map(int, places // there)}}
        orders = {i: random.permutation(there) for i, random in rounds.items()}
        index = np.array([orders[int(place) // there][place % there] for place in places])
        self.turns[0] = turn * env.num_envs  # all chance of a turn grows from its number
        seed = None  # a game whose whole budget is ours has no chance of its own
        if env.task.game.hint_share:
            seed = int(np.random.SeedSequence((self.seed % 2**32, turn)).generate_state(1)[0])
        observations, _ = env.reset(seed=seed, options={"index": index.repeat(repeat)})
        return from_observation(observations[::repeat]).to(self.game_spec.device)

    def _advantage(self, paid: Tensor, hidden: Tensor, values: Tensor) -> Tensor:
        """Say how much better than expected each decision turned out, (I, M, N); `paid` and `hidden` are so, too."""
        s, repeat = self.settings, paid.shape[1]
        if s.credit == "own":
            return paid - values[:, None]
        if s.credit == "centred":
            mean = (paid * hidden).sum(2, keepdim=True) / hidden.sum(2, keepdim=True)
            return _standard((paid - mean) * hidden)
        around = _around(paid.flatten(0, 1), self.patches, s.reach).view_as(paid)
        if s.credit == "counterfactual":
            times = hidden.sum(1, keepdim=True)
            with_it = (around * hidden).sum(1, keepdim=True) / times.clamp(min=1)
            without = (around * ~hidden).sum(1, keepdim=True) / (repeat - times).clamp(min=1)
            known = (times > 0) & (times < repeat)
            return _standard(torch.where(known, with_it - without, 0.0) * (2.0 * hidden - 1))
        near = _standard(_above_others(around))
        if not s.whole:
            return near
        return near + s.whole * _standard(_above_others(paid.mean(2, keepdim=True)))  # noisy, but nothing is left out


class A3CPaper(A3C):
    """The masking actor-critic as printed: credit by a patch's own loss, coins, table III, p = 0.3."""

    name = "a3c-paper"
    paper = "AHM"

    Settings = PaperSettings


class ActorCritic(nn.Module):
    """A trunk, and two heads with one number a patch: the policy's logit and the critic's guess of the patch's loss."""

    def __init__(self, channels: int, patches: Patches, settings: A3CSettings):
        super().__init__()
        self.temperature, width = settings.temperature, settings.width
        conv = _CONV[patches.dims]
        self.trunk: nn.Module
        self.actor: nn.Module
        self.critic: nn.Module
        if settings.network == "table3":
            self.trunk = table3_trunk(channels, patches, width)
            self.actor, self.critic = table3_head(patches.dims, width), table3_head(patches.dims, width)
        else:
            self.trunk = ResidualPatchNet(channels, patches, width)
            self.actor, self.critic = conv(width, 1, 1), conv(width, 1, 1)
            for parameter in (*self.actor.parameters(), *self.critic.parameters()):
                nn.init.zeros_(parameter)  # start with all masks equally likely

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Turn images (B, C, *size) into logits (B, N) and values (B, N)."""
        features = self.trunk(images)
        logits, values = self.actor(features).flatten(1), self.critic(features).flatten(1)
        if self.temperature:
            logits = logits - logits.mean(1, keepdim=True)
            logits = self.temperature * logits / (logits.std(1, keepdim=True) + 0.1)
        return logits, values


def drawing_gradient(logits: Tensor, order: Tensor, drawn: int) -> Tensor:
    """Differentiate the log-probability of drawing the first patches of `order` one by one, without replacement.

    Each draw is a softmax over what is left (Plackett and Luce). Patch i pulls on the sum by 1 if it was drawn, minus
    its probability in every draw in which it was still there.

    Args:
        logits: (B, N).
        order: (B, N), a permutation; the first `drawn` were drawn, in this order.
        drawn: K.

    Returns:
        (B, N), the gradient with respect to the logits.
    """
    ranked = logits.gather(1, order)
    left = ranked.flip(1).logcumsumexp(1).flip(1)[:, :drawn]  # (B, K): log of the sum over what was left at each draw
    rank = order.argsort(1)
    since = (-left).logcumsumexp(1).gather(1, rank.clamp(max=drawn - 1))  # over the draws in which patch i was there
    return (rank < drawn).to(logits.dtype) - (logits + since).exp()


def _around(paid: Tensor, patches: Patches, reach: int) -> Tensor:
    """Average (B, N) over the patches within reach, what lies outside the image counting as zero."""
    if reach < 0:
        return paid.mean(1, keepdim=True).expand_as(paid)
    return _POOL[patches.dims](paid.view(-1, 1, *patches.grid), 2 * reach + 1, 1, reach).flatten(1)


def _above_others(paid: Tensor) -> Tensor:
    """Compare each mask (I, M, ...) with the mean of the other masks of its image."""
    return paid - (paid.sum(1, keepdim=True) - paid) / (paid.shape[1] - 1)


def _standard(advantage: Tensor) -> Tensor:
    return advantage / (advantage.std() + 1e-6)
