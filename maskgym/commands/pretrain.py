"""`maskgym pretrain`: pre-train a network under any agent's masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from maskgym.pretrain.recipes import asked_for, resolve
from maskgym.pretrain.settings import PretrainSettings


@dataclass(frozen=True)
class Pretrain(PretrainSettings):
    """Pre-train a network under any agent's masks; `--recipe NAME --help` shows that paper's values."""

    @classmethod
    def starting_from(cls, arguments: Sequence[str]) -> Any:
        """The values that stand where the command line says nothing: the recipe's, and over them the file's."""
        import tyro

        told = resolve(asked_for(arguments, "--recipe"), asked_for(arguments, "--settings"))
        told.pop("out", None)
        return cls(out=tyro.MISSING, **told)

    def __call__(self) -> int:
        """Train, and say how to go on."""
        from maskgym.benchmark import manifest
        from maskgym.commands.stages import train_agent
        from maskgym.pretrain import passes
        from maskgym.pretrain.run import pretrain
        from maskgym.training.devices import first_process

        trained = train_agent(self)
        file = None if trained is None else pretrain(self, *trained)
        if not first_process():
            return 0 if file else 130
        manifest.of_run(self.out, self, [self.seed], ("train", "val"))
        if file is None:
            print("interrupted; all is saved: the same command goes on")
            return 130
        print(passes.read(self.out))
        print(f"pre-trained: {file}; `maskgym reconstruct {self.out}`, `tensorboard --logdir {self.out}`")
        return 0
