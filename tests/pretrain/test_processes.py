import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

CHILD = """
import sys, torch
from maskgym.training.devices import make_fabric
from maskgym.pretrain.loop import Loop
from maskgym.pretrain.data import make_loader, open_split
from maskgym.pretrain.run import build
from tests.pretrain.runs import VIT, tiny

torch.set_num_threads(1)
out, *recipes = sys.argv[1:]
fabric = make_fabric()
told = {}
for recipe in recipes:
    settings = tiny(out, "random", **VIT) if recipe == "without-prediction" else tiny(out, recipe)
    train = open_split(settings, "train")
    agent, student, _ = build(settings, train.channels)
    loop = Loop(settings, student, agent, make_loader(settings, train), fabric)
    for step in range(5):
        loop.update(loop.make(step))
        if loop.done == 1:
            gradients = [weight.grad.clone() for weight in student.parameters() if weight.requires_grad]
    told[recipe] = {"weights": student.state_dict(), "agent": agent.state_dict(), "gradients": gradients}
torch.save(told, f"{out}.{fabric.global_rank}")
"""
RECIPES = ("anatomask", "amlp", "selfmedhpm", "without-prediction")
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def play(folder: Path, processes: int) -> list[dict]:
    script, out = folder / "child.py", folder / f"by-{processes}"
    script.write_text(CHILD)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), str(script), str(out), *RECIPES]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return [torch.load(f"{out}.{rank}", weights_only=True) for rank in range(processes)]


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    return [*play(folder, 1), *play(folder, 2)]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.slow
def test_two_processes_teach_what_one_teaches(played, recipe):
    one, first, second = (told[recipe] for told in played)
    for part in ("weights", "agent"):
        for name, value in first[part].items():
            assert torch.equal(value, second[part][name]), name
    assert torch.equal(first["agent"]["drawn"], one["agent"]["drawn"])
    largest = max(float(gradient.norm()) for gradient in one["gradients"])
    for a, b in zip(one["gradients"], first["gradients"], strict=True):
        assert torch.allclose(a, b, atol=1e-4 * largest)


LAUNCHERS = {  # torchrun starts those above
    "fabric run": ["lightning_fabric.cli", "--accelerator", "cpu", "--devices", "2", "--strategy", "ddp", "SCRIPT"],
    "ourselves": ["maskgym.cli"],
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.slow
def test_the_command_runs_in_two_processes_and_resumes_in_one(tmp_path, launcher):
    script, out = tmp_path / "script.py", tmp_path / "run"
    script.write_text("from maskgym.cli import main\nmain()\n")
    line = "pretrain --image-size 16x16 --patch-size 4 --images 24 --batch 8 --epochs 2 --quiet"
    words = [*line.split(), "--student", "unet", "--student-settings", "widths=4,8", "--out", str(out)]
    start = [str(script) if word == "SCRIPT" else word for word in LAUNCHERS[launcher]]
    start = [sys.executable, "-m", *start, *words, *(["--processes", "2"] if launcher == "ourselves" else [])]
    done = subprocess.run(start, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "MEMBER: 2/2" in done.stderr + done.stdout
    assert done.stdout.count("pre-trained:") == 1
    assert torch.load(out / "checkpoint.pt", weights_only=True)["done"] == 6
    again = [sys.executable, "-m", "maskgym.cli", *words]
    assert launcher != "ourselves" or subprocess.run(again, env=ENVIRONMENT, capture_output=True).returncode == 0
