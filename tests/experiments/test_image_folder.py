import numpy as np
import pytest
from PIL import Image
from privassay.experiments.image_folder import ImageFolder
from privassay.harness.dataset_checks import check_dataset
from privassay.harness.errors import UsageError


def pixels(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Two classes, a with one picture and b with two, 4 x 6 in grey."""
    for name, seed in (("b/2.PNG", 2), ("a/1.png", 0), ("b/1.png", 1)):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(seed, 4, 6)).save(path)
    return tmp_path / "set"


def test_pictures_are_pixels_over_255_in_the_order_of_classes_and_names(folder):
    (folder / ".cache").mkdir()
    (folder / "a" / ".hidden").write_text("not a picture")
    data = ImageFolder(folder, licence="ours").load()
    check_dataset(data, "here")
    assert data.x.dtype == np.float32
    assert data.x.flags.c_contiguous
    np.testing.assert_allclose(data.x, np.stack([pixels(seed, 4, 6) for seed in range(3)]) / 255, rtol=1e-6)
    assert data.y.tolist() == [0, 1, 1]
    assert (data.name, data.n_classes, data.bounds, data.licence) == ("set", 2, (0.0, 1.0), "ours")


def test_colours_come_first(folder, tmp_path):
    Image.fromarray(pixels(7, 4, 6, 3)).save(folder / "a" / "2.png")
    data = ImageFolder(folder, colours="rgb").load()
    assert data.shape == (3, 4, 6)
    np.testing.assert_allclose(data.x[1], np.moveaxis(pixels(7, 4, 6, 3), -1, 0) / 255, rtol=1e-6)
    np.testing.assert_array_equal(data.x[0, 0], data.x[0, 2])


def test_jpeg_is_read_nearly_as_it_was(folder):
    smooth = np.tile(np.arange(0, 240, 10, dtype=np.uint8), (24, 1))
    for name in ("a/1.png", "b/1.png", "b/2.PNG"):
        (folder / name).unlink()
    Image.fromarray(smooth).save(folder / "a" / "1.jpg", quality=95)
    Image.fromarray(smooth).save(folder / "b" / "1.jpeg", quality=95)
    assert np.abs(ImageFolder(folder).load().x - smooth / 255).max() < 0.02


def test_pictures_of_any_size_are_scaled_to_one(folder):
    Image.fromarray(np.full((9, 3), 51, np.uint8)).save(folder / "a" / "2.png")
    data = ImageFolder(folder, size=(5, 7)).load()
    assert data.shape == (5, 7)
    np.testing.assert_allclose(data.x[1], 0.2, rtol=1e-6)


def test_pictures_are_turned_as_their_exif_data_say(folder):
    upright = Image.fromarray(pixels(9, 6, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 270 degrees anticlockwise
    upright.save(folder / "a" / "2.png", exif=exif)
    data = ImageFolder(folder).load()
    np.testing.assert_allclose(data.x[1], np.rot90(pixels(9, 6, 4), -1) / 255, rtol=1e-6)


def refusal(source):
    with pytest.raises(UsageError) as caught:
        source.load()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_different_sizes_are_refused_with_both_files(folder):
    Image.fromarray(pixels(0, 4, 5)).save(folder / "b" / "9.png")
    assert refusal(ImageFolder(folder)) == (
        f"{folder}/a/1.png is 4 x 6 and {folder}/b/9.png is 4 x 5 pixels: give a size to scale all to"
    )


def test_an_unreadable_file_is_named(folder):
    (folder / "b" / "9.png").write_bytes((folder / "b" / "1.png").read_bytes()[:60])
    assert refusal(ImageFolder(folder)).startswith(f"{folder}/b/9.png: cannot be read as a picture (")
    (folder / "b" / "9.png").write_text("no picture")
    assert refusal(ImageFolder(folder)).startswith(f"{folder}/b/9.png: cannot be read as a picture (")


def test_sixteen_bits_are_not_cut_to_eight(folder):
    Image.fromarray(np.full((4, 6), 40_000, np.uint16)).save(folder / "b" / "9.png")
    assert refusal(ImageFolder(folder)) == f"{folder}/b/9.png: pixels of mode I;16: only 8 bits a channel are read"


def test_other_files_are_not_passed_over_in_silence(folder):
    (folder / "b" / "notes.txt").touch()
    assert refusal(ImageFolder(folder)) == f"{folder}/b/notes.txt: not one of .png, .jpg, .jpeg"


def test_classes_must_be_there(folder, tmp_path):
    assert refusal(ImageFolder(tmp_path / "none")) == f"{tmp_path}/none: no such folder"
    assert refusal(ImageFolder(tmp_path)) == f"{tmp_path}: 1 classes; at least two folders of pictures are needed"
    assert refusal(ImageFolder(folder / "a")).startswith(f"{folder}/a: 0 classes")
    (folder / "c").mkdir()
    assert refusal(ImageFolder(folder)) == f"{folder}/c: a class without pictures"


@pytest.mark.parametrize("changes", [{"size": (0, 3)}, {"colours": "cmyk"}])
def test_fields_that_mean_nothing_are_refused(folder, changes):
    with pytest.raises(UsageError, match="must be"):
        ImageFolder(folder, **changes)
