import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from privassay.experiments.image_folder import ImageFolder
from privassay.harness import catalog
from privassay.harness.dataset_checks import check_dataset
from privassay.harness.errors import UsageError
from privassay.harness.yamlfile import parse_yaml


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


def test_a_picture_beside_the_classes_is_not_left_out_in_silence(folder):
    (folder / "README.txt").write_text("no picture")
    (folder / "a" / "1.png").rename(folder / "1.png")
    assert refusal(ImageFolder(folder)).startswith(f"{folder}/1.png: a picture beside the folders of classes; ")


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


@pytest.mark.parametrize(
    "changes",
    [
        {"size": (0, 3)},
        {"colours": "cmyk"},
        {"target": "y"},
        {"sensitive": ("sex",)},
        {"record_id": "id"},
        {"user_id": "owner"},
        {"member": "trained"},
        {"manifest": Path("list.npz")},
    ],
)
def test_fields_that_mean_nothing_are_refused(folder, changes):
    with pytest.raises(UsageError, match="must be"):
        ImageFolder(folder, **changes)


def test_the_positive_class_of_two_folders_is_class_1(folder):
    assert ImageFolder(folder, positive="a").load().y.tolist() == [1, 0, 0]
    assert refusal(ImageFolder(folder, positive="c")).endswith(
        "positive='c': must be one of two classes, not ['a', 'b']"
    )


ROWS = """file_name,y,id,owner,trained,sex
deep/down/3.png,sick,r3,u1,yes,f
0.png,well,r0,u2,0,
b/./1.png,sick,r1,u1,1,m
b/2.JPG,well,r2,u3,,f
"""
SCHEMA = {
    "target": "y",
    "record_id": "id",
    "user_id": "owner",
    "member": "trained",
    "sensitive": ("sex",),
    "positive": "sick",
}


@pytest.fixture
def listed(tmp_path):
    """Four pictures of one shade each, ten times the number in their names, at three depths, and their manifest."""
    path = tmp_path / "set"
    for name in ("deep/down/3.png", "0.png", "b/1.png", "b/2.JPG"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((2, 3), 10 * int(Path(name).stem), np.uint8)).save(path / name)
    (path / "metadata.csv").write_text(ROWS)
    return path


def manifest(folder, **changes):
    return ImageFolder(folder, manifest=folder / "metadata.csv", **{**SCHEMA, **changes})


def test_a_manifest_gives_order_classes_users_groups_and_membership(listed):
    data = manifest(listed).load()
    check_dataset(data, "here")
    np.testing.assert_allclose(data.x[:, 0, 0] * 255, [30, 0, 10, 20], atol=1)  # one of them is a JPEG
    assert data.shape == (2, 3)
    assert data.y.tolist() == [1, 0, 1, 0]
    assert data.units.tolist() == [0, 1, 0, 2]
    assert data.released_member.tolist() == [1, 0, 1, -1]
    assert data.sensitive["sex"].tolist() == ["f", "?", "m", "f"]
    assert (data.name, data.n_classes) == ("set", 2)


def test_a_manifest_may_lie_elsewhere_in_parquet_with_other_names(listed, tmp_path):
    frame = pd.read_csv(listed / "metadata.csv").rename(columns={"file_name": "picture"})
    frame.to_parquet(tmp_path / "list.parquet")
    (listed / "metadata.csv").unlink()
    moved = ImageFolder(listed, manifest=tmp_path / "list.parquet", file_name="picture", **SCHEMA).load()
    assert moved.y.tolist() == [1, 0, 1, 0]
    assert moved.released_member.tolist() == [1, 0, 1, -1]
    assert refusal(manifest(listed)) == f"{listed}/metadata.csv: no such file"


def test_without_a_target_the_class_is_the_folder(folder, tmp_path):
    plain = ImageFolder(folder).load()
    (tmp_path / "list.csv").write_text("file_name,who\nb/1.png,x\na/1.png,y\nb/2.PNG,x\n")
    data = ImageFolder(folder, manifest=tmp_path / "list.csv", user_id="who").load()
    assert data.y.tolist() == [1, 0, 1]
    assert data.units.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(data.x, plain.x[[1, 0, 2]])
    turned = ImageFolder(folder, manifest=tmp_path / "list.csv", positive="a").load()
    assert turned.y.tolist() == [0, 1, 0]


def test_an_experiment_file_names_folder_and_manifest_beside_it(listed):
    text = """
    path: set
    manifest: set/metadata.csv
    size: [4, 5]
    target: y
    record_id: id
    user_id: owner
    member: trained
    sensitive: [sex]
    positive: sick
    """
    parameters = parse_yaml(textwrap.dedent(text).encode(), "here")
    built = catalog.build("datasets", "image_folder", parameters, "here", listed.parent)
    assert built == manifest(listed, size=(4, 5))
    data = built.load()
    assert data.shape == (4, 5)
    assert data.units.tolist() == [0, 1, 0, 2]
    assert catalog.identity(built, "image_folder").parameters["manifest"] == "metadata.csv"


NAMED = "column 'file_name', row"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.png", "9.png", f"{NAMED} 2: there is no file {{folder}}/9.png"),
        ("0.png", "b", f"{NAMED} 2: there is no file {{folder}}/b"),
        ("0.png", "b/1.png", f"{NAMED} 3: 'b/./1.png' is named in row 2 already"),
        ("0.png", "b/2.JPG", f"{NAMED} 4: 'b/2.JPG' is named in row 2 already"),
        ("0.png", "b/../0.png", f"{NAMED} 2: 'b/../0.png' leads out of {{folder}}"),
        ("0.png", "../set/0.png", f"{NAMED} 2: '../set/0.png' leads out of {{folder}}"),
        ("0.png", "/0.png", f"{NAMED} 2: '/0.png' leads out of {{folder}}"),
        ("0.png", "", f"{NAMED} 2: the name is missing"),
        ("well,r0", "?,r0", "column 'y', row 2: the label is missing"),
        ("r0", "r1", "column 'id': the id 'r1' repeats in rows 2 and 3"),
        ("r0", "", "column 'id', row 2: the id is missing"),
        ("u2", "", "column 'owner', row 2: the id is missing"),
        ("u2,0", "u2,perhaps", "column 'trained', row 2: 'perhaps': must be 1, true or yes for a member, 0, false or"),
        ("u2,0", "u2,1", "column 'trained': every flag is 1; members and non-members are needed"),
        ("well", "sick", "target 'y': every label is 'sick'; at least two classes are needed"),
        (
            "sick,r1",
            "ill,r1",
            "target 'y': 3 different labels in 4 records: must be classes; for a number set grid (tab",
        ),
        ("sick", "ill", "target 'y': positive='sick': must be one of two classes, not ['ill', 'well']"),
        (
            "file_name",
            "filename",
            "file_name: unknown column 'file_name', did you mean 'filename'? (known: filename, y",
        ),
        ("y,id", "class,id", "target: unknown column 'y' (known: file_name, class, id"),
        ("owner", "owners", "user_id: unknown column 'owner', did you mean 'owners'?"),
        ("sex", "gender", "sensitive: unknown column 'sex'"),
        (ROWS.partition("\n")[2], "", "no rows"),
    ],
)
def test_a_wrong_manifest_is_one_line(listed, old, new, message):
    assert old in ROWS
    (listed / "metadata.csv").write_text(ROWS.replace(old, new))
    found = refusal(manifest(listed)).removeprefix(f"{listed}/metadata.csv: ")
    assert found.startswith(message.format(folder=listed))


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "b/" * 2500 + "1.png", "../" + "a" * 5000])
def test_a_name_that_is_too_long_is_one_short_line(listed, name):
    (listed / "metadata.csv").write_text(ROWS.replace("0.png", name))
    found = refusal(manifest(listed)).removeprefix(f"{listed}/metadata.csv: ")
    assert found.startswith(f"{NAMED} 2: '{name[:100]}")
    assert "..." in found
    assert len(found) < 300 + len(str(listed))


def test_a_name_with_control_characters_is_shown_without(listed):
    (listed / "metadata.csv").write_text(ROWS.replace("0.png", "\x1b[31m0.png"))
    assert "there is no file" in refusal(manifest(listed))
    assert "\x1b" not in refusal(manifest(listed))


def test_a_picture_of_very_many_pixels_is_refused_without_a_warning(folder, capfd, recwarn):
    Image.new("1", (9500, 9500)).save(folder / "a" / "1.png")
    found = refusal(ImageFolder(folder, size=(4, 6)))
    assert found.startswith(
        f"{folder}/a/1.png: cannot be read as a picture (Image size (90250000 pixels) exceeds limit"
    )
    assert (capfd.readouterr().err, list(recwarn)) == ("", [])


def test_a_picture_that_the_manifest_forgot_is_not_dropped_in_silence(listed):
    (listed / "deep" / ".hidden").mkdir()
    (listed / "deep" / ".hidden" / "1.png").touch()
    manifest(listed).load()
    forgotten = listed / "deep" / "4.png"
    forgotten.touch()
    assert refusal(manifest(listed)).startswith(f"{forgotten}: {listed}/metadata.csv has no row of that name")
    forgotten.unlink()
    forgotten.symlink_to(forgotten)
    assert refusal(manifest(listed)).startswith(f"{forgotten}: {listed}/metadata.csv has no row of that name")
    forgotten.unlink()
    (listed / "loop").symlink_to(listed)
    assert refusal(manifest(listed)) == f"{listed}/loop: a link to a folder above it"


def test_links_to_pictures_are_pictures(listed, tmp_path):
    (listed / "0.png").rename(tmp_path / "elsewhere.png")
    (listed / "0.png").symlink_to(tmp_path / "elsewhere.png")
    (listed / "deep").rename(tmp_path / "deep")
    (listed / "deep").symlink_to(tmp_path / "deep")
    assert manifest(listed).load().y.tolist() == [1, 0, 1, 0]


def test_a_named_file_that_is_no_picture_and_folders_that_are_no_classes(listed):
    def found(*names):
        (listed / "metadata.csv").write_text("\n".join(["file_name", *names]))
        return refusal(ImageFolder(listed, manifest=listed / "metadata.csv"))

    (listed / "notes.txt").touch()
    assert found("notes.txt") == f"{listed}/notes.txt: not one of .png, .jpg, .jpeg"
    (listed / "notes.txt").unlink()
    assert found("b/1.png", "deep/down/3.png", "0.png", "b/2.JPG").startswith(
        f"{listed}/metadata.csv: {NAMED} 2: 'deep/down/3.png' is not CLASS/FILE; where folders are no classes, name"
    )
    (listed / "0.png").unlink()
    (listed / "deep" / "down" / "3.png").unlink()
    assert found("b/2.JPG", "b/1.png").startswith(f"{listed}: 1 classes; at least two folders of pictures")
