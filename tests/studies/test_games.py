"""What a study plays and draws: games and their par, draws of labels, the control, and what comes first."""

from maskgym.commands.study import _check
from maskgym.studies.plan import plan
from maskgym.studies.read import read_study
from tests.studies.study_file import STUDY, after


def test_whoever_masks_is_scored_in_the_game_that_all_share(jobs, tmp_path):
    home = tmp_path / "out" / "data0"
    scored = {job.method: job.words[1] for job in jobs.values() if job.kind == "score" and job.place == "data0"}
    assert scored == {
        "random": "random",
        "shared": f"a3c:{home / 'policy'}",
        "abroad": f"a3c:{home / 'carried'}",
        "anew": f"a3c:{home / 'anew' / 'seed{seed}' / 'pretrain' / 'policy'}",
        "inside": f"loss-map?network={home / 'reconstructor'}",
    }
    assert {f"data0/anew/seed{seed}/pretrain" for seed in (0, 1)} < set(jobs["data0/anew/score"].needs)
    assert after(jobs["data0/anew/score"], "--par") == after(jobs["data0/par"], "--out")


def test_masks_by_averages_of_the_students_own_run_are_no_players(study, tmp_path):
    more = (
        '[[method]]\nname = "own"\nrecipe = "random"\n[method.pretrain]\nagent = "snapshots"\nteacher = "so-far:0.5"\n'
    )
    study.write_text(study.read_text() + more + 'fast = "so-far:0.02"\n')
    names = {job.name for job in plan(read_study(study), tmp_path / "out")}
    assert "data0/own/seed0/pretrain" in names
    assert "data0/random/score" in names
    assert "data0/own/score" not in names


def test_masks_drawn_at_a_temperature_are_not_those_of_the_scores_alone_and_are_not_played(study, tmp_path):
    more = '[[method]]\nname = "soft"\nrecipe = "random"\n[method.pretrain]\nagent = "variance"\ntemperature = 1\n'
    study.write_text(study.read_text() + more)
    names = {job.name for job in plan(read_study(study), tmp_path / "out")}
    assert "data0/soft/seed0/pretrain" in names
    assert "data0/soft/score" not in names


def test_methods_are_scored_at_the_hard_share_they_hide_by_in_pre_training_unless_the_study_says_another(
    study, tmp_path
):
    shares = {"random": "0.0", "shared": "0.7", "inside": "0.2625"}  # linear:0:0.5 over 20 epochs, on average
    told = STUDY.replace(
        'name = "inside"\nrecipe = "random"\n[method.pretrain]',
        """name = "inside"
recipe = "random"
[method.pretrain]
epochs = 20
hard_share = "linear:0:0.5\"""",
    )
    for text, expected in (
        (told, shares),
        (told.replace("[score]", "[score]\nhard_share = 1"), dict.fromkeys(shares, "1")),
    ):
        study.write_text(text)
        read = read_study(study)
        _check(read)
        jobs = {job.name: job for job in plan(read, tmp_path / "out")}
        assert {name: after(jobs[f"data0/{name}/score"], "--hard-share") for name in shares} == expected
        assert "--hard-share" not in jobs["data0/par"].words


def test_several_games_may_be_played_each_with_its_own_par(study, tmp_path):
    told = STUDY.replace(
        "[score]", '[[score]]\nname = "relative"\nreward = "relative"\nreference = "reconstructor"\n[[score]]'
    )
    study.write_text(told)
    read = read_study(study)
    _check(read)
    jobs = {job.name: job for job in plan(read, tmp_path / "out")}
    relative = jobs["data0/random/score-relative"]
    assert after(relative, "--par").endswith("data0/par-relative.safetensors")
    assert after(relative, "--reference").endswith("data0/reconstructor")
    assert "data0/par-relative" in relative.needs
    assert after(jobs["data0/par-relative"], "--reward") == "relative"
    assert "--reward" not in jobs["data0/random/score"].words


def test_labels_are_drawn_as_often_as_asked_and_pre_training_may_be_on_other_data(study, tmp_path):
    told = STUDY.replace("shares = [0.1, 1.0]", "shares = [0.1]\nlabel_seeds = [4, 7]")
    told = told.replace(
        'name = "other-size"\nrecipe = "random"\n[method.pretrain]',
        '''name = "other-data"
recipe = "random"
[method.pretrain]
data = "busi:/elsewhere"''',
    ).replace("patch_size = 8", "")
    study.write_text(told)
    jobs = {job.name: job for job in plan(read_study(study), tmp_path / "out")}
    drawn = jobs["data0/random/seed1/share0.1"]
    assert (after(drawn, "--label-seed"), after(drawn, "--seed")) == ("4,7", "1")
    assert list(drawn.folders) == [4, 7]
    assert drawn.folders[7] == drawn.leaves.parent / "labels-7"
    assert drawn.needs == ("data0/random/seed1/pretrain",)
    for place in ("data0", "data1"):
        tuned = jobs[f"{place}/other-data/seed0/share0.1"]
        assert tuned.needs[-1] == "extra0/other-data/seed0/pretrain", "pre-trained once, for both data sets"
    pretrained = jobs["extra0/other-data/seed0/pretrain"]
    assert (after(pretrained, "--data"), pretrained.needs) == ("busi:/elsewhere", ("extra0/split",))


def test_a_positive_control_stands_before_all_other_methods(study, tmp_path):
    study.write_text(STUDY + '[control]\nmethod = "random"\nover = "scratch"\n')
    jobs = {job.name: job for job in plan(read_study(study), tmp_path / "out")}
    control = jobs["data0/control"]
    its_own = [f"data0/{method}/seed{seed}/share0.1" for seed in (0, 1) for method in ("scratch", "random")]
    assert list(control.needs) == its_own, "the first share of labels"
    study.write_text(STUDY + '[control]\nerrors = 3\nmeasure = "patch_AUROC"\n')
    other = next(job for job in plan(read_study(study), tmp_path / "out") if job.kind == "control")
    assert other.words[-4:] == ("--errors", "3", "--measure", "patch_AUROC"), "asked anew, another job"
    assert control.words[-8:] == (
        "--method", "random", "--over", "scratch", "--errors", "2.0", "--measure", ""
    )  # fmt: skip
    its_own += [f"data0/random/seed{seed}/pretrain" for seed in (0, 1)]
    for job in jobs.values():
        if job.place == "data0" and job.kind in ("pretrain", "finetune"):
            assert ("data0/control" in job.needs) == (job.name not in its_own)


def test_seeds_come_one_after_the_other_so_that_a_stopped_study_has_compared_all_methods(study, tmp_path):
    tuned = [job for job in plan(read_study(study), tmp_path / "out") if job.kind == "finetune"]
    assert [(job.share, job.seed) for job in tuned] == sorted((job.share, job.seed) for job in tuned)
