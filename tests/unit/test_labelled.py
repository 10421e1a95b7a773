from pathlib import Path

import pytest

from cli.calibrate.labelled_images import CalibrationError, LabelledImage, from_folders, from_table

CLASSES = ("Quercus ilex hoja", "Pinus pinea tallo", "Abies")


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_folders_are_named_by_class(tmp_path: Path) -> None:
    touched(tmp_path, "Abies/2.jpg", "Abies/1/x.png", "Quercus ilex hoja/1.jpg")
    assert from_folders(tmp_path, CLASSES) == [
        LabelledImage(tmp_path / "Abies/1/x.png", 2),
        LabelledImage(tmp_path / "Abies/2.jpg", 2),
        LabelledImage(tmp_path / "Quercus ilex hoja/1.jpg", 0),
    ]


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    touched(tmp_path, "Abies/1.jpg", "Abies/.DS_Store", ".ipynb_checkpoints/2.jpg", "Abies/.thumbs/1.jpg")
    assert [each.path.name for each in from_folders(tmp_path, CLASSES)] == ["1.jpg"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(
            ["Abeis/1.jpg"], "the folder Abeis is not in the classes file; did you mean 'Abies'", id="typo"
        ),
        pytest.param(["1.jpg"], "expected a folder of images for each class", id="no folders"),
        pytest.param(["Abies/.hidden"], "got no files", id="no files"),
        pytest.param([f"{n}/1.jpg" for n in range(30)], "and 20 more", id="many"),
    ],
)
def test_wrong_folders_are_reported(names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=message):
        from_folders(touched(tmp_path, *names), CLASSES)


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="there is no folder"):
        from_folders(tmp_path / "none", CLASSES)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("file,label\na/1.jpg,Abies\n2.jpg,Quercus ilex hoja\n", id="commas"),
        pytest.param(
            "\ufefffile;label\r\na/1.jpg;Abies\r\n\r\n2.jpg;Quercus ilex hoja\r\n", id="a spreadsheet's"
        ),
        pytest.param(
            'Label,who,File\nAbies,"me, myself",a/1.jpg\nQuercus ilex hoja,,2.jpg', id="more columns"
        ),
    ],
)
def test_a_table_names_files_and_labels(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(text.encode())
    assert from_table(tmp_path / "labels.csv", tmp_path, CLASSES) == [
        LabelledImage(tmp_path / "a/1.jpg", 2),
        LabelledImage(tmp_path / "2.jpg", 0),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "path,class\n1.jpg,Abies\n",
            "line 1: expected the columns `file` and `label`, got .*'path', 'class'",
            id="header",
        ),
        pytest.param(
            "file,label\n1.jpg,Abeis\n", "line 2: the label 'Abeis' .* did you mean 'Abies'", id="label"
        ),
        pytest.param("file,label\n\n1.jpg\n", "line 3: expected 2 cells, got 1", id="cells"),
        pytest.param("file,label\n1.jpg,Abies\n1.jpg,Abies\n", "line 3: repeats 1.jpg of line 2", id="twice"),
        pytest.param("file,label\n", "got no rows", id="no rows"),
    ],
)
def test_a_wrong_table_names_its_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(CalibrationError, match=message):
        from_table(tmp_path / "labels.csv", tmp_path, CLASSES)


def test_a_missing_or_binary_table_is_reported(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("labels.csv", "none.csv"):
        with pytest.raises(CalibrationError, match=f"{name} can't be read"):
            from_table(tmp_path / name, tmp_path, CLASSES)
