import re
import shutil
import subprocess
import sys
from dataclasses import fields

import pytest

from maskgym import cli
from maskgym.commands import completion
from maskgym.commands.options import explained
from maskgym.errors import BadInput
from maskgym.registry import agent_class, names


def left(words: list[str]) -> int:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    return int(caught.value.code or 0)


@pytest.fixture
def toy(monkeypatch):
    """A table with one command that says what it was given."""
    from dataclasses import dataclass

    @dataclass
    class Echo:
        """Say it."""

        times: int = 1
        """How often."""

        def __call__(self) -> int | None:
            if self.times < 0:
                raise BadInput(f"times {self.times} is negative: choose 1")
            print("echo " * self.times)
            return 3 if self.times == 3 else None

    monkeypatch.setattr(sys.modules[__name__], "Echo", Echo, raising=False)
    monkeypatch.setattr(
        cli, "COMMANDS", {"echo": (f"{__name__}:Echo", "say it"), "echo twice": ("x:Y", "say it again")}
    )


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]], ids=str)
def test_help_lists_every_command(words, capsys):
    assert left(words) == 0
    said = " ".join(capsys.readouterr().out.split())
    for name in cli.COMMANDS:
        assert f"maskgym {name}" in said


@pytest.mark.parametrize("words", [["data"], ["data", "--help"]], ids=str)
def test_the_help_of_a_family_lists_its_members_only(words, capsys):
    assert left(words) == 0
    said = capsys.readouterr().out
    assert "maskgym data list" in said
    assert "maskgym demo" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dmeo"], "there is no command 'dmeo': did you mean `maskgym demo`?"),
        (["data", "lits"], "there is no command 'data lits': did you mean `maskgym data list`?"),
        (["study", "statsu", "x"], "there is no command 'study statsu': did you mean `maskgym study status`?"),
        (["evns", "--help"], "did you mean `maskgym envs`?"),
        (["zzzzzz"], "there is no command 'zzzzzz': `maskgym --help` lists them"),
    ],
)
def test_an_unknown_command_offers_the_nearest_and_leaves_with_2(words, said, capsys):
    assert left(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("maskgym: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_a_command_gets_its_options_and_gives_the_exit_code(toy, capsys):
    assert left(["echo", "--times", "2"]) == 0
    assert capsys.readouterr().out == "echo echo \n"
    assert left(["echo", "--times", "3"]) == 3


def test_bad_input_inside_a_command_is_one_line_and_leaves_with_2(toy, capsys):
    assert left(["echo", "--times", "-1"]) == 2
    assert capsys.readouterr().err == "maskgym: times -1 is negative: choose 1\n"


def test_an_interrupted_command_leaves_with_130(toy, monkeypatch, capsys):
    def interrupted(_name, _arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "call", interrupted)
    assert left(["echo"]) == 130
    assert capsys.readouterr().err == "maskgym: interrupted\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_option_says_what_it_is_and_names_its_value_in_80_columns(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.parse(name, ["--help"])
    said = capsys.readouterr().out
    assert cli.COMMANDS[name][1]
    assert f"usage: maskgym {name} " in said
    assert said.startswith((cli.command(name).__doc__ or "")[:40])
    assert [line for line in said.splitlines() if len(line) > 80 and not line.startswith("usage: ")] == []
    assert not re.findall(r"^│ (?:--[-.\w]+ )?(?:STR|PATH)\b", said, re.MULTILINE)
    assert not re.findall(r"\(default: (?:''|False)?\)|\{,", said)
    told = explained(cli.command(name))
    assert [option for option, sentence in told.items() if len(sentence) < 12 or not sentence.endswith(".")] == []
    assert {option: told[option] for option in told if option in SAID and SAID[option] not in told[option]} == {}


# What the sentence of an option says in every command that has it.
SAID = {
    "--data": "LAYOUT:FOLDER", "--device": "cpu, cuda or cuda:1", "--seed": "Seed of", "--split": "train, val",
    "--image-size": "Pixels along each axis", "--split-file": "`maskgym data split`; empty = ", "--fresh": "tart over",
}  # fmt: skip
# One name for one thing: what an option must not be called, and what it is called instead.
OTHER_NAMES = {
    "--dataset": "--data", "--datasets": "--data", "--count": "--images", "--size": "--image-size", "--n": "--images",
    "--resume": "--fresh", "--evaluations": "--queries", "--masks": "--steps", "--patch": "--patch-size",
    "--num-images": "--images", "--output": "--out", "--folder": "--out", "--cuda": "--device", "--verbose": "--quiet",
}  # fmt: skip
PLAYS = ("demo", "render", "par", "score", "gallery", "train", "pretrain", "reconstruct", "finetune", "predict", "view")
GOES_ON = ("demo", "par", "score", "train", "pretrain", "finetune", "study", "reconstructor train")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_one_thing_has_one_name_in_all_commands(name):
    options = explained(cli.command(name))
    assert {option: OTHER_NAMES[option] for option in options if option in OTHER_NAMES} == {}
    assert name not in PLAYS or "--device" in options
    assert name not in GOES_ON or "--fresh" in options
    if "--env" in options:
        assert {"--data", "--image-size", "--patch-size", "--device"} <= set(options)


@pytest.mark.parametrize("typed", ["2000", "2_000", "2,000", "2e3"])
def test_counts_may_be_typed_as_people_write_them(typed):
    assert cli.parse("train", ["a3c", "--out", "x", "--workers", typed]).workers == 2000


@pytest.mark.parametrize("typed", ["2.5", "2k", "inf", "nan", ""])
def test_what_is_no_whole_number_is_refused(typed, capsys):
    assert left(["train", "a3c", "--out", "x", "--workers", typed]) == 2
    assert "is no whole number: write it as 2000, 2_000 or 2e3" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "words",
    [["render", "--out", "x.png"], ["gallery", "random", "--out", "x.png"], ["train", "a3c", "--out", "x"],
     ["pretrain", "--out", "x"], ["finetune", "--out", "x"]],
    ids=lambda words: words[0],
)  # fmt: skip
def test_a_negative_seed_is_refused_by_every_command(words, capsys):
    assert left([*words, "--seed", "-1"]) == 2
    assert capsys.readouterr().err == "maskgym: seed -1 is negative: give 0 or more\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "a3c", "--out", "x", "--stpes", "3"], "--stpes, 3; perhaps you meant --steps"),
        (["train", "--workers", "2"], "missing: AGENT, --out"),
        (["train", "a3c", "--out"], "missing value for argument '--out'"),
        (["train", "a3c", "--out", "x", "--mode", "both"], "invalid choice 'both' for argument '--mode'"),
        (["train", "a3c", "b", "--out", "x"], "unrecognized options: b"),
        (["train", "a3c", "--out", "x", "--ratio", "half"], "--ratio: could not convert string to float: 'half'"),
    ],
)
@pytest.mark.parametrize("columns", ["60", "200"])
def test_a_bad_option_is_told_in_one_line_with_the_fix(words, said, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    assert left(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert error.startswith("maskgym: ")
    assert "`maskgym train --help`" in error


def completed(line: str, shell: str, tmp_path) -> list[str]:
    """What a shell offers after this line, its last word unfinished; zsh as its bashcompinit calls the function."""
    script = tmp_path / "maskgym.completion"
    script.write_text(completion.script())
    words = line.split(" ")
    typed = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}"
    asked = f'source {script}; {typed}; _maskgym; echo "${{COMPREPLY[@]}}"'
    if shell == "zsh":
        loaded = "autoload -U +X compinit bashcompinit; compinit -u -D; bashcompinit"
        asked = f"{loaded}; asked() {{ emulate -L sh; setopt kshglob noshglob braceexpand; {asked}; }}; asked"
    started = {"bash": ["bash", "-c"], "zsh": ["zsh", "-f", "-c"]}[shell]
    run = subprocess.run([*started, asked], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return [word for word in run.stdout.split() if word.startswith(words[-1])]  # zsh leaves that to its own matching


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("maskgym fin", ["finetune"]),
        ("maskgym data sp", ["split"]),
        ("maskgym study st", ["status"]),
        ("maskgym train a3c --st", ["--steps"]),
        ("maskgym data show --data phantoms --spl", ["--split", "--split-file"]),
        ("maskgym zzz --a", []),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_tab_key_completes_commands_and_options(line, offered, shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    assert completed(line, shell, tmp_path) == offered


@pytest.mark.parametrize("name", names())
def test_an_agents_settings_are_told_in_80_columns(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert left(["agents", name]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert all(field.name in said for field in fields(agent_class(name).Settings))


def test_the_list_of_agents_is_a_line_each_in_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert left(["agents"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(names())]] == names()
    assert max(map(len, lines)) <= 80


def test_the_version_is_printed(capsys):
    from maskgym import __version__

    assert left(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_help_loads_nothing_heavy():
    heavy = ("torch", "matplotlib", "stable_baselines3")
    code = (
        "import sys\nfrom maskgym.cli import main\n"
        "try: main(['--help'])\n"
        f"except SystemExit: print([name for name in {heavy} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "[]", run.stdout + run.stderr
