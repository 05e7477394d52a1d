"""The plan of the house: who may know whom, what an import may cost, and how long a file may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "maskgym").rglob("*.py"))

# The rooms from the ground up: a room may know itself and those the plan names for it, never one above.
KNOWS: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "dimensions": set(),
    "sizes": set(),
    "markdown": set(),
    "counts": set(),
    "fields": set(),
    "drawing": {"errors", "files"},
    "checkpoint": set(),
    "masking": set(),
    "networks": {"masking", "checkpoint"},
    "data": set(),
    "meter": set(),
    "rewards": set(),
    "game": {"masking", "meter", "rewards"},
    "patchnet": {"masking"},
    "game_spec": {"masking"},
    "agent_settings": set(),
    "agent_files": {"game_spec"},
    "seeding": set(),
    "climbing": {"game", "masking"},
    "agent": {"game", "masking", "game_spec", "agent_settings", "agent_files"},
    "pretrain_hooks": set(),
    "learner": {"agent", "pretrain_hooks"},
    "registry": {"agent", "agent_settings", "masking"},
    "searcher": {"agent", "registry", "climbing", "game", "meter"},
    "envs": {"game", "meter", "rewards", "data", "masking", "networks", "patchnet"},
    "training": {"checkpoint", "learner", "masking"},
    "pretrain": {
        "game",
        "data",
        "agent",
        "learner",
        "pretrain_hooks",
        "registry",
        "masking",
        "networks",
        "envs",
        "training",
        "checkpoint",
    },
    "downstream": {"data", "masking", "networks", "training", "checkpoint"},
}
GROUND = {"errors", "files", "dimensions", "sizes", "markdown", "counts", "fields", "drawing"}
ALL = {*KNOWS, "view", "benchmark", "studies", "report", "commands", "cli", ""}


def room(module: str) -> str:
    """`maskgym.envs.task` is in the room `envs`; the package itself is in the room ``."""
    return [*module.split("."), ""][1]


def imports(file: Path) -> list[tuple[int, str]]:
    """Every module a file imports, wherever it does so."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports relatively"
            found.append((node.lineno, node.module))
            if node.module == "maskgym":
                found += [(node.lineno, f"maskgym.{alias.name}") for alias in node.names]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_room_knows_one_above_it(file):
    name = file.relative_to(ROOT).as_posix()
    own = file.relative_to(ROOT / "maskgym").parts[0].removesuffix(".py")
    allowed = KNOWS.get(own, ALL) | {own, *GROUND}
    for line, module in imports(file):
        assert module.split(".")[0] != "maskgym_agents", f"{name}:{line} imports agents, which are found by entry point"
        if module.split(".")[0] == "maskgym" and module != "maskgym":
            if own == "__init__":
                assert room(module) in {"errors", "envs", "agent", "registry"}, f"{name}:{line} imports {module}"
            else:
                assert room(module) in allowed or room(module) not in ALL, f"{name}:{line} knows {module}"


@pytest.mark.parametrize("file", sorted((ROOT / "agents").glob("*.py")), ids=lambda file: file.name)
def test_agents_do_not_import_each_other(file):
    for line, module in imports(file):
        assert module.split(".")[0] != "maskgym_agents", f"{file.name}:{line} imports {module}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_is_over_300_lines(file):
    assert len(file.read_text().splitlines()) <= 300


def test_importing_the_package_loads_nothing_heavy():
    heavy = (
        "monai",
        "stable_baselines3",
        "ray",
        "matplotlib",
        "pettingzoo",
        "maskgym_agents",
        "tyro",
        "rich",
        "nibabel",
        "torch",
    )
    code = f"import sys, maskgym; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


def test_making_and_playing_an_environment_loads_none_of_it_either():
    heavy = ("monai", "stable_baselines3", "ray", "matplotlib", "pettingzoo", "maskgym_agents")
    code = (
        "import sys, gymnasium; env = gymnasium.make('maskgym:MaskMIMSmall-v0', split='val'); env.reset(seed=0); "
        f"env.step(env.action_space.sample()); print([name for name in {heavy} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr
