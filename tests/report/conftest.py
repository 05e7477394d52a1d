"""A small study whose scores are known, made once; tests that change it get a copy."""

import shutil

import pytest

from maskgym.report.load import load
from maskgym.report.write import build
from tests.report.study_folder import make


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """The study; not to be changed."""
    return make(tmp_path_factory.mktemp("reports") / "mine")


@pytest.fixture
def study(kept, tmp_path):
    return shutil.copytree(kept, tmp_path / "mine")


@pytest.fixture(scope="session")
def made(kept):
    """Its page, to be looked at only."""
    return build(load(kept))
