import numpy as np
import published
import pytest
import torch
from torch import Tensor, nn

from maskgym.cli import main
from maskgym.data.cases import open_cases
from maskgym.downstream import finetune, predict
from maskgym.downstream.settings import FineTune
from tests.downstream.held import hold


class Threshold(nn.Module):
    """Says class 1 where a pixel is above zero; remembers the sizes it was shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape))
        assert not self.training
        return 9 * torch.cat([-images[:, :1], images[:, :1]], 1)


@pytest.mark.parametrize("size", [(24, 32), (12, 16, 20)])
def test_windows_that_slide_give_what_the_whole_image_gives(size):
    images = np.random.default_rng(0).standard_normal((3, 1, *size)).astype(np.float32)
    cases = hold(np.zeros((3, *size), np.uint8), ("a", "b", "c"), images)
    whole, sliding = Threshold(), Threshold()
    for network, shown, window in ((whole, size, False), (sliding, (8,) * len(size), True)):
        answers = dict(predict(network, cases, shown, window))
        assert [case.id for case in answers] == ["a_0", "b_1", "c_2"]
        for case, labels in answers.items():
            assert np.array_equal(labels, case.image[0] > 0)
    assert whole.seen == [(3, 1, *size)]
    assert {shape[2:] for shape in sliding.seen} == {(8,) * len(size)}


def test_an_answer_on_a_smaller_grid_is_laid_back_on_the_cases_own():
    bright = np.full((1, 1, 40, 60), -1.0, np.float32)
    bright[..., 10:30, 20:50] = 1.0
    cases = hold((bright[:, 0] > 0).astype(np.uint8), ("a",), bright)
    ((case, labels),) = predict(Threshold(), cases, (20, 30))
    assert labels.shape == case.shape == (40, 60)
    assert (labels == case.label).mean() > 0.97


def test_the_network_is_left_as_it_was():
    network = Threshold().train()
    list(predict(network, hold(np.zeros((1, 8, 8), np.uint8), ("a",)), (8, 8)))
    assert network.training


def test_the_command_writes_files_that_lie_on_their_images(tmp_path):
    import nibabel

    affine = np.array([[0, -2.0, 0, 30], [1.5, 0, 0, -20], [0, 0, 4.0, 7], [0, 0, 0, 1]])
    folder = published.msd(tmp_path / "set", cases=6)
    for path in [*folder.glob("imagesTr/h*.nii.gz"), *folder.glob("labelsTr/h*.nii.gz")]:
        volume = nibabel.load(path)
        published.nifti(path, np.asarray(volume.dataobj), affine)
    run = FineTune(out=tmp_path / "run", data=f"msd:{folder}?body=0", window="8x8x8", steps=2, quiet=True)
    told = finetune(FineTune(**{**vars(run), "network": "small-unet?widths=4,8&fold=2", "batch": 2}))
    assert told["distances_in"] == "mm"
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--split", "all"])
    assert ended.value.code == 0
    written = sorted((tmp_path / "out").glob("*.nii.gz"))
    cases = {case.id: case for case in open_cases(run.data, "all")}
    assert len(written) == len(cases) == 6
    for path in written:
        labels, image = nibabel.load(path), nibabel.load(folder / "imagesTr" / path.name)
        assert np.allclose(labels.affine, image.affine)
        assert labels.shape == image.shape[:3]
        assert set(np.unique(labels.dataobj)) <= {0, 1, 2}
