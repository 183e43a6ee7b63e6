"""The choice of the array library, and what is said where it cannot be had."""

import os
import subprocess
import sys

import numpy as np
import pytest
from strict_backend import StrictArray

import minicnn
from minicnn import backend
from minicnn.layers import Dense

pytestmark = pytest.mark.cpu_only("starts from NumPy being active")


def run(code, **variables):
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.fixture
def floatx():
    before = backend.floatx()
    yield
    backend.set_floatx(before)


def test_numpy_is_the_default():
    result = run("import minicnn; print(minicnn.get_backend())", MINICNN_BACKEND="")
    assert result.stdout.strip() == "numpy", result.stderr


def test_importing_the_library_does_not_import_cupy():
    result = run("import sys, minicnn; print('cupy' in sys.modules)", MINICNN_BACKEND="")
    assert result.stdout.strip() == "False", result.stderr


def test_the_environment_chooses():
    result = run("import minicnn; print(minicnn.get_backend())", MINICNN_BACKEND="numpy")
    assert result.stdout.strip() == "numpy", result.stderr
    wrong = run("import minicnn", MINICNN_BACKEND="nump")
    assert wrong.returncode != 0
    assert "unknown backend 'nump'; did you mean 'numpy'?" in wrong.stderr


def test_an_unknown_backend_is_named_with_near_matches():
    with pytest.raises(ValueError, match=r"unknown backend 'cupyy'; did you mean 'cupy'"):
        minicnn.set_backend("cupyy")
    assert minicnn.get_backend() == "numpy"


def test_cupy_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(backend._loaded, "cupy", raising=False)
    with pytest.raises(RuntimeError, match=r"not installed.*pip install minicnn\[cuda13\]") as e:
        minicnn.set_backend("cupy")
    assert "minicnn[cuda12]" in str(e.value) and "minicnn[rocm]" in str(e.value)
    assert minicnn.get_backend() == "numpy"


class _Cupy:
    """A CuPy on a machine with `count` GPUs; None stands for a driver that raises."""

    ndarray = StrictArray

    def __init__(self, count):
        def device_count():
            if count is None:
                raise OSError("cudaErrorInsufficientDriver")
            return count

        runtime = type("runtime", (), {"getDeviceCount": staticmethod(device_count)})
        self.cuda = type("cuda", (), {"runtime": runtime})
        self.asnumpy = StrictArray.get


@pytest.mark.parametrize(
    "count, text",
    [
        (None, r"no usable GPU \(cudaErrorInsufficientDriver\).*pip install minicnn\[cuda13\]"),
        (0, r"found no GPU; stay on set_backend\('numpy'\)"),
    ],
)
def test_cupy_without_a_device(monkeypatch, count, text):
    monkeypatch.setitem(sys.modules, "cupy", _Cupy(count))
    monkeypatch.delitem(backend._loaded, "cupy", raising=False)
    with pytest.raises(RuntimeError, match=text):
        minicnn.set_backend("cupy")
    assert minicnn.get_backend() == "numpy"


def test_new_arrays_are_made_on_the_active_backend(strict):
    assert isinstance(backend.asarray([1.0]), StrictArray)
    layer = Dense(2)
    layer.build((None, 3))
    assert isinstance(layer.kernel.value, StrictArray)
    assert isinstance(layer.kernel.numpy(), np.ndarray)


def test_asarray_and_back(strict):
    x = np.arange(6, dtype="float32").reshape(2, 3)
    device = backend.asarray(x)
    assert backend.asarray(device) is device
    assert backend.array_module(device) is backend.current_module()
    assert backend.array_module(x) is np and backend.array_module([1, 2]) is np
    assert backend.is_array(device) and backend.is_array(x) and not backend.is_array([1])
    assert backend.asarray(device, "float64").dtype == np.float64
    np.testing.assert_array_equal(backend.to_numpy(device), x)


def test_floatx_decides_what_layers_compute_in(floatx):
    backend.set_floatx("float64")
    layer = Dense(2)
    assert layer(np.ones((1, 3), "float32")).dtype == np.float64
    backend.set_floatx("float32")
    assert Dense(2)(np.ones((1, 3))).dtype == np.float32


def test_floatx_is_float32_or_float64(floatx):
    with pytest.raises(ValueError, match="'float32' or 'float64', not 'float16'"):
        backend.set_floatx("float16")
    assert backend.floatx() == "float32"


@pytest.mark.parametrize(
    "variables, enabled",
    [
        ({}, False),
        ({"CUPY_TF32": "1"}, True),
        ({"MINICNN_TF32": "1"}, True),
        ({"MINICNN_TF32": "0", "CUPY_TF32": "1"}, False),
        ({"MINICNN_TF32": "1", "CUPY_TF32": "0"}, True),
    ],
)
def test_tf32_starts_as_the_environment_says(monkeypatch, variables, enabled):
    for name in ("MINICNN_TF32", "CUPY_TF32"):
        monkeypatch.delenv(name, raising=False)
    code = "from minicnn import backend; print(backend.tensor_float_32_enabled())"
    result = run(code, **variables)
    assert result.stdout.strip() == str(enabled), result.stderr


def test_tf32_on_and_off(monkeypatch):
    monkeypatch.setattr(backend, "_tensor_float_32", False)
    backend.enable_tensor_float_32()
    assert backend.tensor_float_32_enabled()
    backend.enable_tensor_float_32(False)
    assert not backend.tensor_float_32_enabled()


def test_keras_names():
    assert backend.image_data_format() == "channels_last"
    assert backend.backend() == "numpy"
    backend.clear_session()
    assert (Dense(1).name, Dense(1).name) == ("dense", "dense_1")


def test_device_info():
    info = backend.device_info()
    assert info["backend"] == "numpy" and info["version"] == np.__version__
