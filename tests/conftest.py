import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_cache_for_all_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Images are made once a session, and never in the user's own cache; children inherit the folder."""
    if "MASKGYM_CACHE" in os.environ:
        yield
        return
    base: Path = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "maskgym-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKGYM_CACHE", str(folder))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
