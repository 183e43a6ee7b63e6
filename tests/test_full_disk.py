"""Where the disk is full: an OSError that names the file, and what was there stays whole."""

import numpy as np
import pytest
from small_files import files_end_at

from minicnn import Input, Sequential
from minicnn.callbacks import CSVLogger
from minicnn.layers import Dense
from minicnn.preprocessing.image import save_img

LIMIT = 2000


def network(units=300):
    model = Sequential([Input((8,)), Dense(units)])
    model.compile("adam", "mse")
    return model


def save_whole(path):
    network().save(path)


def save_weights(path):
    network().save_weights(path)


def save_picture(path):
    save_img(path, np.random.default_rng(0).random((64, 64, 3)))


@pytest.mark.parametrize(
    "save, name",
    [
        (save_whole, "m.safetensors"),
        (save_whole, "m.keras"),
        (save_whole, "m.h5"),
        (save_weights, "w.safetensors"),
        (save_weights, "w.weights.h5"),
        (save_picture, "picture.png"),
    ],
)
def test_the_file_is_named_and_the_old_one_stays(save, name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"before")
    with files_end_at(LIMIT), pytest.raises(OSError, match=f"cannot write '.*{name}': .*too large"):
        save(path)
    assert path.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1
    save(path)
    assert path.stat().st_size > LIMIT


def test_a_table_ends_in_a_whole_line(tmp_path):
    path = tmp_path / "log.csv"
    table = CSVLogger(path)
    table.on_train_begin()
    table.on_epoch_end(0, {"loss": 0.5})
    whole = path.read_bytes()
    with files_end_at(len(whole) + 3), pytest.raises(OSError, match="cannot write '.*log.csv': "):
        table.on_epoch_end(1, {"loss": 0.25})
    assert path.read_bytes() == whole == b"epoch,loss\r\n0,0.5\r\n"
    table.on_epoch_end(1, {"loss": 0.25})
    table.on_train_end()
    assert path.read_bytes() == whole + b"1,0.25\r\n"


def test_a_table_goes_on_behind_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"epoch,loss\r\n0,0.5\r\n1,0.")
    table = CSVLogger(path, append=True)
    table.on_train_begin()
    table.on_epoch_end(1, {"loss": 0.25})
    table.on_train_end()
    assert path.read_bytes() == b"epoch,loss\r\n0,0.5\r\n1,0.\r\n1,0.25\r\n"
