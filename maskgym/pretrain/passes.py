"""Image passes: what a pre-training costs whatever the machine, and how long it may be for a number of them.

One pass is one image going forward through a network; going back counts two more. Everything counts: the student, what
its agent asks of any network, and what was trained beforehand, reconstructor and policy. A policy's own network is
counted as if it were as large as the others.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from maskgym import files
from maskgym.agent_spec import AgentSpec
from maskgym.errors import BadInput
from maskgym.pretrain.settings import PretrainSettings
from maskgym.registry import within

FILE, COLUMN = "passes.json", "image passes"
TAUGHT = 3  # passes of an image that a network learns from: forward and back
PLAYED = 1 + TAUGHT  # of an env step in training a policy: the frozen network rewards, the policy learns
_VIEWS = {"nt-xent": 2 * TAUGHT, "byol": 2 * TAUGHT + 2}  # two views, and the slow network's answers


@dataclass(frozen=True)
class Passes:
    """Image passes of a pre-training, by who spent them."""

    student: int
    agent: int
    """What it asked of student, teacher or a frozen network."""
    policy: int = 0
    """Its training in an environment, beforehand."""
    reconstructor: int = 0
    """The training of frozen networks, beforehand."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.student + self.agent + self.policy + self.reconstructor

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {count:,}" for name, count in asdict(self).items() if count)
        return f"{self.total:,} image passes ({parts})"


def of_run(settings: PretrainSettings, steps: int, asked: int) -> Passes:
    """Count a run of so many steps whose agent asked so often."""
    return Passes(steps * settings.batch * per_image(settings), asked, *beforehand(settings))


def per_image(settings: PretrainSettings) -> int:
    """Passes of the student for an image it is taught by."""
    return _VIEWS.get(settings.loss, TAUGHT)


def beforehand(settings: PretrainSettings) -> tuple[int, int]:
    """Passes that training policies took, and those of the frozen networks that they or the agent stand on."""
    agents = [AgentSpec.read(spec) for spec in within(settings.agent)]
    folders = [settings.policy, *(agent.folder for agent in agents)]
    if not any(folders) and (settings.out / "policy").is_dir():
        folders = [str(settings.out / "policy")]
    policies = [_told(Path(folder)) for folder in dict.fromkeys(folders) if folder]
    networks = [str(one.get("env", {}).get(key, "")) for one in policies for key in ("reconstructor", "reference")]
    networks += [value for agent in agents for value in agent.settings.values()]
    trained = [_told(Path(network)).get("train", {}) for network in dict.fromkeys(networks) if network]
    return PLAYED * sum(int(one.get("steps", 0)) for one in policies), sum(taught(how) for how in trained)


def taught(how: dict[str, Any]) -> int:
    """Passes of a reconstructor's training, from its settings; none for what was not trained so."""
    return TAUGHT * int(how.get("steps", 0)) * int(how.get("batch", 0))


def lengthened(settings: PretrainSettings, asks: float) -> PretrainSettings:
    """Give a run the steps that its image passes allow.

    Args:
        settings: of the run; without `passes` they stay as they are.
        asks: passes of the agent for an image.
    """
    if not settings.passes:
        return settings
    left = settings.passes - sum(beforehand(settings))
    steps = int(left / (settings.batch * (per_image(settings) + asks / settings.score_every)))
    if steps < 1:
        raise BadInput(
            f"passes {settings.passes:,} do not reach for a single step: {sum(beforehand(settings)):,} went into policy"
            " and reconstructor, raise --passes"
        )
    return replace(settings, steps=steps, passes=0)


def write(folder: Path, passes: Passes) -> None:
    """Keep the count beside the student."""
    files.write_text(folder / FILE, json.dumps(asdict(passes) | {"total": passes.total}, indent=1) + "\n")


def read(folder: Path) -> Passes:
    """Read the count of a run."""
    told = json.loads((folder / FILE).read_text())
    return Passes(**{name: told[name] for name in Passes.__dataclass_fields__})


def _told(folder: Path) -> dict[str, Any]:
    """What a run in a folder was made from; nothing where there is none."""
    try:
        told = json.loads((folder.expanduser() / "settings.json").read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
