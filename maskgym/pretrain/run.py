"""A pre-training from the first step to the last: checkpoints, looks at the val split, a clean end.

All chance is drawn from (seed, epoch, place), so a run that was killed and resumed ends on a CPU with the weights of
one that was not.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maskgym.agent import Agent, GameSpec
from maskgym.data.source import Images, load
from maskgym.errors import BadInput
from maskgym.learner import trained_first
from maskgym.masking import schedules
from maskgym.networks.students import make_student
from maskgym.pretrain import checkpoint
from maskgym.pretrain.data import Batch, Feed, flip
from maskgym.pretrain.devices import fitting_batch, make_fabric, out_of_memory
from maskgym.pretrain.looks import draw, held_out, random_masks
from maskgym.pretrain.loop import Loop, Told
from maskgym.pretrain.settings import PretrainSettings, student_settings
from maskgym.pretrain.watch import Watch
from maskgym.registry import agent_class, make_agent
from maskgym.training.folder import Folder
from maskgym.training.interrupts import interrupts

_LOOKED, _SHOWN = 64, 4  # images of the val split: measured, drawn
_TELL = 10  # steps between two lines of metrics; on a GPU they are also the pace at which it is waited for


def pretrain(settings: PretrainSettings, agent: str = "", claimed: bool = False) -> Path | None:
    """Do what the settings say; returns the student's file, or None if it was interrupted and can be resumed.

    Args:
        settings: of the run.
        agent: who masks in place of the settings' agent, which was trained to be this one.
        claimed: the folder is the run's already.
    """
    agent = agent or settings.agent
    name, _, folder = agent.partition("?")[0].partition(":")
    if not folder and trained_first(agent_class(name)):
        raise BadInput(f"agent {name!r} is trained first: use `maskgym pretrain`, or name its folder as {name}:FOLDER")
    fabric = make_fabric(settings)
    train, val = (read_images(settings, split) for split in ("train", "val"))
    made, student = build(replace(settings, agent=agent), train, fabric.device)
    feed = Feed(
        train, settings.batch, settings.patches.size, settings.flips, settings.images, settings.workers, settings.seed
    )
    loop = Loop(settings, student, made, feed.steps, feed.count, fabric)
    run = Run(settings, loop, feed, val)
    if fabric.is_global_zero:
        Folder(settings.out, settings.of_the_run())
    fabric.barrier()
    return run()


def build(settings: PretrainSettings, train: Images, device: Any = "cpu") -> tuple[Agent, nn.Module]:
    """Make agent and student, and refuse what does not fit together before anything is written."""
    patches, channels = settings.patches, train.images.shape[1]
    ratio = schedules.parse(settings.ratio)(1, settings.epochs)
    agent = make_agent(settings.agent, game_spec=GameSpec(patches, channels, ratio, str(device)), seed=settings.seed)
    if getattr(agent, "remembers", False) and settings.crop:
        raise BadInput(f"agent {agent.name!r} remembers the patches of every image, and crops move them: use no --crop")
    if settings.crop and (settings.score_every > 1 or settings.report):
        raise BadInput("random crops are new each time: with --crop use --score-every 1 and no --report")
    torch.manual_seed(settings.seed)
    student = make_student(settings.student, channels, patches, student_settings(settings.student_settings))
    try:
        with torch.no_grad():
            mask = random_masks(1, patches, agent.game_spec.ratio)
            answer = student.eval()(torch.zeros(1, channels, *patches.size), mask)
            agent.attach(student.to(device), student)
            agent.score(torch.zeros(1, channels, *patches.size, device=device))
    except BadInput:
        raise
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:80]
        raise BadInput(f"student {settings.student!r} cannot take images of {patches.size} ({reason})") from None
    if answer.shape[1:] != (channels, *patches.size):
        raise BadInput(
            f"student {settings.student!r} answers {tuple(answer.shape[1:])}, not {(channels, *patches.size)}"
        )
    agent.drawn.zero_()
    return agent, student.train()


@dataclass
class Run:
    """One pre-training in progress."""

    settings: PretrainSettings
    loop: Loop
    feed: Feed
    val: Images
    pending: list[tuple[int, Told]] = field(default_factory=list, init=False)  # steps not looked at yet

    def __post_init__(self) -> None:
        count = min(_LOOKED, len(self.val))
        self.images = torch.from_numpy(np.array(self._middle(self.val.images[:count])))
        self.report: Any = None
        if self.settings.report:
            from maskgym.pretrain.report import LesionReport

            self.report = LesionReport(self.feed.split, self.loop.patches)

    def __call__(self) -> Path | None:
        """Train; returns the file of the student, or None where Ctrl-C came first."""
        settings, loop, fabric = self.settings, self.loop, self.loop.fabric
        checkpoint.load(settings.out, loop, self.report)
        loop.student.train()
        watch = None
        if fabric.is_global_zero:
            watch = Watch(settings.out, loop.all_steps, loop.step, settings.batch, settings.quiet)
        with interrupts() as asked, closing(watch or _Nothing()):
            for batch in self.feed.batches(loop.step, loop.all_steps):
                told = self._turn(batch)
                self.pending.append((loop.step - 1, told))
                ended = loop.step % loop.steps == 0
                done = loop.step // loop.steps
                looking = ended and (
                    (settings.look_every and done % settings.look_every == 0) or done == settings.epochs
                )
                stop = fabric.strategy.reduce_boolean_decision(asked(), all=False) if fabric.world_size > 1 else asked()
                if loop.step % _TELL == 0 or ended or stop or loop.step % settings.save_every == 0:
                    self._tell(watch)
                if looking and watch is not None:
                    self._look(watch, done)
                if looking or stop or loop.step % settings.save_every == 0:
                    self._save()
                if stop:
                    return None
        return settings.out / checkpoint.MODEL

    def _turn(self, batch: Batch) -> Told:
        try:
            told = self.loop.turn(batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise BadInput(self._too_large(batch)) from None
        if self.report is not None:
            mask, index = flip(told.mask, told.batch.flipped), told.batch.which
            if self.loop.fabric.world_size > 1:
                mask, index = (self.loop.fabric.all_gather(part).flatten(0, 1) for part in (mask, index))
            self.report.note((self.loop.step - 1) // self.loop.steps + 1, mask, index)
        return told

    def _too_large(self, batch: Batch) -> str:
        """Say what batch would fit: found by trying, the run is over anyway."""
        loop, settings = self.loop, self.settings
        parts = settings.accumulate * loop.fabric.world_size
        loop.optimiser.zero_grad()

        def forward(count: int) -> None:
            images = batch.images[:count].to(loop.fabric.device)
            mask = random_masks(count, loop.patches).to(images.device)
            loop.game(loop.student, 0.75).evaluate(images, mask).reward.mean().backward()
            loop.optimiser.zero_grad()

        fits = fitting_batch(forward, settings.batch // parts)
        told = f"out of memory with {settings.batch // parts} images at once"
        if not fits:
            return f"{told}, and not even one fits: choose a smaller --student, --image-size or --crop"
        return f"{told}; {fits} fit: use --batch {fits * parts}, or --accumulate {-(-settings.batch // fits)}"

    def _tell(self, watch: Watch | None) -> None:
        """Look at the steps since the last time: are they sound, what were they like?"""
        for step, told in self.pending:
            self._check(step, told)
        step, last = self.pending[-1]
        epoch = step // self.loop.steps + 1
        figures = {
            "loss": float(torch.stack([told.loss for _, told in self.pending]).mean()),
            "hidden loss": float(torch.cat([told.cost for _, told in self.pending]).mean()),
            "learning rate": self.loop.optimiser.param_groups[0]["lr"],
            "ratio": float(last.mask.float().mean()),
            "hard share": self.loop.hard_share(epoch, self.settings.epochs),
        }
        own = [told.figures for _, told in self.pending]
        means = {name: float(np.mean([one[name] for one in own])) for name in own[0]} if own else {}
        self.pending.clear()
        if watch is not None:
            watch.hear(step + 1, epoch, figures, means)

    def _check(self, step: int, told: Told) -> None:
        if bool(told.loss.isfinite()):
            return
        bad = ~told.cost.isfinite()
        index = told.batch.which[bad] if bool(bad.any()) else told.batch.which
        ids = [self.feed.split.ids[i] for i in index.tolist()]
        shown = ", ".join(ids[:4]) + (f" and {len(ids) - 4} more" if len(ids) > 4 else "")
        raise BadInput(
            f"the loss is {float(told.loss)} at step {step + 1}, images {shown}: lower --lr {self.settings.lr:g} or "
            "see `maskgym data check`; the last checkpoint stands"
        )

    def _look(self, watch: Watch, epoch: int) -> None:
        """Measure and draw; leaves no trace in the training."""
        loop, device = self.loop, self.loop.fabric.device
        game = loop.game(loop.student, 0.75)
        images, mask = self.images.to(device), random_masks(len(self.images), loop.patches).to(device)
        shown = images[:: max(1, len(images) // _SHOWN)][:_SHOWN]
        with loop.fabric.autocast():
            errors = held_out(game, images, mask)
            own = held_out(game, images, self._wished(images, epoch))
            errors |= {f"{name}, own masks": value for name, value in own.items()}
            watch.looked(loop.step, epoch, errors, draw(game, shown, self._wished(shown, epoch)))

    def _wished(self, images: Tensor, epoch: int) -> Tensor:
        """Give the masks that the agent would play now."""
        loop, agent = self.loop, self.loop.agent
        drawn, shard = agent.drawn.clone(), agent.shard
        agent.shard = (0, 1)
        with torch.no_grad():
            hidden = int(loop.ratio(epoch, self.settings.epochs) * loop.patches.count + 1e-9)
            mask = agent.to_mask(agent.score(images), hidden, loop.hard_share(epoch, self.settings.epochs))
        agent.drawn.copy_(drawn)
        agent.shard = shard
        return mask.view(-1, *loop.patches.grid)

    def _middle(self, images: np.ndarray) -> np.ndarray:
        """Cut the middle out of images where training is on crops."""
        starts = [(a - b) // 2 for a, b in zip(images.shape[2:], self.loop.patches.size, strict=True)]
        cut = (slice(at, at + side) for at, side in zip(starts, self.loop.patches.size, strict=True))
        return images[:, :, *cut]

    def _save(self) -> None:
        fabric = self.loop.fabric
        if fabric.is_global_zero:
            checkpoint.save(self.settings, self.loop, self.report)
        fabric.barrier()


class _Nothing:
    def close(self) -> None:
        """Nothing is open."""


def read_images(settings: PretrainSettings, split: str) -> Images:
    """Read a split of the run's images."""
    return load(settings.data, size=settings.size, split=split, split_file=settings.split_file or None)
