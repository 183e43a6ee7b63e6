"""Settings under Keras's names: each works, or says that it cannot."""

import logging

import numpy as np
import pytest

from minicnn import backend, config, layers, utils
from minicnn.losses.base import EPSILON
from minicnn.models import Sequential
from minicnn.progress import print_message


def test_settings_are_those_of_the_backend():
    assert config.backend() == backend.get_backend()
    assert config.floatx() == "float32" and config.image_data_format() == "channels_last"
    config.set_floatx("float64")
    try:
        assert layers.Dense(2).dtype == "float64"
    finally:
        config.set_floatx("float32")
    config.set_dtype_policy("mixed_float16")
    try:
        assert config.dtype_policy().name == "mixed_float16"
    finally:
        config.set_dtype_policy(None)


def test_what_cannot_be_set():
    config.set_image_data_format("channels_last")
    with pytest.raises(ValueError, match=r"not 'channels_first': turn yours with x.transpose"):
        config.set_image_data_format("channels_first")
    assert config.epsilon() == backend.epsilon() == EPSILON == 1e-7
    config.set_epsilon(1e-7)
    with pytest.raises(ValueError, match="epsilon is 1e-07 .* cannot be set to 1e-05"):
        config.set_epsilon(1e-5)


def test_tracebacks():
    config.disable_traceback_filtering()
    with pytest.warns(UserWarning, match="does not filter tracebacks"):
        config.enable_traceback_filtering()
    assert config.is_traceback_filtering_enabled() is False


def test_logging_instead_of_printing(capsys, caplog):
    assert config.is_interactive_logging_enabled()
    utils.disable_interactive_logging()
    try:
        assert not utils.is_interactive_logging_enabled()
        model = Sequential([layers.Input((2,)), layers.Dense(1)])
        model.compile("sgd", "mse")
        with caplog.at_level(logging.INFO, logger="minicnn"):
            model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=1)
            print_message("from a callback")
    finally:
        utils.enable_interactive_logging()
    assert capsys.readouterr().out == ""
    assert [r.getMessage()[:9] for r in caplog.records] == ["Epoch 1/1", "from a ca"]
    print_message("shown")
    assert capsys.readouterr().out == "shown\n"
