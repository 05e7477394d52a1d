import numpy as np
import published
import pytest

from maskgym.data.read import read
from maskgym.errors import BadInput


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_nifti_keeps_values_and_affine(tmp_path, name):
    array, affine = published.body((4, 5, 6), np.int16), np.diag([2.0, 3.0, 4.0, 1.0])
    picture = read(published.nifti(tmp_path / name, array, affine))
    np.testing.assert_array_equal(picture.pixels[..., 0], array)
    np.testing.assert_array_equal(picture.affine, affine)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_a_tiff_keeps_values_and_type(tmp_path, dtype):
    array = published.body((9, 7), dtype)
    picture = read(published.tiff(tmp_path / "a.tif", array))
    assert picture.pixels.dtype == dtype
    np.testing.assert_array_equal(picture.pixels[..., 0], array)
    assert not picture.is_volume


def test_compressed_tiffs_open(tmp_path):
    import tifffile

    array = published.body((32, 32))
    tifffile.imwrite(tmp_path / "a.tif", array, compression="lzw")
    np.testing.assert_array_equal(read(tmp_path / "a.tif").pixels[..., 0], array)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_pngs_of_every_mode_open_without_their_alpha(tmp_path, mode):
    from PIL import Image

    array = published.body((9, 7))
    image = Image.fromarray(array.astype(np.uint16)) if mode == "I;16" else Image.fromarray(array).convert(mode)
    image.save(tmp_path / "a.png")
    pixels = read(tmp_path / "a.png").pixels
    assert pixels.shape == (9, 7, 3 if mode in ("P", "RGB", "RGBA") else 1)


def test_a_dicom_file_is_rescaled_and_inverted_where_white_is_zero(tmp_path):
    array = published.body((6, 8), np.int16)
    plain = read(published.dicom(tmp_path / "a.dcm", array, RescaleSlope=2, RescaleIntercept=-5))
    np.testing.assert_array_equal(plain.pixels[..., 0], array * 2.0 - 5)
    white = read(published.dicom(tmp_path / "b.dcm", array, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(white.pixels[..., 0], float(array.max()) - array)


def test_a_dicom_series_is_ordered_by_position_and_knows_where_it_lies(tmp_path):
    volume = published.body((5, 6, 8), np.int16)
    picture = read(published.dicom_series(tmp_path / "series", volume, (3.0, 0.5, 0.25)))
    np.testing.assert_array_equal(picture.pixels[..., 0], volume.T * 2.0 - 1000)
    np.testing.assert_allclose(picture.affine, np.diag([-0.25, -0.5, 3.0, 1.0]))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.tif", "a.png", "a.jpg", "a.dcm"])
def test_rubbish_is_named_whatever_it_calls_itself(tmp_path, name):
    (tmp_path / name).write_bytes(b"rubbish" * 100)
    with pytest.raises(BadInput, match="cannot be read"):
        read(tmp_path / name)


def test_an_affine_without_volume_is_refused(tmp_path):
    file = published.nifti(tmp_path / "a.nii", published.body((4, 4, 4)))
    data = bytearray(file.read_bytes())
    data[280:296] = bytes(16)  # the first row of the affine in a NIfTI header
    file.write_bytes(data)
    with pytest.raises(BadInput, match="affine"):
        read(file)
