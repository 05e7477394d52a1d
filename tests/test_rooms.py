"""The plan of the house: who may know whom, what an import may cost, and how long a file may be."""

import ast
import subprocess
import sys
from pathlib import Path

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
    "agent_spec": set(),
    "agent_files": {"game_spec"},
    "seeding": set(),
    "climbing": {"game", "masking"},
    "agent": {"game", "meter", "masking", "game_spec", "agent_settings", "agent_files"},
    "pretrain_hooks": set(),
    "learner": {"agent", "pretrain_hooks"},
    "registry": {"agent", "agent_settings", "agent_spec", "masking"},
    "composed": {"agent", "agent_spec", "learner", "registry", "game", "meter"},
    "searcher": {"agent", "composed", "climbing", "game"},
    "envs": {"game", "meter", "rewards", "data", "masking", "networks", "patchnet"},
    "training": {"checkpoint", "learner", "masking"},
    "pretrain": {
        "agent_spec",
        "game",
        "meter",
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


def unknown_to(file: Path) -> list[str]:
    """Every import by which a file knows what stands above it, or an agent."""
    name = file.relative_to(ROOT).as_posix()
    own = file.relative_to(ROOT / "maskgym").parts[0].removesuffix(".py")
    allowed = KNOWS.get(own, ALL) | {own, *GROUND}
    if own == "__init__":
        allowed = {"errors", "envs", "agent", "registry"}
    elsewhere = [(line, module) for line, module in imports(file) if module != "maskgym"]
    return [
        f"{name}:{line} knows {module}"
        for line, module in elsewhere
        if module.split(".")[0] == "maskgym_agents"
        or (
            module.split(".")[0] == "maskgym"
            and room(module) not in allowed
            and (own == "__init__" or room(module) in ALL)
        )
    ]


def test_no_room_knows_one_above_it_nor_an_agent():
    assert len(FILES) > 100
    assert [line for file in FILES for line in unknown_to(file)] == []


def test_agents_do_not_import_each_other():
    files = sorted((ROOT / "agents").glob("*.py"))
    assert len(files) > 10
    found = {file.name: [module for _, module in imports(file)] for file in files}
    assert [name for name, modules in found.items() if any(one.startswith("maskgym_agents") for one in modules)] == []


def test_no_file_is_over_300_lines():
    every = [*FILES, *(ROOT / "agents").glob("*.py")]
    assert [file.name for file in every if len(file.read_text().splitlines()) > 300] == []


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
