import importlib
import subprocess
import sys

import pytest

from maskgym import cli
from maskgym.errors import BadInput


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
def test_every_command_in_the_table_exists_and_explains_its_options(name, capsys):
    where, sentence = cli.COMMANDS[name]
    module, attribute = where.split(":")
    assert getattr(importlib.import_module(module), attribute).__doc__
    assert sentence
    assert left([*name.split(), "--help"]) == 0
    assert f"maskgym {name}" in capsys.readouterr().out


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
