"""One step of pre-training: the agent says what to hide, the student rebuilds it, the agent sees what it cost."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from maskgym.agent import Agent
from maskgym.data.loader import Batch, Loader
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking import schedules
from maskgym.masking.layout import convolutions_last
from maskgym.masking.select import budget, soften
from maskgym.meter import Meter, Metered
from maskgym.pretrain.data import flip
from maskgym.pretrain.losses import parse_loss
from maskgym.pretrain.settings import PretrainSettings
from maskgym.pretrain.teacher import parse_teacher
from maskgym.pretrain_hooks import PretrainHooks
from maskgym.training.fit import Job, Plan, take_step


class Told(NamedTuple):
    """What a step tells; tensors stay where they were computed."""

    patch_loss: Tensor  # (b, *grid)
    mask: Tensor  # (b, *grid) bool, True = hidden
    batch: Batch  # what this process taught
    metrics: dict[str, float]  # from the agent

    @property
    def cost(self) -> Tensor:
        """Mean loss of each image's hidden patches, (b,)."""
        return (self.patch_loss * self.mask).flatten(1).sum(1) / self.mask.flatten(1).sum(1)


class Loop(Job):
    """Student, teacher, agent and optimiser, and how one step changes them.

    Args:
        settings: of the run.
        student: the network that learns.
        agent: who says what to hide.
        loader: of the images.
        fabric: from `make_fabric`.
    """

    def __init__(self, settings: PretrainSettings, student: nn.Module, agent: Agent, loader: Loader, fabric: Any):
        self.settings, self.student, self.agent, self.fabric = settings, student, agent, fabric
        self.loader, self.source = loader, loader.source
        self.steps = loader.steps  # of an epoch
        self.plan = plan_of(settings, loader.steps)
        self.epochs = -(-self.plan.steps // loader.steps)
        self.patches = settings.patches
        self.ratio, self.hard_share = schedules.parse(settings.ratio), schedules.parse(settings.hard_share)
        for epoch in (1, self.epochs):
            budget(self.ratio(epoch, self.epochs), self.patches.count)
        self.loss = parse_loss(settings.loss)
        convolutions_last(self.student.to(fabric.device))
        self.teacher = parse_teacher(settings.teacher, self.student)
        self.fast = parse_teacher(settings.fast, self.student)
        shown = self.fast.network if self.fast else self.student
        self.meter = attach(self.agent, shown, self.teacher.network if self.teacher else None)
        # An agent that learns must see all there is, to be the same in every process; others score their part.
        self.hooks = self.agent if isinstance(self.agent, PretrainHooks) else PretrainHooks()
        self.sees_all = self.hooks is self.agent or fabric.world_size == 1
        if not self.sees_all:
            self.agent.shard = (fabric.global_rank, fabric.world_size)
        if hasattr(student, "predictor") and not self.hooks.ranks:
            student.predictor.requires_grad_(False)  # several processes would wait for gradients that nobody makes
        made = make_optimiser(settings, self.student)
        network: Any = torch.compile(self.student) if settings.compile else self.student
        self.network, self.optimiser = fabric.setup(network, made)
        self.scores = torch.zeros(0)  # (n, *grid), of images as they are stored; kept where scores are used again
        self.scored = np.full(len(self.source), -1)  # epoch in which each was scored
        self.told: Told
        self._started = 0  # the epoch the agent has heard of

    @property
    def epoch(self) -> int:
        """The epoch the next step is in, from 1."""
        return self.done // self.steps + 1

    def update(self, batch: Batch) -> Told:
        """Take one step alone; a run is taken by `fit`."""
        take_step(self, self.plan, batch)
        return self.told

    def make(self, step: int) -> Batch:
        """Prepare the images of a step."""
        return self.loader.make(step)

    def gradients(self, batch: Batch) -> Tensor:
        """Ask the agent, hide, rebuild, and compute the gradients of what it cost."""
        if self._started != self.epoch:
            self.hooks.start_epoch(self.epoch, self.epochs)
            self._started = self.epoch
        batch = batch.to(self.fabric.device)
        mine = self._mine(len(batch.images))
        with torch.no_grad(), self.fabric.autocast():
            self.mask = self._hide(batch, mine, self.epoch)
        own = Batch(*(part[mine] for part in batch[:3]))
        return self._teach(own, self.mask[mine] if self.sees_all else self.mask)

    def stepped(self, batch: Batch) -> None:
        """Let the teacher follow and the agent learn: in every process from the whole batch."""
        for average in filter(None, (self.teacher, self.fast)):
            average.follow(self.student, self.done - 1, self.plan.steps)
        if self.hooks is self.agent:
            batch, cost = batch.to(self.fabric.device), self.told.patch_loss
            if self.fabric.world_size > 1:
                cost = self.fabric.all_gather(cost).flatten(0, 1)
            stored = self._as_stored(batch.flipped, batch.images, self.mask, cost)
            self.told = self.told._replace(metrics=self.hooks.observe(*stored, batch.which))

    def game(self, network: nn.Module, ratio: float) -> Game:
        """The game on this grid and target."""
        return Game(network, self.patches, ratio, target=self.settings.target)

    def _mine(self, count: int) -> slice:
        """The part of a batch that this process teaches."""
        share = count // self.fabric.world_size
        return slice(self.fabric.global_rank * share, (self.fabric.global_rank + 1) * share)

    def _hide(self, batch: Batch, mine: slice, epoch: int) -> Tensor:
        """Ask the agent, turn its scores into masks: (B, *grid) bool, of the whole batch if the agent sees all."""
        seen = batch if self.sees_all else Batch(*(part[mine] for part in batch[:3]))
        scores = self._score(seen, epoch)
        hidden = budget(self.ratio(epoch, self.epochs), self.patches.count)
        if self.settings.temperature:
            scores = soften(scores.flatten(1), self.settings.temperature, self.agent.draw_keys(len(scores)))
        mask = self.agent.to_mask(scores, hidden, self.hard_share(epoch, self.epochs))
        return mask.view(-1, *self.patches.grid)

    def _score(self, batch: Batch, epoch: int) -> Tensor:
        every = self.settings.score_every
        if every == 1:
            return self._ask(batch)
        where = batch.which.cpu().numpy()
        due = (self.scored[where] < 0) | (self.scored[where] <= epoch - every)
        if self.fabric.world_size > 1 and due.any():  # processes must draw alike
            due[:] = True
        if due.any():
            asked = Batch(*(part[torch.from_numpy(due).to(part.device)] for part in batch[:3]))
            scores = self._ask(asked).float()
            if not len(self.scores):
                self.scores = scores.new_zeros(len(self.scored), *self.patches.grid)
            self.scores[asked.which] = flip(scores, asked.flipped)
            self.scored[where[due]] = epoch
        return flip(self.scores[batch.which], batch.flipped)

    def _ask(self, batch: Batch) -> Tensor:
        remembers, images = self.hooks.remembers, batch.images
        scores = self.agent.sample(flip(images, batch.flipped) if remembers else images, batch.which)
        return flip(scores, batch.flipped) if remembers else scores

    def _as_stored(self, flipped: Tensor, *values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Turn images, mask and patch loss to how they are stored, for an agent that remembers patches by place."""
        images, mask, cost = (flip(value, flipped) if self.hooks.remembers else value for value in values)
        return images, mask, cost

    def _teach(self, batch: Batch, mask: Tensor) -> Tensor:
        """Forward and backward, in parts where memory asks for it."""
        parts = self.settings.accumulate
        share = len(batch.images) // parts
        game = self.game(self.network, self.ratio(self.epoch, self.epochs))
        losses, costs = [], []
        for part in range(parts):
            images, index, flipped = (value[part * share : (part + 1) * share] for value in batch[:3])
            hidden = mask[part * share : (part + 1) * share]
            more_to_come = part + 1 < parts
            with self.fabric.no_backward_sync(self.network, enabled=True) if more_to_come else nullcontext():
                with self.fabric.autocast():
                    patch_loss = game.evaluate(images, hidden).patch_loss
                    own = self.hooks.auxiliary_loss(*self._as_stored(flipped, images, hidden, patch_loss), index)
                loss = self.loss(patch_loss, hidden)
                loss = loss if own is None else loss + own
                self.fabric.backward(loss / parts)
            losses.append(loss.detach())
            costs.append(patch_loss.detach())
        self.told = Told(torch.cat(costs), mask, batch, {})
        return torch.stack(losses).mean()

    def state(self) -> dict[str, Any]:
        """Everything a later process needs to go on as if nothing had happened."""
        own = getattr(self.agent, "optimizer", None)
        return {
            "student": self.student.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "teacher": self.teacher.network.state_dict() if self.teacher else {},
            "fast": self.fast.network.state_dict() if self.fast else {},
            "agent": self.agent.state_dict(),
            "asked": self.meter.total,
            "agent's optimiser": own.state_dict() if isinstance(own, torch.optim.Optimizer) else {},
            "scores": self.scores,
            "scored": torch.from_numpy(self.scored.copy()),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.student.load_state_dict(state["student"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.teacher is not None:
            self.teacher.network.load_state_dict(state["teacher"])
        if self.fast is not None:
            self.fast.network.load_state_dict(state["fast"])
        self.agent.load_state_dict(state["agent"])
        self.meter.total = int(state["asked"])
        if state["agent's optimiser"]:
            own: Any = self.agent
            own.optimizer.load_state_dict(state["agent's optimiser"])
        self.scores, self.scored = state["scores"].to(self.fabric.device), state["scored"].cpu().numpy().copy()


def attach(agent: Agent, student: nn.Module, teacher: nn.Module | None) -> Meter:
    """Give an agent the networks it may ask; whatever it asks of them, or of frozen ones of its own, is counted."""
    meter = Meter()
    agent.attach(Metered(student, meter), None if teacher is None else Metered(teacher, meter))
    agent.meter_own(meter)
    return meter


def plan_of(settings: PretrainSettings, steps: int) -> Plan:
    """Lay the settings over the run; `steps` are those of an epoch."""
    total = settings.steps or settings.epochs * steps
    return Plan(
        steps=total,
        lr=settings.lr,
        decay=settings.decay,
        warm_up=min(settings.warm_up * steps / total, 0.1),
        clip=settings.clip,
        seed=settings.seed,
        save_every=settings.save_every,
        eval_every=settings.eval_every * steps,
        workers=settings.workers,
    )


def make_optimiser(settings: PretrainSettings, student: nn.Module) -> torch.optim.Optimizer:
    """AdamW, whose decay spares biases and norms, or Adam as the papers print it; fused."""
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    if not weights:
        raise BadInput(f"student {settings.student!r} has no weights that learn: choose another")
    betas = (settings.beta1, settings.beta2)
    if settings.optimiser == "adam":
        return torch.optim.Adam(weights, settings.lr, betas, weight_decay=settings.weight_decay, fused=True)
    groups = [
        {"params": [weight for weight in weights if weight.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [weight for weight in weights if weight.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, settings.lr, betas, fused=True)
