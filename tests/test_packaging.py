"""What is built and handed to others: the wheel, the source archive, and what stands beside them."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BESIDE = {"openai-agents": {"agents"}}  # distributions people have, and the packages they install at the top


def tracked(*folders: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no checkout of git")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    for name in tracked():  # what a build leaves behind would be taken for an installed package here
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return out


def in_wheel(built: Path) -> set[str]:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


@pytest.mark.slow
def test_the_wheel_installs_beside_openai_agents_without_a_file_in_common(built):
    tops = {name.split("/")[0] for name in in_wheel(built)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"maskgym", "maskgym_agents"}
    for distribution, packages in BESIDE.items():
        assert not tops & packages, distribution


def test_the_wheel_holds_every_file_of_the_package(built):
    told = {
        name.replace("agents/", "maskgym_agents/", 1) if name.startswith("agents/") else name
        for name in tracked("maskgym", "agents")
    }
    assert told - in_wheel(built) == set()


def test_the_source_archive_holds_every_test_page_and_example(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    everything = tracked()
    left_out = {name for name in everything - held if not name.startswith(".git")}
    assert left_out == set()


def test_the_index_would_take_both(built):
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_version_and_date_are_told_the_same_everywhere():
    import yaml

    from maskgym import __version__

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == __version__
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_workflows_and_issue_forms_are_well_formed(path):
    import yaml

    told = yaml.safe_load(path.read_text())
    assert isinstance(told, dict)
    if path.parent.name == "workflows":
        assert all("timeout-minutes" in job and "steps" in job for job in told["jobs"].values())
        assert told["permissions"]["contents"] == "read"
