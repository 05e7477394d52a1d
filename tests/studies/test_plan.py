"""Study files: what is refused before anything runs, which commands they become, what several jobs stand on."""

import json
from pathlib import Path

import pytest

from maskgym.cli import run
from maskgym.commands.study import _check
from maskgym.errors import BadInput
from maskgym.studies.plan import only, plan
from maskgym.studies.read import keep, read_study
from tests.studies.study_file import STUDY, after

STUDIES = sorted((Path(__file__).parents[2] / "examples" / "studies").glob("*.toml"))
QUICK = next(file for file in STUDIES if file.stem == "quick")


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_a_ready_study_is_planned_and_its_commands_are_understood(file, tmp_path, capsys):
    run(["study", str(file), "--out", str(tmp_path / "out"), "--dry-run"])
    said = capsys.readouterr().out
    jobs = plan(read_study(file), tmp_path / "out")
    assert said.count("waiting ") == len(jobs)
    assert not (tmp_path / "out").exists(), "a dry run writes nothing"
    before: set[str] = set()
    for job in jobs:
        assert before.issuperset(job.needs), "what a job needs stands before it"
        if job.kind not in ("split", "control") and "phantoms" not in " ".join(job.words):
            assert "--split-file" in job.words, "patients are split once, for all"
        before.add(job.name)


def test_a_study_goes_on_however_its_folder_is_spelled(tmp_path, monkeypatch, capsys):
    said = set()
    for folder, out in ((tmp_path, "out"), (tmp_path.parent, f"{tmp_path.name}/out"), (tmp_path, tmp_path / "out")):
        monkeypatch.chdir(folder)
        run(["study", str(QUICK), "--out", str(out), "--dry-run"])
        said.add(capsys.readouterr().out)
    assert len(said) == 1, "half-done jobs hold paths in their settings"


def test_a_network_is_pre_trained_once_for_all_label_shares(tmp_path):
    jobs = plan(read_study(QUICK), tmp_path)
    kinds = [job.kind for job in jobs]
    assert (kinds.count("pretrain"), kinds.count("finetune")) == (4, 12)
    assert all(job.needs for job in jobs if job.kind == "finetune" and "none" not in job.words)


def test_stages_are_made_once_for_each_data_set_and_one_that_is_carried_once_for_all(jobs):
    kinds = [job.kind for job in jobs.values()]
    assert [kinds.count(kind) for kind in ("split", "reconstructor", "policy", "par")] == [1, 2, 3, 2]
    assert "data1/carried" not in jobs
    own = jobs["data1/reconstructor"].words
    assert own[own.index("--widths") :][:3] == ("--widths", "8", "8")
    assert after(jobs["data1/policy"], "--reconstructor").endswith("out/data1/reconstructor")
    assert jobs["data1/policy"].needs == ("data1/split", "data1/reconstructor")


def test_methods_mask_by_the_stages_they_name(jobs, tmp_path):
    home = tmp_path / "out"
    shared, abroad, anew, inside = (
        jobs[f"data1/{name}/seed1/pretrain"] for name in ("shared", "abroad", "anew", "inside")
    )
    assert (after(shared, "--agent"), shared.needs[-1]) == (f"a3c:{home / 'data1' / 'policy'}", "data1/policy")
    assert (after(abroad, "--agent"), abroad.needs[-1]) == (f"a3c:{home / 'data0' / 'carried'}", "data0/carried")
    assert (after(anew, "--agent"), anew.needs[-1]) == ("a3c", "data1/reconstructor")
    assert after(anew, "--reconstructor") == str(home / "data1" / "reconstructor")
    assert after(inside, "--agent") == f"loss-map?network={home / 'data1' / 'reconstructor'}"
    assert inside.needs[-1] == "data1/reconstructor"


def test_some_methods_are_run_alone_with_what_they_need(study, tmp_path, capsys):
    study.write_text(STUDY + '[control]\nmethod = "random"\nover = "scratch"\n')
    jobs = plan(read_study(study), tmp_path / "out")
    some = only(jobs, ("shared",))
    assert {job.method for job in some} == {"", "scratch", "random", "shared"}
    names = {job.name for job in some}
    assert {"data0/control", "data0/policy", "data1/split"} <= names
    assert "data0/carried" not in names
    assert all(names.issuperset(job.needs) for job in some)
    with pytest.raises(BadInput, match="--methods names 'shard', .* did you mean 'shared'"):
        run(["study", str(study), "--methods", "shard", "--out", str(tmp_path / "out")])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds =", "seed =", "did you mean 'seeds'"),
        ("[0, 1]", "[0, 0]", "twice"),
        ("[0, 1]", "[true]", "must be a list of ints"),
        ("[0, 1]", "[-1]", "a seed is 0 or above"),
        ("[0.1, 1.0]", "[0.0]", "leaves no patient"),
        ('"scratch"', '"../x"', "becomes a folder"),
        ('"scratch"', '"random"', "two methods"),
        ('recipe = "ahm"', 'recipe = "ahn"', "did you mean 'ahm'"),
        ('"lgg:/nowhere"', '"lgg"', "is not a data set"),
        ("steps = 20", "step = 20", "'scratch': unrecognized options: --step, 20; perhaps you meant --steps"),
        ("steps = 20", 'recipe = "nope"', "there is no recipe 'nope'"),
        ("steps = 20", 'device = "tpu"', "device 'tpu' is unknown: choose cpu, cuda"),
        ("steps = 20", "steps = -1", "steps -1 must be at least 1"),
        ("steps = 20", "lr = inf", "lr = inf: give a number"),
        ("steps = 20", 'network = "resnet"', "resnet"),
        ("patch_size = 4\n", "", "say patch_size in"),
        ("patch_size = 4\n", "patch_size = 5\n", "5"),
        ("patch_size = 4\n", 'patch_size = 4\nratio = "often"\n', "often"),
        ("patch_size = 4\n", 'patch_size = 4\nloss = "hiden-mean"\n', "hiden-mean"),
        ("patch_size = 4\n", 'patch_size = 4\nstudent = "unett"\n', "did you mean 'unet'"),
        ("patch_size = 4\n", "patch_size = 4\nbatch = 0\n", "batch 0 must be at least 1"),
        ('agent = "policy"', 'agent = "polisy"', "unknown agent 'polisy'"),
        ('agent = "a3c?width=8"', 'agent = "variance"', "'variance' is not one"),
        ("on = 0", "on = 2", "there are 2, from 0"),
        ("on = 0", 'reconstructor = "reconstructr"', "did you mean 'reconstructor'"),
        ('name = "carried"', 'name = "random"', "two methods or stages"),
        ("[reconstructor]\nsteps = 40\nwidths = [8, 8]\n", "", "add .reconstructor"),
        ("widths = [8, 8]", 'widths = ["a"]', "--widths: .*arguments: ..a.."),
        ("steps = 20", "seed = 3", "the study sets that itself"),
        ("widths = [8, 8]", 'device = "gpu"', "device 'gpu' is unknown"),
        ("images = 6", "imags = 6", "perhaps you meant --images"),
        ("steps = 40", 'steps = "many"', "'many' is no whole number"),
        ('data = ["phantoms"', 'differ = ["agent"]\ndata = ["phantoms"', "'random' and 'shared' differ in"),
        ('data = ["phantoms"', 'differ = ["agnt"]\ndata = ["phantoms"', "did you mean 'agent'"),
        ("[score]", '[control]\nover = "none"\n[score]', "no method is called 'none'"),
        ("[score]", "[control]\nerrors = true\n[score]", "errors = True"),
        ("[score]", '[control]\nmeasure = "AUC"\n[score]', "measure = 'AUC': say 'patch_AUROC'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(study, old, new, words, tmp_path):
    assert old in STUDY
    study.write_text(STUDY.replace(old, new, 1))
    with pytest.raises(BadInput, match=words):
        _check(read_study(study))


MORE = """
[[method]]
name = "longer"
pretrained = "shared"
[method.finetune]
steps = 900
"""


def test_a_method_may_fine_tune_what_another_pre_trained(study, tmp_path):
    alone = plan(read_study(study), tmp_path / "out")
    study.write_text(STUDY + MORE)
    jobs = {job.name: job for job in plan(read_study(study), tmp_path / "out")}
    new = jobs.keys() - {job.name for job in alone}
    assert {jobs[name].kind for name in new} == {"finetune"}
    job = jobs["data1/longer/seed1/share0.1"]
    assert after(job, "--weights").endswith("data1/shared/seed1/pretrain")
    assert (after(job, "--steps"), job.needs[-1]) == ("900", "data1/shared/seed1/pretrain")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (MORE.replace("shared", "sharde"), "did you mean 'shared'"),
        (MORE.replace("[method.finetune]", "[method.pretrain]"), "give it no recipe"),
        ("[[method]]\nname = 'x'\nrecipe = 'random'\n[method.pretrain]\nsteps = 4\n", None),
    ],
)
def test_a_method_that_takes_nothing_or_too_much_is_refused(study, tmp_path, more, words):
    study.write_text(STUDY + more)
    if words is None:
        read_study(study)
        study.write_text("passes = 1_000_000\n" + STUDY + more)
        words = "passes = 1000000 is for all arms"
    with pytest.raises(BadInput, match=words):
        read_study(study)


def test_equal_passes_are_every_arms_and_checked_against_what_its_policy_takes(tmp_path, capsys):
    text = QUICK.read_text().replace("epochs = 2\n", "")
    arm = '[reconstructor]\nsteps = 10\nbatch = 4\n[policy]\nsteps = 100\n[[method]]\nname = "ahm"\nrecipe = "ahm"\n'
    arm += '[method.pretrain]\nagent = "policy"\n'
    (tmp_path / "s.toml").write_text(f"passes = 520\n{text}{arm}")
    words = ["study", str(tmp_path / "s.toml"), "--out", str(tmp_path / "out"), "--dry-run"]
    with pytest.raises(BadInput, match="'ahm': .* take 520 image passes, all arms have 520"):
        run(words)
    (tmp_path / "s.toml").write_text(f"passes = 5200\n{text}{arm}")
    assert not run(words)
    assert "--passes 5200" in capsys.readouterr().out
    jobs = [job for job in plan(read_study(tmp_path / "s.toml"), tmp_path / "out") if job.kind == "pretrain"]
    assert {after(job, "--passes") for job in jobs} == {"5200"}


def test_contrastive_rows_are_not_scored_and_are_no_random_masks(study, tmp_path):
    study.write_text(STUDY + "[[method]]\nname = 'simclr'\nrecipe = 'simclr'\n")
    read = read_study(study)
    kinds = {job.kind for job in plan(read, tmp_path / "out") if job.method == "simclr"}
    assert kinds == {"pretrain", "finetune"}
    assert not read.masks(read.methods[-1])


def test_a_folder_keeps_its_study_which_may_grow_but_not_change(study, tmp_path):
    out = tmp_path / "out"
    keep(study, out)
    study.write_text(STUDY.replace("[0, 1]", "[0, 1, 2]"))
    keep(study, out)
    assert read_study(out / "study.json") == read_study(study)
    study.write_text(STUDY.replace("steps = 20", "steps = 30"))
    with pytest.raises(BadInput, match="data0/scratch/seed0/share0.1 differs"):
        keep(study, out)


def test_other_data_may_be_given_and_is_what_the_folder_remembers(study, tmp_path):
    keep(study, tmp_path / "out", ("phantoms?seed=7",))
    assert json.loads((tmp_path / "out" / "study.json").read_text())["data"] == ["phantoms?seed=7"]
    with pytest.raises(BadInput, match="another study"):
        keep(study, tmp_path / "out", ("phantoms?seed=8",))


def test_commands_are_printed_as_a_shell_would_need_them(study, tmp_path, capsys):
    study.write_text(STUDY.replace("lgg:/nowhere", "lgg:/some where?modality=FLAIR&axis=2"))
    run(["study", str(study), "--out", str(tmp_path / "my out"), "--dry-run"])
    said = capsys.readouterr().out
    assert "'lgg:/some where?modality=FLAIR&axis=2'" in said
    assert f"'{tmp_path / 'my out'}/data0/reconstructor'" in said
