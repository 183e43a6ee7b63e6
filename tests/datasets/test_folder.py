import gc
import json
import shutil
import threading
import time

import numpy as np
import pytest
from PIL import Image

import minicnn
from minicnn.datasets.folder import image_dataset_from_directory
from minicnn.preprocessing import files


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
        ({"label_mode": None, "class_names": ["cat"]}, "only for labels='inferred'"),
        ({"data_format": "channel_first"}, "did you mean 'channels_first'"),
        ({"format": "grain"}, "unknown format 'grain'; known: tf"),
        ({"crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True}, "not both"),
    ],
)
def test_bad_arguments(directory, arguments, text):
    with pytest.raises(ValueError, match=text):
        image_dataset_from_directory(directory, **arguments)


@pytest.mark.parametrize("mode", ["int", "binary", "categorical"])
def test_one_by_one_they_are_the_images_of_the_batches(directory, mode):
    options = dict(image_size=4, label_mode=mode, class_names=["cat", "dog"], shuffle=False)
    single = image_dataset_from_directory(directory, batch_size=None, **options)
    batches = image_dataset_from_directory(directory, batch_size=4, **options)
    assert len(single) == 7 and single.batch_size is None
    found = list(single)
    assert found[0][0].shape == (4, 4, 3) and found[0][0].dtype == np.float32
    for (x, y), (x_expected, y_expected) in zip(found, batches.unbatch(), strict=True):
        np.testing.assert_array_equal(x, x_expected)
        np.testing.assert_array_equal(y, y_expected)
        assert y.dtype == y_expected.dtype and y.shape == y_expected.shape


def test_images_in_no_subdirectory(tmp_path):
    for i in range(3):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / f"{i}.png")
    for options in ({"labels": None}, {"label_mode": None}):
        data = image_dataset_from_directory(tmp_path, shuffle=False, image_size=2, **options)
        (x,) = data
        assert x[:, 0, 0, 0].tolist() == [0, 1, 2] and data.class_names is None


def test_padding_and_channels_first(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("RGB", (30, 10), (200, 100, 50)).save(tmp_path / "a" / "0.png")
    Image.new("RGB", (10, 20), (200, 100, 50)).save(tmp_path / "a" / "1.png")

    def of(**options):
        (x,) = image_dataset_from_directory(
            tmp_path, label_mode=None, image_size=(12, 12), shuffle=False, **options
        )
        return x

    wide, tall = of(pad_to_aspect_ratio=True)
    expected = np.zeros((12, 12, 3))
    expected[4:8] = 200, 100, 50
    np.testing.assert_array_equal(wide, expected)
    expected = np.zeros((12, 12, 3))
    expected[:, 3:9] = 200, 100, 50
    np.testing.assert_array_equal(tall, expected)
    first = of(pad_to_aspect_ratio=True, data_format="channels_first")
    np.testing.assert_array_equal(np.moveaxis(first, 1, -1), [wide, tall])
    for interpolation in ("area", "lanczos3", "Bilinear"):
        assert (of(interpolation=interpolation) == [200, 100, 50]).all()


def test_what_is_printed(directory, capsys):
    options = dict(image_size=4, validation_split=0.3, seed=5)
    image_dataset_from_directory(directory, subset="validation", **options)
    assert capsys.readouterr().out == (
        "Found 10 files belonging to 3 classes.\nUsing 3 files for validation.\n"
    )
    image_dataset_from_directory(directory, subset="both", verbose=False, **options)
    assert capsys.readouterr().out == ""


def test_of_both_subsets_only_the_first_is_shuffled_anew(directory):
    train, valid = image_dataset_from_directory(
        directory, image_size=4, validation_split=0.5, seed=5, subset="both"
    )
    orders = [[collect(data)[0][:, 0, 0].tolist() for _ in range(3)] for data in (train, valid)]
    assert orders[0][0] != orders[0][1] or orders[0][1] != orders[0][2]
    assert orders[1][0] == orders[1][1] == orders[1][2]


def test_any_place_can_be_reached_again(directory):
    def make():
        return image_dataset_from_directory(directory, image_size=4, batch_size=3)

    data, other = make(), make()
    first = [y.tolist() for _, y in data]
    state = json.loads(json.dumps(data.state()))
    second = [y.tolist() for _, y in data]
    other.restore(state)
    assert [y.tolist() for _, y in other] == second
    assert [y.tolist() for _, y in other.iterate(0, start=2)] == first[2:]


def test_images_are_read_in_threads_ahead_but_not_all(directory, monkeypatch):
    read, threads = [], set()

    def noted(paths, *args, **kwargs):
        read.extend(paths)
        threads.add(threading.current_thread())
        return read_batch(paths, *args, **kwargs)

    read_batch = files.read_batch
    monkeypatch.setattr(files, "read_batch", noted)
    for i in range(200):
        shutil.copy(directory / "owl" / "1.png", directory / "owl" / f"more{i}.png")
    for _ in image_dataset_from_directory(directory, image_size=4, batch_size=1):
        break
    assert threading.main_thread() not in threads and 1 <= len(read) < 100


def test_a_broken_image_is_named_in_its_place(directory):
    (directory / "owl" / "1.png").write_bytes(b"no image")
    data = image_dataset_from_directory(directory, image_size=4, batch_size=2, shuffle=False)
    seen = []
    with pytest.raises(ValueError, match="1.png cannot be read as an image"):
        for _, y in data:
            seen += y.tolist()
    assert seen == [0, 0, 0, 0, 1, 1, 1, 2]
    gc.collect()  # what earlier tests have left in circles
    end = time.monotonic() + 20
    while any(t.name.startswith("minicnn-data") for t in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)


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


def test_it_has_the_same_name_where_keras_has_it():
    assert minicnn.utils.image_dataset_from_directory is image_dataset_from_directory
    assert minicnn.preprocessing.image_dataset_from_directory is image_dataset_from_directory
    with pytest.raises(AttributeError, match="is for sequences and text"):
        minicnn.preprocessing.text  # noqa: B018
