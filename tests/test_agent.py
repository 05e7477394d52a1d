import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from maskgym_agents.heuristics import Intensity, Random
from maskgym_agents.hpm import Hpm
from torch import Tensor, nn

from maskgym.agent import Agent, GameSpec
from maskgym.errors import BadInput
from maskgym.masking.patches import Patches
from maskgym.registry import make_agent
from maskgym.seeding import seeded

SPEC = GameSpec(Patches((32, 32), (8, 8)), ratio=0.5)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    Hpm(SPEC).save(tmp_path / "hpm")
    return tmp_path / "hpm"


def test_keys_are_the_same_one_by_one_as_in_a_batch() -> None:
    many, one = Random(SPEC, seed=4), Random(SPEC, seed=4)
    together = many.to_mask(many.score(torch.zeros(5, 1, 32, 32)))
    alone = torch.cat([one.to_mask(one.score(torch.zeros(1, 1, 32, 32))) for _ in range(5)])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**40, -3])
def test_any_seed_will_do_and_each_gives_its_own_keys(seed: int) -> None:
    keys = Random(SPEC, seed=seed).draw_keys(2)
    assert not torch.equal(keys, Random(SPEC, seed=seed + 1).draw_keys(2))
    assert len(keys.unique()) == 32


def test_scores_and_masks_draw_from_different_keys() -> None:
    agent = Random(SPEC)
    keys = agent.draw_keys(1000)
    flat = agent.to_mask(torch.zeros(1000, 16))
    agreement = (keys.argsort(1).argsort(1) >= 8) == flat
    assert float(agreement.float().mean()) == pytest.approx(0.5, abs=0.02)


def test_an_agent_that_does_not_score_says_so() -> None:
    with pytest.raises(TypeError, match="agent Agent does not say how it scores"):
        Agent(SPEC).score(torch.zeros(1, 1, 32, 32))


def test_act_answers_in_the_form_it_was_asked() -> None:
    agent = Intensity(SPEC)
    view = np.zeros((32, 32, 1), np.uint8)
    view[:8, :8] = 200
    assert agent.act(view).shape == (16,)
    assert agent.act(view).dtype == np.int8
    assert agent.act(view[None]).shape == (1, 16)
    assert agent.act(torch.from_numpy(view)).dtype == torch.bool
    asked = agent.act({f"patch_{i}": view for i in range(16)})
    assert asked["patch_0"] == 1
    assert sum(asked.values()) == 8


def test_looking_puts_every_mode_back_even_after_an_error() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout())
    network.train()
    network[0].eval()
    agent = Random(SPEC)
    agent.attach(network)

    def stumble() -> None:
        with agent.lent_network() as lent:
            assert not any(module.training for module in lent.modules())
            assert not torch.is_grad_enabled()
            raise KeyError

    with pytest.raises(KeyError):
        stumble()
    assert [module.training for module in network.modules()] == [True, False, True]


def test_seeded_leaves_the_global_generators_as_they_were() -> None:
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(1)
    with seeded(3):
        assert torch.equal(torch.rand(1), first)
    assert torch.equal(torch.get_rng_state(), before)


# Saving and loading


def test_an_agent_goes_on_with_its_keys_where_it_was_saved(tmp_path: Path) -> None:
    agent = Random(SPEC, seed=9)
    agent.score(torch.zeros(3, 1, 32, 32))
    agent.save(tmp_path)
    loaded = Random.load(tmp_path, SPEC)
    assert torch.equal(loaded.score(torch.zeros(2, 1, 32, 32)), agent.score(torch.zeros(2, 1, 32, 32)))


def test_size_and_ratio_may_differ_from_those_of_the_save(saved: Path) -> None:
    game_spec = GameSpec(Patches((64, 48), (8, 8)), ratio=0.25)
    agent = make_agent(f"hpm:{saved}", game_spec=game_spec)
    assert agent.score(torch.zeros(1, 1, 64, 48)).shape == (1, 8, 6)


@pytest.mark.parametrize(
    ("game_spec", "words"),
    [
        (GameSpec(Patches((32, 32), (4, 4))), r"trained on patches of \(8, 8\), this game has \(4, 4\)"),
        (replace(SPEC, channels=3), "trained on 2D images of 1 channels, this game has 2D images of 3"),
        (GameSpec(Patches((32,) * 3, (8,) * 3)), "trained on 2D images of 1 channels, this game has 3D images"),
    ],
)
def test_a_save_for_another_game_is_refused(saved: Path, game_spec: GameSpec, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        make_agent(f"hpm:{saved}", game_spec=game_spec)


def test_a_save_of_another_kind_of_agent_is_refused(saved: Path) -> None:
    with pytest.raises(BadInput, match=f"{saved} holds agent 'hpm', not 'random': ask for hpm:{saved}"):
        make_agent(f"random:{saved}", game_spec=SPEC)


def test_a_folder_without_a_save_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no saved agent in"):
        make_agent(f"hpm:{tmp_path}", game_spec=SPEC)


@pytest.mark.parametrize("kept", [0, 6, 1000])
def test_truncated_weights_are_refused(saved: Path, kept: int) -> None:
    weights = saved / "agent.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(BadInput, match=r"agent\.safetensors is damaged or of another agent"):
        make_agent(f"hpm:{saved}", game_spec=SPEC)


def test_missing_weights_are_refused(saved: Path) -> None:
    (saved / "agent.safetensors").unlink()
    with pytest.raises(BadInput, match=r"agent\.safetensors is damaged or of another agent"):
        make_agent(f"hpm:{saved}", game_spec=SPEC)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"agent": "hpm"}'])
def test_a_damaged_description_is_refused(saved: Path, text: str) -> None:
    (saved / "agent.json").write_text(text)
    with pytest.raises(BadInput, match=r"agent\.json is damaged"):
        make_agent(f"hpm:{saved}", game_spec=SPEC)


def test_weights_of_other_settings_are_refused(saved: Path) -> None:
    about = json.loads((saved / "agent.json").read_text())
    about["settings"]["width"] = 16
    (saved / "agent.json").write_text(json.dumps(about))
    with pytest.raises(BadInput, match="damaged or of another agent"):
        make_agent(f"hpm:{saved}", game_spec=SPEC)


def test_a_save_that_cannot_be_written_leaves_the_old_one(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(BadInput, match="No space left on device; free space or choose another"):
        Hpm(SPEC, seed=1).save(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_an_agent_of_ones_own_needs_a_score_and_no_more(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Settings:
        upside_down: bool = False

    class Rows(Agent):
        name = "rows"

        def score(self, images: Tensor) -> Tensor:
            rows = torch.arange(4.0).view(1, 4, 1).expand(len(images), 4, 4)
            return -rows if self.settings.upside_down else rows

    Rows.Settings = Settings
    agent = Rows(SPEC, Settings(upside_down=True))
    assert agent.act(np.zeros((32, 32, 1), np.uint8)).tolist() == [1] * 8 + [0] * 8
    agent.save(tmp_path)
    assert Rows.load(tmp_path, SPEC).settings == Settings(upside_down=True)
