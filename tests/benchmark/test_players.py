"""Learners are trained once, and again when what they were made from has changed."""

from maskgym.benchmark import manifest, players
from maskgym.benchmark.protocol import Protocol


def test_a_learner_is_trained_again_after_the_code_of_an_agent_within_it_changed(networks, task, tmp_path, monkeypatch):
    keywords = {"image_size": "32x32", "patch_size": 8, "reconstructor": networks["one"]}
    protocol = Protocol(("hpm",), (0.5,), 1, 6, env="MaskMIMSmall-v0", keywords=keywords, steps=16)
    told = {"code": {"hash": "a"}, "starts": [{"hash": "b"}]}
    monkeypatch.setattr(manifest, "code_of", lambda spec: told)
    first = [players.train(protocol, task, "hpm", 0, 0.5, tmp_path, quiet=True) for _ in range(2)]
    told = {"code": {"hash": "a"}, "starts": [{"hash": "c"}]}
    assert len({*first, players.train(protocol, task, "hpm", 0, 0.5, tmp_path, quiet=True)}) == 2
