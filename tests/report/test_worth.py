"""What a report says of worth: corrected, against the hard share, as features; the control is told."""

import json

from maskgym.report.load import load
from maskgym.report.write import build, render
from maskgym.studies.read import keep
from tests.report.study_folder import PLAN, TABLES, pictures, plan, pretraining, rows, run, tables


def test_worth_is_corrected_and_the_control_is_told(study):
    tables_of = '[control]\nmethod = "random"\nover = "scratch"\n'
    plan(study, PLAN.replace("[0, 1]", "[0, 1, 2, 3]"), tables_of)
    for seed in (2, 3):
        for method, value in {"scratch": 0.3, "random": 0.5, "hpm": 0.5 + 0.01 * seed}.items():
            run(study, method, seed, {"p1": value, "p2": value})
            if method != "scratch":
                pretraining(study, method, seed)
    made = build(load(study))
    table = rows(tables(made, "DSC minus that of the baseline")[0])
    assert set(table) == {"scratch", "hpm"}
    assert table["scratch"]["over"].text == "random"
    assert (table["scratch"]["seeds"].text, table["scratch"]["worth"].text) == ("4", "-0.1500")
    assert "positive control holds: 'random' is +0.1500 DSC above 'scratch'" in render(made, "report.md.j2")


def test_linear_probes_are_told_by_how_well_they_tell_patches(study):
    plan(study, PLAN.replace("[0, 1]", "[0, 1, 2, 3]"))
    areas = {"scratch": (0.5, 0.6, 0.7, 0.8), "random": (0.6, 0.7, 0.8, 0.9), "hpm": (0.6, 0.8, 0.8, 1.0)}
    for method, values in areas.items():
        for seed, area in enumerate(values):
            file = study / "data0" / method / f"seed{seed}" / "share0.1" / "scores.json"
            if not file.exists():
                run(study, method, seed, {"p1": 0.5})
            told = json.loads(file.read_text()) | {"patch_AUROC": {"lesion": area - 0.1, "other": area + 0.1}}
            file.write_text(json.dumps(told))
    table = rows(tables(build(load(study)), "Linear probes")[0])
    fields = ("patch AUROC", "over", "patch AUROC of that", "difference", "seeds")
    assert [table["scratch"][name].text for name in fields] == ["0.650", "random", "0.750", "-0.1000", "4"]
    assert [table["hpm"][name].text for name in fields] == ["0.800", "random", "0.750", "+0.0500", "4"]


def test_worth_is_drawn_against_the_hard_share_a_line_for_what_masks_alike(study):
    """Two networks' loss maps are two agents; one of them stands at a single share and makes no line."""
    arms = {"late-50": ("late", 0.5, 0.52), "late-100": ("late", 1, 0.4), "early-50": ("early", 0.5, 0.6)}
    file = study.parent / "hard.toml"
    (study / "study.json").unlink()
    against = {0.5: ["random", "scratch"], 1: ["random"]}  # the choice is held against what all of a line are
    soft = '[[method]]\nname = "soft"\nrecipe = "random"\n[method.pretrain]\nagent = "loss-map?network=late"\n'
    soft += "hard_share = 1\ntemperature = 1\n"
    more = soft + "".join(
        f'[[method]]\nname = "{name}"\nrecipe = "random"\nagainst = {against[share]}\n'
        f'[method.pretrain]\nagent = "loss-map?network={network}"\nhard_share = {share}\n'
        for name, (network, share, _) in arms.items()
    )
    file.write_text(
        PLAN.replace("[0, 1]", "[0, 1, 2]")
        + TABLES
        + '[[method]]\nname = "scratch"\n[[method]]\nname = "random"\nrecipe = "random"\n'
        + more
    )
    keep(file, study)
    values = {"random": 0.5, "soft": 0.7} | {name: value for name, (*_, value) in arms.items()}
    for seed in range(3):
        for method, value in values.items():
            if method != "random" or seed == 2:
                run(study, method, seed, {"p1": value + 0.01 * seed})
                pretraining(study, method, seed)
    made = build(load(study))
    [drawn] = [one for one in pictures(made) if one.name == "hard-share-data0"]
    assert {name: list(line) for name, line in drawn.source.args[1].items()} == {"late": [0.5, 1.0]}
    assert b"share of the hidden patches" in drawn.content
    [row] = tables(made, "second half of the seeds")[0].rows
    assert [field.text for field in row] == ["late", "phantoms", "random", "0.5", "+0.0250", "-", "2"]  # seeds 1 and 2
