"""`maskgym completion`: what the Tab key offers in a shell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional

# COMP_WORDS holds the words typed so far: the longest command they begin with decides which options are offered.
_BASH = """_maskgym() {{
  local typed="${{COMP_WORDS[*]:1:$((COMP_CWORD-1))}}" word="${{COMP_WORDS[COMP_CWORD]}}" offered=""
  case "$typed" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$offered" -- "$word"))
}}
complete -o default -F _maskgym maskgym"""
_ZSH = "#compdef maskgym\nautoload -U +X bashcompinit && bashcompinit\n"


@dataclass(frozen=True)
class Completion:
    """Print a script by which the Tab key completes maskgym's commands and options.

    In bash, once; new shells then know it:

      mkdir -p ~/.local/share/bash-completion/completions
      maskgym completion bash > ~/.local/share/bash-completion/completions/maskgym

    In zsh, once, after compinit:

      maskgym completion zsh > ~/.maskgym-completion
      echo "source ~/.maskgym-completion" >> ~/.zshrc
    """

    shell: Positional[Literal["bash", "zsh"]]
    """The shell that will read the script."""

    def __call__(self) -> None:
        """Print the script."""
        print(("" if self.shell == "bash" else _ZSH) + script())


def script() -> str:
    """Write the script for bash; zsh reads it, too."""
    from maskgym.cli import COMMANDS, command
    from maskgym.commands.options import explained

    cases = []
    for name in sorted(COMMANDS, key=len, reverse=True):  # `study status` stands before `study`
        members = [other.split()[1] for other in COMMANDS if other.startswith(f"{name} ")]
        options = [option for option in explained(command(name)) if option.startswith("--")]
        cases.append(_case(name, [*members, *options, "--help"]))
    families = {name.split()[0] for name in COMMANDS if " " in name} - set(COMMANDS)
    for family in sorted(families):
        cases.append(_case(family, [name.split()[1] for name in COMMANDS if name.startswith(f"{family} ")]))
    first = dict.fromkeys(name.split()[0] for name in COMMANDS)
    cases.append(f'    "") offered="{" ".join(first)} --help --version" ;;')
    return _BASH.format(cases="\n".join(cases))


def _case(name: str, words: list[str]) -> str:
    return f'    "{name}" | "{name} "*) offered="{" ".join(words)}" ;;'
