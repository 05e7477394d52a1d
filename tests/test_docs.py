import doctest
import importlib
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from maskgym.cli import COMMANDS, parse
from maskgym.errors import BadInput

ROOT = Path(__file__).parent.parent
MADE = ROOT / "docs" / "commands.md"  # with the site, from the commands themselves
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted({*(ROOT / "docs").rglob("*.md")} - {MADE})]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (f"{page.relative_to(ROOT)}:{page.read_text()[: found.start()].count(chr(10)) + 1}", found.group(2))
        for page in PAGES
        for found in BLOCK.finditer(page.read_text())
        if found.group(1) == language
    ]


@cache
def commands() -> list[tuple[str, str]]:
    lines = [
        (where, line.removeprefix("$ "))
        for language in ("bash", "console")
        for where, text in blocks(language)
        for line in text.replace("\\\n", " ").splitlines()
    ]
    return [
        (where, part.strip())
        for where, line in lines
        for part in line.split("&&")
        if part.strip().startswith("maskgym ")
    ]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text()], ids=lambda page: page.stem
)
@pytest.mark.slow
def test_python_blocks_of_a_page_run_one_after_another(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for where, text in blocks("python"):
        if where.rpartition(":")[0] == str(page.relative_to(ROOT)) and "/data/" not in text:  # not a user's own data
            quick = re.sub(r"\.learn\([\d_]+\)", ".learn(256)", text)
            quick = quick.replace("range(1200)", "range(12)").replace("batches(0, 250)", "batches(0, 3)")
            exec(compile(quick, where, "exec"), names)


@pytest.mark.parametrize(
    "file",
    [
        file
        for folder in ("maskgym", "agents")
        for file in sorted((ROOT / folder).rglob("*.py"))
        if ">>>" in file.read_text()
    ],
    ids=lambda file: file.stem,
)
def test_examples_in_docstrings_say_what_happens(file):
    folder, *rest = file.relative_to(ROOT).with_suffix("").parts
    module = importlib.import_module(".".join([{"agents": "maskgym_agents"}.get(folder, folder), *rest]))
    tried = doctest.testmod(module)
    assert tried.attempted
    assert not tried.failed


@pytest.mark.parametrize("page", dict.fromkeys(where.rpartition(":")[0] for where, _ in commands()))
def test_command_lines_of_a_page_are_understood(page):
    for where, line in commands():
        if where.rpartition(":")[0] != page:
            continue
        words = [word.replace("...", "1") for word in shlex.split(line.partition(" > ")[0], comments=True)[1:]]
        name = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in COMMANDS), None)
        if name is None:
            assert words[0].startswith("-") or words[0] in {known.split()[0] for known in COMMANDS}, line
        elif "--help" not in words:
            try:
                parse(name, words[len(name.split()) :])
            except BadInput as error:
                pytest.fail(f"{where}: {line}: {error}")


def test_relative_links_of_the_docs_lead_somewhere():
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
        if "://" not in target and (page.parent / target).resolve() != MADE and not (page.parent / target).exists()
    ]
    assert not broken


def test_every_registered_agent_and_environment_has_a_page():
    from maskgym.envs.registry import IDS, QUERY_IDS
    from maskgym.registry import agent_class, names

    ours = [name for name in names() if agent_class(name).__module__.startswith("maskgym_agents.")]
    assert ours
    told = "\n".join(page.read_text() for page in (ROOT / "docs" / "agents").glob("*.md"))
    assert [name for name in ours if f"`{name}`" not in told and f"# {name}\n" not in told] == []
    assert [name for name in (*IDS, *QUERY_IDS) if not (ROOT / "docs" / "environments" / f"{name}.md").exists()] == []


def test_links_of_the_readme_are_absolute_and_lead_to_files_of_the_repository():
    text = (ROOT / "README.md").read_text()
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert all(target.startswith("https://") for target in targets)
    home = r"https://(?:github\.com/maskgym/maskgym/blob|raw\.githubusercontent\.com/maskgym/maskgym)/"
    ours = re.compile(rf"{home}(?:main/)(.*)")
    paths = [found[1].partition("#")[0] for target in targets if (found := ours.match(target))]
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []
