"""`flow_from_dataframe`, on a dictionary, on another table with columns by name, and on pandas'."""

import numpy as np
import pytest
from PIL import Image

from minicnn.preprocessing.image import ImageDataGenerator

FILES = ["a0.png", "b0.png", "a1.png", "c0.png"]
TABLE = {
    "f": FILES,
    "k": ["a", "b", "a", "c"],
    "many": [["a", "c"], "b", ("a",), ["c", "b"]],
    "v": [0.5, 1.5, 2.5, 3.5],
    "w": [1, 2, 3, 4],
}


class Table:
    """Columns by name, and nothing else."""

    def __init__(self, columns):
        self.columns = columns

    def __iter__(self):
        return iter(self.columns)

    def __getitem__(self, name):
        return np.array(self.columns[name], dtype=object)


@pytest.fixture
def folder(tmp_path):
    """Images whose red says which row they are."""
    for row, name in enumerate(FILES):
        Image.new("RGB", (6, 4), (10 * row, 0, 0)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def flow(table, folder, generator=None, **options):
    options = {"x_col": "f", "y_col": "k", "target_size": (4, 6), "shuffle": False, **options}
    return (generator or ImageDataGenerator()).flow_from_dataframe(table, folder, **options)


def rows(x):
    return (x[:, 0, 0, 0] / 10).tolist()


@pytest.mark.parametrize("kind", [dict, Table, "pandas"])
def test_columns_by_name(folder, kind, capsys):
    kind = pytest.importorskip("pandas").DataFrame if kind == "pandas" else kind
    it = flow(kind(TABLE), folder, batch_size=3)
    assert capsys.readouterr().out == "Found 4 validated image filenames belonging to 3 classes.\n"
    (x, y), (x_last, y_last) = next(it), it.next()
    assert x.shape == (3, 4, 6, 3) and rows(x) == [0, 1, 2] and rows(x_last) == [3]
    np.testing.assert_array_equal(np.concatenate([y, y_last]), np.eye(3)[[0, 1, 0, 2]])
    assert y.dtype == np.float32 and it.class_indices == {"a": 0, "b": 1, "c": 2}
    assert it.classes.tolist() == it.labels.tolist() == [0, 1, 0, 2]
    assert it.filenames == FILES and it.samples == it.n == 4 and it.image_shape == (4, 6, 3)
    assert len(it) == 2


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"class_mode": "sparse"}, [0, 1, 0, 2]),
        ({"class_mode": "sparse", "classes": ["c", "a", "b"]}, [1, 2, 1, 0]),
        ({"class_mode": "raw", "y_col": "v"}, [0.5, 1.5, 2.5, 3.5]),
        ({"class_mode": "raw", "y_col": ["v", "w"]}, [[0.5, 1], [1.5, 2], [2.5, 3], [3.5, 4]]),
        ({"y_col": "many"}, [[1, 0, 1], [0, 1, 0], [1, 0, 0], [0, 1, 1]]),
    ],
)
def test_class_modes(folder, options, expected):
    np.testing.assert_array_equal(next(flow(TABLE, folder, **options))[1], expected)


def test_other_class_modes(folder):
    x = next(flow(TABLE, folder, class_mode=None, y_col="absent"))
    assert rows(x) == [0, 1, 2, 3]
    x, y = next(flow(TABLE, folder, class_mode="input"))
    np.testing.assert_array_equal(x, y)
    x, y = next(flow(TABLE, folder, class_mode="multi_output", y_col=["v", "w"]))
    assert [part.tolist() for part in y] == [TABLE["v"], TABLE["w"]]
    x, y = next(flow(TABLE, folder, class_mode="binary", classes=["c", "a"]))
    assert rows(x) == [0, 2, 3] and y.tolist() == [1, 1, 0] and y.dtype == np.float32
    x, y = next(flow(TABLE, folder, y_col="many", classes=["c", "b"]))
    assert rows(x) == [0, 1, 3] and y.tolist() == [[1, 0], [0, 1], [1, 1]]
    with pytest.warns(UserWarning, match="'other' is deprecated, write 'raw'"):
        flow(TABLE, folder, class_mode="other", y_col="v")


def test_weights_subsets_and_order(folder):
    x, y, weight = next(flow(TABLE, folder, weight_col="w"))
    assert weight.tolist() == [1, 2, 3, 4]
    generator = ImageDataGenerator(validation_split=0.25)
    assert rows(next(flow(TABLE, folder, generator, subset="validation"))[0]) == [0]
    assert rows(next(flow(TABLE, folder, generator, subset="training"))[0]) == [1, 2, 3]
    it = flow(TABLE, folder, shuffle=True, seed=4, class_mode="raw", y_col="v", weight_col="w")
    orders = set()
    for _ in range(3):
        x, y, weight = next(it)
        np.testing.assert_allclose(y, np.array(rows(x)) + 0.5)
        np.testing.assert_allclose(weight, np.array(rows(x)) + 1)
        orders.add(tuple(rows(x)))
    assert len(orders) > 1


def test_files_that_are_none_are_left_out_with_a_warning(folder, capsys):
    table = {"f": ["absent.png", "b0.png", "notes.txt"], "k": ["z", "b", "b"]}
    text = r"2 of 3 files of x_col 'f' do not exist or are no images, .* left out: .*absent.png, "
    with pytest.warns(UserWarning, match=text):
        it = flow(table, folder)
    assert it.class_indices == {"b": 0} and it.filenames == ["b0.png"]
    it = flow(table, folder, validate_filenames=False)
    assert "Found 3 non-validated image filenames" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="absent.png"):
        next(it)
    absolute = {"f": [str(folder / "a0.png")], "k": ["a"]}
    assert rows(next(flow(absolute, None))[0]) == [0]


@pytest.mark.parametrize(
    "change, options, error, text",
    [
        ({}, {"y_col": "labels"}, ValueError, "no column 'labels'; known: f, k, many, v, w"),
        ({"f": [0, 1, 2, 3]}, {}, TypeError, "x_col 'f' should hold file names as texts"),
        ({}, {"y_col": "v"}, TypeError, "should hold texts, or lists of them.*astype.*'raw'"),
        ({}, {"y_col": "many", "class_mode": "sparse"}, TypeError, "should hold texts in this"),
        ({}, {"class_mode": "binary"}, ValueError, "for 2 classes, found .'a', 'b', 'c'."),
        ({}, {"class_mode": "spars"}, ValueError, "did you mean 'sparse'"),
        ({}, {"weight_col": "k"}, TypeError, "weight_col 'k' should hold numbers"),
        ({}, {"subset": "training"}, ValueError, "give ImageDataGenerator a validation_split"),
        ({}, {"color_mod": "rgb"}, ValueError, "unknown argument 'color_mod'"),
        ({}, {"classes": ["x"]}, ValueError, "there are no images"),
    ],
)
def test_bad_tables(folder, change, options, error, text):
    with pytest.raises(error, match=text):
        flow({**TABLE, **change}, folder, **options)


def test_arguments_that_are_not_used_are_told(folder):
    with pytest.warns(UserWarning, match="drop_duplicates is deprecated in Keras, and ignored"):
        flow(TABLE, folder, drop_duplicates=True)
    with pytest.warns(UserWarning, match="classes are not used with class_mode None"):
        flow(TABLE, folder, class_mode=None, classes=["a"])
