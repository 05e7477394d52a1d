import numpy as np
import pytest
from PIL import Image

from maskgym.cli import main
from maskgym.commands.reconstruct import Reconstruct
from maskgym.errors import BadInput
from maskgym.pretrain import pretrain
from tests.pretrain.runs import tiny


@pytest.fixture(scope="module", params=["random", "selfmedhpm"])
def run(request, tmp_path_factory):
    settings = tiny(tmp_path_factory.mktemp("run"), request.param, epochs=1)
    pretrain(settings)
    return settings.out


@pytest.mark.parametrize("agent", ["random", "variance"])
def test_image_mask_reconstruction_and_error_are_drawn(run, tmp_path, agent, capsys):
    out = tmp_path / "pictures" / "x.png"
    with pytest.raises(SystemExit) as left:
        main(["reconstruct", str(run), "--out", str(out), "--agent", agent, "--images", "3"])
    assert left.value.code == 0
    assert "error; network" in capsys.readouterr().out
    rows = np.array_split(np.asarray(Image.open(out)), 3)
    image, visible, rebuilt, error = np.array_split(rows[0][:, : 4 * (rows[0].shape[1] // 4)], 4, axis=1)
    assert len({part[20:-20, 20:-20].tobytes() for part in (image, visible, rebuilt, error)}) == 4


@pytest.mark.parametrize(
    ("more", "told"), [({"ratio": 2.0}, "outside"), ({"images": 0}, "images 0"), ({"agent": "randm"}, "did you mean")]
)
def test_bad_input_is_told_in_one_line(run, tmp_path, more, told):
    with pytest.raises(BadInput, match=told):
        Reconstruct(run, tmp_path / "x.png", **more)()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no pre-training run"):
        Reconstruct(tmp_path)()
    (tmp_path / "settings.json").write_text('{"env": 1}')
    with pytest.raises(BadInput, match="another kind"):
        Reconstruct(tmp_path)()
