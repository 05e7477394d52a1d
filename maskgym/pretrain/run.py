"""A pre-training in its folder: made from settings, watched, kept, and gone on with after a kill."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maskgym.agent import Agent, GameSpec
from maskgym.agent_spec import AgentSpec
from maskgym.data.loader import Batch, Loader
from maskgym.errors import BadInput
from maskgym.learner import trained_first
from maskgym.masking import schedules
from maskgym.networks import store
from maskgym.networks.students import make_student
from maskgym.pretrain import contrast_run, passes
from maskgym.pretrain.data import Split, flip, make_loader, open_split
from maskgym.pretrain.held_out import draw, held_out, random_masks
from maskgym.pretrain.loop import Loop, attach
from maskgym.pretrain.report import LesionReport
from maskgym.pretrain.settings import PretrainSettings, student_settings
from maskgym.registry import agent_class, make_agent
from maskgym.training.devices import fitting_batch, make_fabric, out_of_memory
from maskgym.training.fit import fit
from maskgym.training.folder import Folder
from maskgym.training.journal import Journal

MODEL, AGENT = "model.safetensors", "agent"
LEAVES = (MODEL, AGENT, "pictures", "lesions.csv", passes.FILE, "reconstructor", "policy")
_LOOKED, _SHOWN = 64, 4  # images of the val split: measured, drawn
_COLUMNS = ("epoch", "seconds", "loss", "hidden loss", "learning rate", "ratio", "hard share", "images per second")
_MORE = (passes.COLUMN, "waiting", "held-out loss", "patch mean", "held-out loss, own masks", "patch mean, own masks")


def pretrain(settings: PretrainSettings, agent: str = "", claimed: bool = False) -> Path | None:
    """Do what the settings say; returns the student's file, or None if it was interrupted and can be gone on with.

    Args:
        settings: of the run.
        agent: who masks in place of the settings' agent, which was trained to be this one.
        claimed: the folder is the run's already.
    """
    if settings.contrastive:
        return contrast_run.run(settings)
    agent = agent or settings.agent
    name, folder, _ = AgentSpec.read(agent)
    if not folder and trained_first(agent_class(name)):
        raise BadInput(f"agent {name!r} is trained first: use `maskgym pretrain`, or name its folder as {name}:FOLDER")
    fabric = make_fabric(settings.device, settings.precision, settings.processes)
    if settings.batch % (fabric.world_size * settings.accumulate):
        raise BadInput(
            f"batch {settings.batch} does not fall into {settings.accumulate} parts for {fabric.world_size} processes: "
            "choose a multiple"
        )
    train, val = (open_split(settings, split) for split in ("train", "val"))
    made, student, asks = build(replace(settings, agent=agent), train.channels, fabric.device)
    told = passes.lengthened(settings, asks)
    run = Run(told, student, made, make_loader(settings, train), fabric, train, val)
    if fabric.is_global_zero and not claimed:
        Folder(settings.out, settings.of_the_run(), settings.fresh, LEAVES)
    fabric.barrier()
    return run()


def build(settings: PretrainSettings, channels: int, device: Any = "cpu") -> tuple[Agent, nn.Module, int]:
    """Make agent and student, and refuse what does not fit together before anything is written.

    The third is what the agent asks of networks for an image, in passes.
    """
    patches = settings.patches
    ratio = schedules.parse(settings.ratio)(1, settings.epochs)
    hard_share = schedules.parse(settings.hard_share)
    for epoch in (1, settings.epochs):
        if not 0 <= (share := hard_share(epoch, settings.epochs)) <= 1:
            raise BadInput(f"hard_share {settings.hard_share} is {share:g} in epoch {epoch}: choose 0 to 1")
    agent = make_agent(settings.agent, game_spec=GameSpec(patches, channels, ratio, str(device)), seed=settings.seed)
    if getattr(agent, "remembers", False) and settings.crop:
        raise BadInput(f"agent {agent.name!r} remembers the patches of every image, and crops move them: use no --crop")
    if settings.crop and (settings.score_every > 1 or settings.report):
        raise BadInput("random crops are new each time: with --crop use --score-every 1 and no --report")
    torch.manual_seed(settings.seed)
    student = make_student(settings.student, channels, patches, student_settings(settings.student_settings))
    if settings.recipe == "selfmedhpm" and not hasattr(student, "predict_loss"):
        raise BadInput(
            f"selfmedhpm teaches a second decoder, which student {settings.student!r} lacks: its teacher would idle; "
            "choose vit-mae with predictor_depth=1, or --recipe random --agent hpm, which has a network of its own"
        )
    try:
        with torch.no_grad():
            mask = random_masks(1, patches, agent.game_spec.ratio)
            answer = student.eval()(torch.zeros(1, channels, *patches.size), mask)
            meter = attach(agent, student.to(device), student if settings.teacher else None)
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
    return agent, student.train(), meter.total


class Run(Loop):
    """One pre-training in its folder."""

    def __init__(
        self,
        settings: PretrainSettings,
        student: nn.Module,
        agent: Agent,
        loader: Loader,
        fabric: Any,
        train: Split,
        val: Split,
    ):
        super().__init__(settings, student, agent, loader, fabric)
        self.ids = train.source.ids
        self.images = val.middle(np.linspace(0, len(val) - 1, min(_LOOKED, len(val))).astype(int))  # of all patients
        self.report = LesionReport(train.lesions(), self.patches) if settings.report else None
        self.pending: list[tuple[Tensor, dict[str, float]]] = []  # of steps not told of yet: costs, the agent's metrics
        self.journal: Journal | None = None
        self._last, self._told = (0.0, 0), ""

    def __call__(self) -> Path | None:
        """Train; returns the file of the student, or None where Ctrl-C came first."""
        self.student.train()
        finished = fit(self, self.plan, self.settings.out)
        return self.settings.out / MODEL if finished else None

    def begin(self) -> Any:
        """Open the journal."""
        if self.fabric.is_global_zero:
            self._last = (self.seconds, self.done)
            out, total = self.settings.out, self.plan.steps
            self.journal = Journal(
                out, "pre-training", total, self.done, (*_COLUMNS, *_MORE), self.settings.quiet, self.settings.log
            )
        return closing(self.journal) if self.journal else super().begin()

    def gradients(self, batch: Batch) -> Tensor:
        """Compute as the loop does, and say what would fit where memory is too small."""
        try:
            return super().gradients(batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise BadInput(self._too_large(batch)) from None

    def stepped(self, batch: Batch) -> None:
        """Keep what the step told for the next row, and count lesions."""
        super().stepped(batch)
        told = self.told
        self.pending.append((told.cost, told.metrics))
        if self.report is not None:
            mask, index = flip(told.mask, told.batch.flipped), told.batch.which
            if self.fabric.world_size > 1:
                mask, index = (self.fabric.all_gather(part).flatten(0, 1) for part in (mask, index))
            self.report.note((self.done - 1) // self.steps + 1, mask, index)

    def tell(self, metrics: dict[str, float]) -> None:
        """Write down what the last steps were like."""
        epoch = (self.done - 1) // self.steps + 1
        (then, before), self._last = self._last, (self.seconds, self.done)
        rate = (self.done - before) * self.settings.batch / max(self.seconds - then, 1e-9)
        metrics |= {
            "hidden loss": float(torch.cat([cost for cost, _ in self.pending]).mean()),
            "ratio": float(self.told.mask.float().mean()),
            "hard share": self.hard_share(epoch, self.epochs),
            "images per second": round(rate, 2),
            passes.COLUMN: self.spent().total,
        }
        own = [told for _, told in self.pending]
        means = {f"agent {name}": float(np.mean([one[name] for one in own])) for name in own[0]}
        self.pending.clear()
        if self.journal is not None:
            self.journal.note(self.done, metrics | means, {"epoch": epoch, "seconds": round(self.seconds, 2)})
            text = f"epoch {epoch}, loss {metrics['loss']:.3f}, {rate:.0f} images/s{self._told}"
            self.journal.show(self.done, text)

    def evaluate(self) -> None:
        """Measure and draw; leaves no trace in the training."""
        if self.journal is None:
            return
        from PIL import Image

        epoch, device = (self.done - 1) // self.steps + 1, self.fabric.device
        game = self.game(self.student, 0.75)
        images, mask = self.images.to(device), random_masks(len(self.images), self.patches).to(device)
        shown = images[:: max(1, len(images) // _SHOWN)][:_SHOWN]
        with self.fabric.autocast():
            at_random, own = held_out(game, images, mask), held_out(game, images, self._masks(images, epoch))
            picture = draw(game, shown, self._masks(shown, epoch))
        errors = {"held-out loss": at_random["network"], "patch mean": at_random["patch mean"]}
        errors |= {"held-out loss, own masks": own["network"], "patch mean, own masks": own["patch mean"]}
        folder = self.settings.out / "pictures"
        folder.mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / f"epoch-{epoch:04d}.png")
        self.journal.note(self.done, errors, {"epoch": epoch, "seconds": round(self.seconds, 2)}, "val")
        self.journal.picture(self.done, "val/reconstructions", picture)
        self._told = f", held out {errors['held-out loss']:.3f} (patch mean {errors['patch mean']:.3f})"

    def keep(self) -> None:
        """Write student and agent for others, at whole epochs and at the end."""
        if self.done % self.steps and self.done < self.plan.steps:
            return
        about = self.settings.about_student(self.done, self.steps) | {"agent": self.agent.name}
        store.save(self.student, self.settings.out / MODEL, about)
        passes.write(self.settings.out, self.spent())
        self.agent.save(self.settings.out / AGENT)
        if self.report is not None:
            self.report.write(self.settings.out)

    def spent(self) -> passes.Passes:
        """Image passes so far, of all processes."""
        return passes.of_run(self.settings, self.done, self.meter.total * self.fabric.world_size)

    def blame(self, batch: Batch) -> str:
        """Name the images whose loss is no number."""
        bad = ~batch.images.flatten(1).isfinite().all(1)
        index = batch.which[bad] if bool(bad.any()) else batch.which
        ids = [self.ids[i] for i in index.tolist()]
        return ", images " + ", ".join(ids[:4]) + (f" and {len(ids) - 4} more" if len(ids) > 4 else "")

    def state(self) -> dict[str, Any]:
        """Add the lesions counted."""
        return super().state() | {"report": self.report.state() if self.report is not None else {}}

    def load(self, state: dict[str, Any]) -> None:
        """Go on counting lesions, too."""
        super().load(state)
        if self.report is not None and state["report"]:
            self.report.load(state["report"])

    def _masks(self, images: Tensor, epoch: int) -> Tensor:
        """Give the masks that the agent would play now."""
        agent, drawn, shard, asked = self.agent, self.agent.drawn.clone(), self.agent.shard, self.meter.total
        agent.shard = (0, 1)
        with torch.no_grad():
            hidden = int(self.ratio(epoch, self.epochs) * self.patches.count + 1e-9)
            mask = agent.to_mask(agent.score(images), hidden, self.hard_share(epoch, self.epochs))
        agent.drawn.copy_(drawn)
        agent.shard, self.meter.total = shard, asked
        return mask.view(-1, *self.patches.grid)

    def _too_large(self, batch: Batch) -> str:
        """Say what batch would fit: found by trying, the run is over anyway."""
        settings, parts = self.settings, self.settings.accumulate * self.fabric.world_size
        self.optimiser.zero_grad()

        def forward(count: int) -> None:
            images = batch.images[:count].to(self.fabric.device)
            mask = random_masks(count, self.patches).to(images.device)
            self.game(self.student, 0.75).evaluate(images, mask).reward.mean().backward()
            self.optimiser.zero_grad()

        fits = fitting_batch(forward, settings.batch // parts)
        told = f"out of memory with {settings.batch // parts} images at once"
        if not fits:
            return f"{told}, and not even one fits: choose a smaller --student, --image-size or --crop"
        return f"{told}; {fits} fit: use --batch {fits * parts}, or --accumulate {-(-settings.batch // fits)}"
