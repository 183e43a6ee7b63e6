import numpy as np
import pytest
from PIL import Image

from minicnn.datasets.folder import image_dataset_from_directory


@pytest.fixture
def directory(tmp_path):
    """cat: 4 images, dog: 3 (one in a subfolder), owl: 3; the colour tells the class."""
    for label, (name, count) in enumerate([("cat", 4), ("dog", 3), ("owl", 3)]):
        for i in range(count):
            folder = tmp_path / name / "deep" if (name, i) == ("dog", 2) else tmp_path / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 8), (100 * label, i, 7)).save(folder / f"{i}.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    return tmp_path


def collect(batches):
    xs, ys = zip(*batches, strict=True)
    return np.concatenate(xs), np.concatenate(ys)


def test_batches(directory, capsys):
    data = image_dataset_from_directory(directory, image_size=(8, 12), batch_size=4, seed=0)
    assert "Found 10 files belonging to 3 classes" in capsys.readouterr().out
    assert data.class_names == ["cat", "dog", "owl"]
    assert len(data) == 3
    assert [len(x) for x, _ in data] == [4, 4, 2]
    x, y = collect(data)
    assert x.shape == (10, 8, 12, 3) and x.dtype == np.float32
    assert y.shape == (10,) and y.dtype == np.int32
    np.testing.assert_array_equal(x[:, 0, 0, 0], 100 * y)
    np.testing.assert_array_equal(np.bincount(y), [4, 3, 3])


def test_epochs_are_shuffled_anew_and_seeded(directory):
    def orders():
        data = image_dataset_from_directory(
            directory, image_size=(4, 4), seed=3, batch_size=10, verbose=False
        )
        return [collect(data)[0][:, 0, 0].tolist() for _ in range(2)]

    first, again = orders(), orders()
    assert first == again
    assert first[0] != first[1] and sorted(first[0]) == sorted(first[1])


def test_without_shuffle_files_are_in_order(directory):
    data = image_dataset_from_directory(directory, shuffle=False, image_size=(4, 4))
    assert collect(data)[1].tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_split_is_disjoint_and_complete(directory):
    options = dict(image_size=(4, 4), validation_split=0.3, seed=5)
    train = image_dataset_from_directory(directory, subset="training", **options)
    valid = image_dataset_from_directory(directory, subset="validation", **options)
    assert (len(train.file_paths), len(valid.file_paths)) == (7, 3)
    assert not set(train.file_paths) & set(valid.file_paths)
    both = image_dataset_from_directory(directory, subset="both", **options)
    assert [d.file_paths for d in both] == [train.file_paths, valid.file_paths]


def test_modes(directory):
    def of(**options):
        return image_dataset_from_directory(
            directory, image_size=(4, 5), shuffle=False, verbose=False, **options
        )

    x, y = collect(of(label_mode="categorical", color_mode="grayscale"))
    assert x.shape == (10, 4, 5, 1)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, np.eye(3)[[0] * 4 + [1] * 3 + [2] * 3])
    two = of(label_mode="binary", class_names=["owl", "cat"])
    x, y = collect(two)
    assert two.class_names == ["owl", "cat"] and y.shape == (7, 1)
    np.testing.assert_array_equal(y[:, 0], [0] * 3 + [1] * 4)
    (x,) = of(label_mode=None)
    assert x.shape == (10, 4, 5, 3)
    (x,) = of(labels=None)
    assert x.shape == (10, 4, 5, 3)
    _, y = collect(of(labels=[5] * 9 + [1]))
    assert y.tolist() == [5] * 9 + [1]


def test_aspect_ratio(tmp_path):
    (tmp_path / "a").mkdir()
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 200
    Image.fromarray(pixels).save(tmp_path / "a" / "0.png")
    (x,) = image_dataset_from_directory(
        tmp_path, label_mode=None, image_size=(10, 10), crop_to_aspect_ratio=True
    )
    assert (x == 200).all()


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"label_mode": "integer"}, "unknown label_mode 'integer'"),
        ({"color_mode": "RBG"}, "unknown color_mode 'RBG'; did you mean 'rgb'"),
        ({"interpolation": "cubic"}, "did you mean 'bicubic'"),
        ({"labels": "infer"}, "did you mean 'inferred'"),
        ({"class_names": ["cat", "dgo"]}, "did you mean 'dog'"),
        ({"batch_size": 0}, "batch_size should be an integer from 1 on, not 0"),
        ({"subset": "training"}, "give both or neither"),
        ({"validation_split": 0.2}, "give both or neither"),
        ({"validation_split": 1.2, "subset": "both"}, "between 0 and 1"),
        ({"validation_split": 0.2, "subset": "training"}, "give a seed"),
        ({"validation_split": 0.01, "subset": "both", "seed": 1}, "leaves no image"),
        ({"label_mode": "binary"}, "for 2 classes, found 3"),
        ({"labels": [1, 2]}, "2 labels were given for 10 files"),
        ({"labels": [-1] * 10}, "integers from 0 on"),
    ],
)
def test_bad_arguments(directory, arguments, text):
    with pytest.raises(ValueError, match=text):
        image_dataset_from_directory(directory, **arguments)


def test_bad_directories(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent' is not a directory"):
        image_dataset_from_directory(tmp_path / "absent")
    with pytest.raises(ValueError, match="has no subdirectories"):
        image_dataset_from_directory(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match="no image files"):
        image_dataset_from_directory(tmp_path)
    (tmp_path / "a" / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="broken.png cannot be read as an image"):
        list(image_dataset_from_directory(tmp_path))
