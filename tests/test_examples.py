import importlib.util
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SHORT = {  # arguments that make them quick
    "random_agent.py": ["2"],
    "sb3_ppo.py": ["256"],
    "sb3_query.py": ["256"],
    "expert_iteration.py": ["--images", "128"],
    "pettingzoo_loop.py": [],
    "rllib_appo.py": ["--steps", "256", "--runners", "1"],
    "torchrl_ppo.py": ["--steps", "256"],
}
NEEDS = {
    "pettingzoo_loop.py": ["pettingzoo"],
    "rllib_appo.py": ["ray", "pyarrow", "tree", "ormsgpack", "lz4", "pandas", "tensorboardX"],
    "torchrl_ppo.py": ["torchrl"],
}


def left_behind(mark: str) -> list[str]:
    """Name the processes that were started with this mark in their environment and still run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " ")[:200])
        except OSError:  # gone, or of another user
            continue
    return found


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.slow
def test_an_example_runs_as_a_user_would_run_it_and_leaves_no_process_behind(name):
    for package in NEEDS.get(name, []):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    mark = uuid.uuid4().hex
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}  # Ray: nothing sent, nothing written at home
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", EXAMPLES / name, *SHORT[name]],
        capture_output=True,
        text=True,
        env={**os.environ, **quiet, "EXAMPLE_RUN": mark},
    )
    if "timed out during startup" in run.stderr:
        pytest.skip("Ray gives itself 30 seconds to start; this machine is too busy")
    assert run.returncode == 0, run.stderr
    assert "reward" in run.stdout
    assert left_behind(mark) == []


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHORT)


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(EXAMPLES / "first_steps.ipynb", as_version=4)
    told = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(output.get("text", "") for cell in told.cells for output in cell.get("outputs", []))
    assert "variance" in printed
    assert "edges" in printed
