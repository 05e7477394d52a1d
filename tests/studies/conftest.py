from pathlib import Path

import pytest

from maskgym.studies.plan import Job, plan
from maskgym.studies.read import read_study
from tests.studies.study_file import STUDY


@pytest.fixture
def study(tmp_path) -> Path:
    (tmp_path / "s.toml").write_text(STUDY)
    return tmp_path / "s.toml"


@pytest.fixture
def jobs(study, tmp_path) -> dict[str, Job]:
    return {job.name: job for job in plan(read_study(study), tmp_path / "out")}
