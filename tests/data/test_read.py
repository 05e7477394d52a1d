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


@pytest.mark.parametrize("name", ["IM_0001", "1.2.840.113"])
def test_a_dicom_file_needs_no_extension(tmp_path, name):
    array = published.body((6, 8), np.int16)
    np.testing.assert_array_equal(read(published.dicom(tmp_path / name, array)).pixels[..., 0], array)


def test_a_dicom_volume_in_one_file_is_that_volume(tmp_path):
    volume = published.body((5, 6, 8), np.int16)
    picture = read(published.multi_frame(tmp_path / "a.dcm", volume))
    np.testing.assert_array_equal(picture.pixels[..., 0], volume.T)
    np.testing.assert_allclose(picture.affine, np.diag([-0.25, -0.5, 3.0, 1.0]))


def test_a_dicom_film_is_refused(tmp_path):
    film = published.dicom(tmp_path / "a.dcm", published.body((12, 8)), Rows=6, NumberOfFrames=2)
    with pytest.raises(BadInput, match="2 frames without positions"):
        read(film)


def test_a_dicom_segmentation_holds_the_numbers_of_its_segments(tmp_path):
    one, two = np.zeros((7, 6, 8), np.uint8), np.zeros((7, 6, 8), np.uint8)
    one[2:4, 1:3, 1:3], two[3:6, 4:6, 2:5] = 1, 1
    picture = read(published.multi_frame(tmp_path / "a.dcm", one, segments={1: one, 2: two}))
    assert picture.sparse
    np.testing.assert_array_equal(picture.pixels[..., 0], (one + 2 * two)[2:6].T)
    np.testing.assert_allclose(picture.affine[:3, 3], [0, 0, 6])


def test_a_dicom_series_that_tells_no_pixel_size_is_refused(tmp_path):
    published.dicom_series(tmp_path / "series", published.body((3, 6, 8), np.int16), (1, 0, 0))
    with pytest.raises(BadInput, match="PixelSpacing is"):
        read(tmp_path / "series")


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_other_formats_lie_where_nifti_says_they_do(tmp_path, name):
    import SimpleITK

    affine = np.array([[0, 0, -1.5, 7], [2, 0, 0, -3], [0, -3.0, 0, 11], [0, 0, 0, 1]])
    nifti = published.nifti(tmp_path / "a.nii.gz", published.body((4, 5, 6), np.int16), affine)
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(nifti)), str(tmp_path / name))
    same, other = read(nifti), read(tmp_path / name)
    np.testing.assert_array_equal(same.pixels, other.pixels)
    np.testing.assert_allclose(same.affine, other.affine, atol=1e-6)


@pytest.mark.parametrize("order", ["little", "big"])
def test_a_nifti_without_voxel_size_is_refused_unless_its_affine_tells(tmp_path, order):
    import nibabel

    kind = nibabel.Nifti1Image
    image = kind(published.body((4, 4, 4)), np.diag([2.0, 3, 4, 1]))
    if order == "big":
        image = kind(np.asarray(image.dataobj), None, nibabel.Nifti1Header(endianness=">"))
        image.header.set_sform(np.diag([2.0, 3, 4, 1]), 1)
    nibabel.save(image, tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[84:88] = bytes(4)  # the second size
    (tmp_path / "a.nii").write_bytes(data)
    np.testing.assert_allclose(read(tmp_path / "a.nii").affine, np.diag([2.0, 3, 4, 1]))
    data[252:256] = bytes(4)  # and no affine: qform and sform are not in use
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(BadInput, match="a.nii: its spacing is .* x 0 x "):
        read(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.tif", "a.png", "a.jpg", "a.dcm", "a.nrrd", "a.mha"])
def test_rubbish_is_named_whatever_it_calls_itself(tmp_path, name):
    (tmp_path / name).write_bytes(b"rubbish" * 100)
    with pytest.raises(BadInput, match="cannot be read"):
        read(tmp_path / name)


def test_an_affine_without_volume_is_refused(tmp_path, caplog):
    file = published.nifti(tmp_path / "a.nii", published.body((4, 4, 4)))
    data = bytearray(file.read_bytes())
    data[80:84], data[280:296] = bytes(4), bytes(16)  # the first size, the first row of the affine in a NIfTI header
    file.write_bytes(data)
    with pytest.raises(BadInput, match=r"affine \(0 0 0; .*\) has no volume"):
        read(file)
    assert not caplog.records  # one line, without a reader's own beside it
