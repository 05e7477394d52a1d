from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from maskgym.benchmark import par as pars
from maskgym.benchmark.par_search import raise_par
from maskgym.benchmark.search import Search
from maskgym.envs.registry import IDS
from maskgym.envs.task import Settings, Task
from maskgym.networks import store
from maskgym.networks.unet import UNet

QUICK = Search(chains=2)


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two small networks that nobody trained: enough to be a game, and quick."""
    folder = tmp_path_factory.mktemp("networks")
    for number, name in enumerate(("one", "other")):
        with torch.random.fork_rng():
            torch.manual_seed(number)
            store.save(UNet(widths=(8, 8)).eval(), folder / f"{name}.safetensors", {})
    with torch.random.fork_rng():
        torch.manual_seed(9)
        store.save(UNet(dims=3, widths=(8, 8)).eval(), folder / "volumes.safetensors", {})
    return {path.stem: str(path) for path in folder.glob("*.safetensors")}


@pytest.fixture(scope="session")
def make_task(networks: dict[str, str]) -> Callable[..., Task]:
    kept: dict[Any, Task] = {}

    def make(network: str = "one", **more: Any) -> Task:
        key = (network, *sorted(more.items()))
        if key not in kept:
            size = {"image_size": "16x16x16", "patch_size": 4} if network == "volumes" else {"image_size": "32x32"}
            own = {"split": "test", "piece": 32, "reconstructor": networks[network], **size}
            kept[key] = Task(Settings.of({**IDS["MaskMIMSmall-v0"], **own, **more}))
        return kept[key]

    return make


@pytest.fixture
def task(make_task: Callable[..., Task]) -> Task:
    return make_task()


@pytest.fixture(scope="session")
def par_file(make_task: Callable[..., Task], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Par of 6 images at two ratios."""
    task, path = make_task(), tmp_path_factory.mktemp("par") / "par.safetensors"
    par = pars.start(task, 6)
    for ratio in (0.5, 0.75):
        raise_par(task, par, path, ratio, 6, 60, settings=QUICK)
    return path


@pytest.fixture
def game_options(networks: dict[str, str]) -> list[str]:
    """What the command line needs to mean the same game as `task`."""
    size = ["--env", "maskgym:MaskMIMSmall-v0", "--image-size", "32x32"]
    return [*size, "--reconstructor", networks["one"], "--images", "6"]
