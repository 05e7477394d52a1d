"""The command `maskgym`: one table of commands, each a dataclass whose fields are its options."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from maskgym.errors import BadInput

# The words typed -> where the command lives, and the sentence that `maskgym --help` shows for it.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (
        "maskgym.commands.demo:Demo",
        "train an agent on the small task, compare it with others: a table, a picture",
    ),
    "envs": ("maskgym.commands.play:Envs", "list the registered environments"),
    "agents": ("maskgym.commands.agents:Agents", "list the masking agents, or describe one of them"),
    "render": (
        "maskgym.commands.play:Render",
        "draw what an agent hides: image, mask, reconstruction, error",
    ),
    "par": ("maskgym.commands.par:Par", "search for the hardest mask of every image of a split, which is 100 points"),
    "score": ("maskgym.commands.score:Score", "let agents play a split and score them in points, with intervals"),
    "gallery": ("maskgym.commands.gallery:Gallery", "draw agents' masks side by side: images down, agents across"),
    "curves": ("maskgym.commands.curves:Curves", "draw points against env steps, seconds, or queries"),
    "submit": ("maskgym.commands.leaderboard:Submit", "write a leaderboard entry from what `maskgym score` wrote"),
    "leaderboard check": (
        "maskgym.commands.leaderboard:Check",
        "play the masks of entries again",
    ),
    "leaderboard build": ("maskgym.commands.leaderboard:Build", "check all entries and write the leaderboard page"),
    "train": ("maskgym.commands.train:Train", "train an agent, in several processes, with checkpoints and TensorBoard"),
    "pretrain": ("maskgym.commands.pretrain:Pretrain", "pre-train a network under any agent's masks"),
    "reconstruct": (
        "maskgym.commands.reconstruct:Reconstruct",
        "draw how a pre-trained network rebuilds hidden patches",
    ),
    "export": ("maskgym.commands.export:Export", "write pre-trained weights as MONAI's networks name them"),
    "finetune": (
        "maskgym.commands.finetune:Finetune",
        "fine-tune a network with few labels and measure it",
    ),
    "predict": (
        "maskgym.commands.predict:Predict",
        "label cases with a fine-tuned network, as NIfTI files",
    ),
    "study": (
        "maskgym.commands.study:RunStudy",
        "run data sets x methods x label shares x seeds, resumable",
    ),
    "report": ("maskgym.commands.report:WriteReport", "write the results of a study: one HTML page, and Markdown"),
    "study status": ("maskgym.commands.study:StudyStatus", "tell how far a study is, what failed and what remains"),
    "study control": ("maskgym.commands.study:StudyControl", "tell whether the positive control of a study holds"),
    "data list": ("maskgym.commands.data:List", "list the data-set layouts"),
    "data check": ("maskgym.commands.data:Check", "open every file of a data set and report what is wrong"),
    "data prepare": ("maskgym.commands.data:Prepare", "bring every case into the case store, in several processes"),
    "data show": ("maskgym.commands.data:Show", "write a sheet of images with their label outlines"),
    "data split": ("maskgym.commands.data:Split", "split a data set by patient and save it as JSON"),
    "data clear": ("maskgym.commands.data:Clear", "empty the cache of prepared cases and images"),
    "reconstructor train": ("maskgym.commands.reconstructor:Train", "train the frozen network of an environment"),
    "reconstructor bundle": ("maskgym.commands.reconstructor:Bundle", "train the networks that ship with the package"),
    "view": ("maskgym.commands.view:View", "open a page in the browser on which you hide patches yourself"),
    "completion": ("maskgym.commands.completion:Completion", "let the Tab key complete commands and options"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code; bad input leaves with 2 and one line."""
    words = list(sys.argv[1:] if argv is None else argv)
    sys.argv[1:] = words  # what a manifest tells: in a study's job it is the job's command
    try:
        raise SystemExit(run(words))
    except BadInput as error:
        print(f"maskgym: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("maskgym: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def run(words: list[str]) -> int:
    """Find the command that the first words name, build it from the rest, call it."""
    if not words or words[0] in ("-h", "--help", "help"):
        overview(COMMANDS)
        return 0
    if words[0] == "--version":
        from maskgym import __version__

        print(__version__)
        return 0
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            if length == 1:
                _check_member(words)
            return call(name, words[length:])
    family = {name: entry for name, entry in COMMANDS.items() if name.split()[0] == words[0]}
    if family and (len(words) == 1 or words[1] in ("-h", "--help")):
        overview(family)
        return 0
    typed = " ".join(words[: 2 if family else 1])
    near = get_close_matches(typed, COMMANDS, n=1, cutoff=0.4)
    hint = f"did you mean `maskgym {near[0]}`?" if near else "`maskgym --help` lists them"
    raise BadInput(f"there is no command {typed!r}: {hint}")


def _check_member(words: list[str]) -> None:
    """Refuse `study statsu`: `study` takes a file, but this word is almost the name of a member of its family."""
    members = [name.split()[1] for name in COMMANDS if name.startswith(f"{words[0]} ")]
    if len(words) > 1 and not Path(words[1]).exists() and (near := get_close_matches(words[1], members, 1, 0.7)):
        typed = f"{words[0]} {words[1]}"
        raise BadInput(f"there is no command {typed!r}: did you mean `maskgym {words[0]} {near[0]}`?")


def call(name: str, arguments: list[str]) -> int:
    """Fill the command's fields and run it."""
    return int(parse(name, arguments)() or 0)


def parse(name: str, arguments: list[str]) -> Callable[[], Any]:
    """Import the command and let tyro fill its fields."""
    import tyro

    from maskgym.commands.options import CONFIG, REGISTRY, description, in_one_line

    cls = command(name)
    starting_from = getattr(cls, "starting_from", None)  # some defaults follow from what else was typed
    more = {} if starting_from is None else {"default": starting_from(arguments)}
    said = io.StringIO()
    if {"-h", "--help"} & set(arguments):
        print(f"{description(cls)}\n")  # above the parser's own help, which would take its lines apart
    try:
        with redirect_stderr(said):
            how: Any = {"prog": f"maskgym {name}", "description": "", "config": CONFIG, "registry": REGISTRY}
            filled = tyro.cli(cls, args=arguments, **how, **more)
    except SystemExit as left:
        if left.code in (0, None):
            raise
        raise BadInput(in_one_line(said.getvalue(), name)) from None
    if (seed := getattr(filled, "seed", 0)) < 0:
        raise BadInput(f"seed {seed} is negative: give 0 or more")
    return cast(Callable[[], Any], filled)


def command(name: str) -> Any:
    """Import the dataclass of a command."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    return getattr(importlib.import_module(module), attribute)


def overview(commands: dict[str, tuple[str, str]]) -> None:
    """Print the commands, a line each."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, (_, sentence) in commands.items():
        table.add_row(f"[bold]maskgym {name}[/]", sentence)
    console = Console()
    console.print("maskgym: which patches are worth hiding? (`maskgym COMMAND --help` tells more)\n")
    console.print(table)


if __name__ == "__main__":
    main()
