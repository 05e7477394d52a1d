"""What masks are worth: seeds are the unit, comparisons are corrected for, and a control that fails stops a study."""

import json

import numpy as np
import pytest
from scipy import stats

from maskgym.cli import run
from maskgym.errors import BadInput
from maskgym.studies.plan import plan
from maskgym.studies.read import keep, read_study
from maskgym.studies.results import fine_tunings
from maskgym.studies.worth import baselines, chosen, gaps, holm, interval, measured, rank_correlation, worths

TOML = """
data = ["phantoms"]
seeds = [0, 1, 2, 3]
shares = [0.1]
label_seeds = [0, 1]
[pretrain]
image_size = "32x32"
[control]
[[method]]
name = "scratch"
[[method]]
name = "random"
recipe = "random"
[[method]]
name = "better"
recipe = "anatomask"
"""
SEED = {"scratch": [0.40, 0.44, 0.42, 0.42], "random": [0.50, 0.52, 0.54, 0.52], "better": [0.52, 0.55, 0.56, 0.55]}


@pytest.fixture
def out(tmp_path):
    """A finished study whose second draw of labels is worth 0.2 more to everybody, and noisier."""
    (tmp_path / "s.toml").write_text(TOML)
    for job in plan(keep(tmp_path / "s.toml", tmp_path / "out"), tmp_path / "out"):
        if job.kind == "finetune":
            score(job, SEED[job.method][job.seed])
    return tmp_path / "out"


def score(job, value):
    job.leaves.parent.mkdir(parents=True, exist_ok=True)
    for draw, folder in job.folders.items():
        mine = value + 0.2 * draw
        patients = {"p": {"wall": {"DSC": mine - 0.1}, "organ": {"DSC": mine + 0.1}, "vessel": {"DSC": None}}}
        folder.mkdir(exist_ok=True)
        told = {"patients": patients, "pooled_DSC": {"background": 1.0, "mean": 2 * mine}}
        (folder / "scores.json").write_text(json.dumps(told))
    job.leaves.write_text("{}")


def study_of(out):
    return keep(out.parent / "s.toml", out)


def test_a_method_is_held_against_random_masks_that_are_fine_tuned_alike_and_no_pair_is_compared_twice(out):
    short = "[method.finetune]\nsteps = 30\n"
    more = f'[[method]]\nname = "scratch-30"\n{short}[[method]]\nname = "better-30"\npretrained = "better"\n{short}'
    file = out.parent / "s.toml"

    def against(text):
        file.write_text(text)
        study = read_study(file)
        return {method.name: baselines(study, method) for method in study.methods}

    usual = {"scratch": ("random",), "random": (), "better": ("random",)}
    assert against(TOML + more) == usual | {"scratch-30": (), "better-30": ()}
    more += f'[[method]]\nname = "random-30"\npretrained = "random"\n{short}'
    usual_30 = {"scratch-30": ("random-30",), "better-30": ("random-30",), "random-30": ()}
    assert against(TOML + more) == usual | usual_30
    told = TOML.replace('recipe = "random"\n', 'recipe = "random"\nagainst = ["scratch"]\n')
    assert against(told + more) == usual | usual_30 | {"scratch": (), "random": ("scratch",)}


def test_graded_images_are_worth_their_kappa(tmp_path):
    (tmp_path / "s.toml").write_text('measure = "kappa"\n' + TOML)
    study = keep(tmp_path / "s.toml", tmp_path / "out")
    job = next(job for job in plan(study, tmp_path / "out") if job.kind == "finetune")
    for folder in job.folders.values():
        folder.mkdir(parents=True)
        (folder / "scores.json").write_text(json.dumps({"measures": {"accuracy": 0.9, "kappa": 0.25}}))
    job.leaves.write_text("{}")
    assert set(measured(study, fine_tunings([job]))[job.method].values()) == {0.25}


def test_draws_of_labels_are_averaged_and_seeds_are_the_unit(out):
    study = study_of(out)
    found = {one.method: one for one in worths(study, measured(study, fine_tunings(plan(study, out))))}
    assert set(found) == {"scratch", "better"}
    differences = np.array(SEED["better"]) - np.array(SEED["random"])
    test = stats.ttest_1samp(differences, 0)
    better = found["better"]
    assert (better.over, better.gap.runs) == ("random", 4)
    assert better.gap.value == pytest.approx(differences.mean())
    assert better.gap.error == pytest.approx(differences.std(ddof=1) / 2)
    assert better.gap[1:3] == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert better.p == pytest.approx(test.pvalue), "the larger of two p-values stands as it is"
    alone = stats.ttest_1samp(np.array(SEED["scratch"]) - np.array(SEED["random"]), 0).pvalue
    assert found["scratch"].p == pytest.approx(2 * alone), "the smaller is doubled"


def test_only_what_both_sides_fine_tuned_alike_is_compared():
    ours = {(0, 0.1, 0): 0.6, (0, 0.1, 1): 0.9, (1, 0.1, 0): 0.7, (2, 0.1, 0): 0.7, (2, 0.1, 1): 0.7}
    theirs = {(0, 0.1, 0): 0.5, (0, 0.1, 1): 0.7, (1, 0.1, 0): 0.5, (2, 0.1, 0): 0.6, (2, 0.1, 1): 0.6}
    assert gaps(ours, theirs) == pytest.approx([0.15, 0.1]), "seed 1 is half done and left out"
    assert len(gaps(ours, {})) == 0
    assert np.isnan(interval(np.array([])).value)


def test_a_choice_is_made_on_the_first_half_of_the_seeds_and_told_on_the_other():
    def keys(*values):
        return {(seed, 0.1, draw): value + draw for seed, value in enumerate(values) for draw in (0, 1)}

    random = keys(0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)
    lucky = keys(0.9, 0.6, 0.5, 0.4, 0.4, 0.5, 0.6)  # the best on the seeds that choose, no better on the others
    good = keys(0.6, 0.6, 0.6, 0.6, 0.7, 0.8, 0.9)
    option, gap = chosen({0.25: good, 0.5: lucky}, random)
    assert (option, gap.runs) == (0.5, 4)
    assert gap[:3] == pytest.approx(interval(np.array([-0.1, -0.1, 0.0, 0.1]))[:3])
    less = {key: value for key, value in lucky.items() if key[0] != 0}  # 1, 2, 3 choose
    assert chosen({0.25: good, 0.5: less}, random)[0] == 0.25
    assert chosen({0.25: good, 0.5: {}}, random)[1].runs == 0


def test_holm_agrees_with_its_definition_and_leaves_what_is_unknown_out():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    corrected = holm([0.02, float("nan"), 0.03])
    assert corrected[0] == pytest.approx(0.04)
    assert np.isnan(corrected[1])


def test_a_rank_correlation_is_scipys_with_an_interval_and_too_few_have_none():
    rng = np.random.default_rng(0)
    a = rng.normal(size=14)
    b = a + rng.normal(size=14)
    found, p = rank_correlation(a, b)
    assert found.value == pytest.approx(stats.spearmanr(a, b).statistic)
    assert found.low < found.value < found.high
    assert p == pytest.approx(stats.spearmanr(a, b).pvalue, abs=0.02)
    assert np.isnan(rank_correlation(a[:4], b[:4])[0].value)
    assert np.isnan(rank_correlation([1.0] * 6, a[:6])[0].value)


def test_a_control_that_holds_says_by_how_much(out, capsys):
    assert run(["study", "control", str(out), "--runs", "16", "--out", str(out / "control.json")]) == 0
    assert "'random' is +0.1000 DSC above 'scratch', standard error 0.0" in capsys.readouterr().out
    assert json.loads((out / "control.json").read_text())["seeds"] == 4


def test_a_control_that_fails_stops_and_says_why(out, capsys):
    for job in plan(study_of(out), out):
        if job.kind == "finetune" and job.method == "scratch":
            score(job, SEED["random"][job.seed] + 0.1 * (-1) ** job.seed)
    assert run(["study", "control", str(out), "--out", str(out / "control.json")]) == 1
    assert "less than 2 standard errors, so this bed cannot tell masks apart" in capsys.readouterr().out
    assert not (out / "control.json").exists()
    with pytest.raises(BadInput, match="16 of 17 fine-tunings"):
        run(["study", "control", str(out), "--runs", "17"])


def test_a_control_of_probes_is_measured_by_how_well_they_tell_patches(out, capsys):
    """By DSC both are as ever; the areas say the opposite."""
    for job in plan(study_of(out), out):
        for folder in job.folders.values() if job.kind == "finetune" else ():
            told = json.loads((folder / "scores.json").read_text())
            areas = {"organ": 0.9 - SEED[job.method][job.seed], "vessel": 0.7 - SEED[job.method][job.seed]}
            (folder / "scores.json").write_text(json.dumps(told | {"patch_AUROC": areas}))
    asked = ["--method", "scratch", "--over", "random"]
    assert run(["study", "control", str(out), *asked, "--measure", "patch_AUROC"]) == 0
    assert "'scratch' is +0.1000 patch AUROC above 'random', standard error 0.0" in capsys.readouterr().out
    assert run(["study", "control", str(out), *asked]) == 1
    (out / "study.json").unlink()
    control = '[control]\nmethod = "scratch"\nover = "random"\nmeasure = "patch_AUROC"\n'
    (out.parent / "s.toml").write_text(TOML.replace("[control]\n", control))
    study_of(out)
    assert run(["study", "control", str(out)]) == 0, "left out, they are what the study says"
    assert "patch AUROC above 'random'" in capsys.readouterr().out
    with pytest.raises(BadInput, match="no method 'none'"):
        run(["study", "control", str(out), "--over", "none"])


def test_a_control_looks_at_the_first_share_of_labels_alone(tmp_path, capsys):
    (tmp_path / "s.toml").write_text(TOML.replace("shares = [0.1]", "shares = [0.1, 0.5]"))
    study = tmp_path / "out"
    for job in plan(keep(tmp_path / "s.toml", study), study):
        if job.kind == "finetune":  # with more labels a random start is better
            score(job, SEED[job.method][job.seed] + (0.3 if (job.share, job.method) == (0.5, "scratch") else 0))
    assert run(["study", "control", str(study), "--runs", "16"]) == 0
    assert "'random' is +0.1000 DSC above 'scratch'" in capsys.readouterr().out
    with pytest.raises(BadInput, match="16 of 17 fine-tunings"):
        run(["study", "control", str(study), "--runs", "17"])
