import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SHORT = {"random_agent.py": ["2"], "sb3_ppo.py": ["256"], "pettingzoo_loop.py": []}  # arguments that make them quick


@pytest.mark.parametrize("name", SHORT)
def test_an_example_runs_as_a_user_would_run_it(name):
    if name == "pettingzoo_loop.py":
        pytest.importorskip("pettingzoo")
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", EXAMPLES / name, *SHORT[name]], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "reward" in run.stdout


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHORT)
