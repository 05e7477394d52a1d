"""The report of a study folder whose scores the test made up: known figures in, known figures out."""

import json

from maskgym.report.load import load
from maskgym.report.page import Rows
from maskgym.report.write import build, render
from maskgym.studies.read import keep
from tests.report.study_folder import (
    DSC,
    PLAN,
    SCORE,
    TABLES,
    pictures,
    plan,
    points,
    pretraining,
    record,
    rows,
    run,
    tables,
)


def test_means_are_those_of_the_scores(made):
    table = rows(tables(made, "lesion: mean over seeds and patients")[0])
    assert {name: row["DSC"].text for name, row in table.items()} == {
        "scratch": "0.350",
        "random": "0.450",
        "hpm": "0.550",
    }
    assert table["hpm"]["DSC"].bold
    assert not table["random"]["DSC"].bold
    assert table["hpm"]["HD95\N{NO-BREAK SPACE}↓"].text == "55.0"
    assert table["scratch"]["HD95\N{NO-BREAK SPACE}↓"].bold  # less is better
    assert table["hpm"]["seeds x patients"].text == "2 x 3"
    assert table["hpm"]["left out"].text == "2"  # p3, in both runs


def test_what_nobody_measured_has_no_column(study):
    for file in study.rglob("scores.json"):
        told = json.loads(file.read_text())
        for regions in told["patients"].values():
            regions["lesion"] |= dict.fromkeys(("HD95", "NSD"))
        file.write_text(json.dumps(told))
    table = tables(build(load(study)), "lesion: mean over seeds and patients")[0]
    assert table.headings[1:5] == ("DSC", "PPV", "SEN", "IoU")
    assert not {"HD95", "HD95\N{NO-BREAK SPACE}↓", "NSD"} & set(table.headings)
    assert "HD95" not in table.caption


def test_differences_are_paired_and_the_probability_counts_pairs(made):
    """By hand: hpm is above random by 0.1, 0, 0.1, 0.2. On p1 each of its runs beats both; on p2 it is one tie, one
    loss against 0.6, two wins."""
    row = rows(tables(made, "lesion: paired differences")[0])["hpm"]
    assert row["DSC above random masks"].text == "+0.100"
    assert row["P(better than random masks)"].text == f"{(1 + (0.5 + 0 + 1 + 1) / 4) / 2:.2f}"
    assert row["DSC above a random start"].text == "+0.200"


def test_settings_say_what_is_common_and_what_is_not(study):
    file = study / "data0" / "hpm" / "seed0" / "pretrain" / "settings.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"epochs": 9}))
    made = build(load(study))
    differ = rows(tables(made, "Settings of pre-training in which methods differ")[0])
    assert differ["hpm"]["epochs"].text == "2 or 9"
    assert differ["random"]["epochs"].text == "2"
    common = rows(tables(made, "Settings of fine-tuning that all share")[0])
    assert common["recipe_settings.lr"]["value"].text == "0.001"
    assert "seed" not in common


def test_a_measure_that_is_left_out_more_often_is_named(study):
    file = study / "data0" / "hpm" / "seed0" / "share0.1" / "scores.json"
    told = json.loads(file.read_text())
    told["patients"]["p1"]["lesion"]["SEN"] = None
    file.write_text(json.dumps(told))
    left = rows(tables(build(load(study)), "lesion: mean over seeds and patients")[0])["hpm"]["left out"]
    assert (left.text, left.small) == ("2", "(SEN 3)")


def test_lesions_among_hidden_patches_are_told_where_they_were_counted(study):
    table = "epoch,hidden,hidden lesion,visible,visible lesion\n1,60,6,40,0\n2,60,12,40,0\n"
    (study / "data0" / "hpm" / "seed0" / "pretrain" / "lesions.csv").write_text(table)
    row = rows(tables(build(load(study)), "Did the masks hit lesions?")[0])["hpm"]
    assert [row[name].text for name in ("lesion among hidden", "lesion among all", "times random", "seeds")] == [
        "15.0 %",  # 18 of 120
        "9.0 %",  # 18 of 200
        "1.67",
        "1",
    ]


def test_a_baseline_has_the_same_kind_of_network(study):
    plan(study, **{"stunet-hpm": "selfmedhpm"})
    for seed in (0, 1):
        run(study, "stunet-hpm", seed, {"p1": 0.9, "p2": 0.9}, network="stunet?size=s")
    table = rows(tables(build(load(study)), "lesion: paired differences")[0])
    assert table["stunet-hpm"]["DSC above random masks"].text == "-"
    assert table["random"]["DSC above random masks"].text == "itself"


def test_slices_are_marked_and_left_out_where_they_would_repeat_the_patients(made, study):
    table = tables(made, "lesion, per slice")[0]
    assert "interval is over runs alone" in table.caption
    assert rows(table)["hpm"]["DSC"].text == "0.560"
    assert rows(table)["hpm"]["DSC"].small == "0.460 to 0.660", "two runs have a range and no interval"
    one_slice_each = {"patients": {"p1": {"lesion": {"DSC": 0.4}}}, "per_slice": {"lesion": {"DSC": 0.4}}}
    for file in study.glob("data0/*/seed*/share0.1/scores.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | one_slice_each))
    assert "per slice" not in " ".join(captions(build(load(study))))


def captions(made):
    return [block.caption for section in made.sections for block in section.blocks if isinstance(block, Rows)]


def test_charts_that_stand_side_by_side_share_their_scale(study, monkeypatch):
    plan(study, PLAN.replace("[0.1]", "[0.1, 1.0]"))
    for method, seed in DSC:
        run(study, method, seed, {"p1": 0.9 if method == "hpm" else 0.1}, share=1.0)
    scales = [one.source.args[-1] for one in pictures(build(load(study))) if one.name.startswith("random-")]
    assert len(scales) == 2
    assert scales[0] == scales[1]
    assert scales[0][0] < 0 < 0.8 < scales[0][1]


def test_what_is_not_finished_is_named_with_its_reason(study):
    (study / "data0" / "hpm" / "seed1" / "share0.1" / "scores.json").unlink()
    (study / "data0" / "scratch" / "seed0" / "share0.1" / "scores.json").write_text('{"patients"')
    said = ["Traceback", f"the loss is nan in {study}/data0"]
    record(study, "data0/hpm/seed1/share0.1", 3, "failed", error=said)
    for seed in (0, 1):
        (study / "data0" / "random" / f"seed{seed}" / "share0.1" / "scores.json").unlink()
    made = build(load(study))
    missing = rows(tables(made, "Jobs without a result")[0])
    assert missing["data0/hpm/seed1/share0.1"]["why"].text == "the loss is nan in data0"
    assert missing["data0/scratch/seed0/share0.1"]["why"].text == "its scores.json is damaged"
    assert missing["data0/random, 2 jobs"]["why"].text == "not run yet"
    assert "4 jobs are not finished" in made.lead
    table = rows(tables(made, "lesion: mean over seeds and patients")[0])
    assert table["hpm"]["seeds x patients"].text == "1 x 3"


def test_a_pre_training_that_still_runs_is_left_out(study):
    record(study, "data0/hpm/seed1/pretrain", 9, "failed", error=["no"])
    assert [run.job.seed for run in load(study).pretrainings("hpm")] == [0]


def test_points_stand_beside_dsc_and_few_methods_are_said_to_be_too_few(study):
    plan(study, tables=SCORE)
    points(study, "hpm", 60.0)
    points(study, "random", 1.0)
    made = build(load(study))
    table = rows(tables(made, "Points (0 = random")[0])
    assert (table["hpm"]["points"].text, table["hpm"]["hidden"].text) == ("60.0", "0.75")
    assert (table["random"]["points"].text, table["random"]["mean reward"].text) == ("1.0", "0.01")
    assert "2 methods, too few to say whether more points" in render(made, "report.md.j2")


def test_a_reward_predicts_only_where_the_interval_leaves_0_out(study):
    names = {f"way{number}": "selfmedhpm" for number in range(8)}
    plan(study, PLAN.replace("[0, 1]", "[0, 1, 2, 3]"), SCORE, **names)
    for seed in range(4):
        for number, name in enumerate(["random", *names]):
            if name != "random" or seed > 1:
                run(study, name, seed, {"p1": 0.4 + 0.02 * number + 0.001 * seed * (number - 4)})
    for number, name in enumerate(names):
        points(study, name, 10.0 + 5 * number)
    made = build(load(study))
    text = render(made, "report.md.j2")
    assert "mean reward over 8 methods +1.00" in text
    assert "The mean reward predicts it." in text
    assert {"worth-0", "worth-points-data0-score"} <= {picture.name for picture in pictures(made)}
    for number, name in enumerate(names):
        file = study / "data0" / name / "score" / "score.json"
        told = json.loads(file.read_text())
        for line in told["lines"]:
            line["reward"] = (number * 5) % 8
        file.write_text(json.dumps(told))
    text = render(build(load(study)), "report.md.j2")
    assert "The mean reward predicts it" not in text
    assert "That settles nothing." in text


def test_methods_that_played_alike_count_once_and_those_of_another_ratio_not_at_all(study):
    names = {f"way{number}": "selfmedhpm" for number in range(8)}
    other = '[[method]]\nname = "longer"\nrecipe = "selfmedhpm"\n'
    more = other + other.replace("longer", "other-ratio") + "[method.pretrain]\nratio = 0.5\n"
    plan(study, PLAN.replace("[0, 1]", "[0, 1, 2, 3]"), SCORE + more, **names)
    for seed in range(4):
        for number, name in enumerate(["random", *names, "longer", "other-ratio"]):
            if name == "random" and seed < 2:  # there already
                continue
            run(study, name, seed, {"p1": 0.4 + 0.02 * number + 0.001 * seed * (number - 4)})
    for number, name in enumerate(names):
        points(study, name, 10.0 + 5 * number)
    points(study, "longer", 10.0)  # as the first
    points(study, "other-ratio", 33.0)
    text = render(build(load(study)), "report.md.j2")
    assert "with points over 8 methods" in text
    assert "with mean reward over 8 methods" in text


def test_what_was_reached_is_drawn_against_the_length_of_the_fine_tuning(study):
    """Arms that end in a number are one line, if that number is one of steps; others, as of hard shares, are none."""
    arms = {"random": (800, 0.6), "random-100": (100, 0.3), "hard-50": (800, 0.5), "hard-100": (800, 0.4)}
    arms["random-300"] = (300, 0.5)
    (study / "study.json").unlink()
    file = study.parent / "lengths.toml"
    tables_of = (
        f'[[method]]\nname = "{name}"\nrecipe = "random"\n[method.finetune]\nsteps = {steps}\n'
        for name, (steps, _) in arms.items()
    )
    file.write_text(PLAN.replace("[0, 1]", "[0, 1, 2]") + TABLES + "".join(tables_of))
    keep(file, study)
    for seed in range(3):
        for method, (steps, value) in arms.items():
            folder = study / "data0" / method / f"seed{seed}" / "share0.1"
            if not folder.exists():
                run(study, method, seed, {"p1": value})
                pretraining(study, method, seed)
            told = json.loads((folder / "settings.json").read_text())
            (folder / "settings.json").write_text(json.dumps(told | {"steps": steps}))
        (study / "data0" / "random-300" / f"seed{seed}" / "share0.1" / "settings.json").unlink()  # lost: stops nothing
    [drawn] = [one for one in pictures(build(load(study))) if one.name.startswith("steps-")]
    assert {name: list(line) for name, line in drawn.source.args[1].items()} == {"random": [800.0, 100.0]}
    assert b"steps of fine-tuning" in drawn.content


def test_what_masks_cost_is_counted_in_images(study):
    text = 'teacher = "0.999:0.9999:0.25"\nbatch = 8\n'
    for method, teacher in (("random", ""), ("hpm", text)):
        file = study / "data0" / method / "seed0" / "pretrain" / "settings.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"batch": 8, "teacher": teacher, "score_every": 2}))
    table = rows(tables(build(load(study)), "Images that went through a network")[0])
    assert [field.text for field in table["hpm"].values()] == ["320", "160", "0", f"{(960 + 160) / 960:.2f}"]
    assert table["random"]["cost"].text == "1.00"


def test_more_shares_give_a_curve_over_them(study):
    plan(study, PLAN.replace("[0.1]", "[0.1, 1.0]"))
    run(study, "hpm", 0, {"p1": 0.9, "p2": 0.9}, share=1.0)
    names = {picture.name for picture in pictures(build(load(study)))}
    assert {"shares-data0", "learning-data0-0.1", "learning-data0-1", "times", "pretraining-data0"} <= names
