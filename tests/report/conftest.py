"""A small study whose scores are known."""

import pytest

from maskgym.report.load import load
from maskgym.report.write import build
from tests.report.study_folder import make


@pytest.fixture
def study(tmp_path):
    return make(tmp_path / "mine")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Its page, to be looked at only."""
    return build(load(make(tmp_path_factory.mktemp("reports") / "mine")))
