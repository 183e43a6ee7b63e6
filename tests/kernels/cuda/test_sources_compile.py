"""Kernels in CUDA C through NVRTC, with which CuPy compiles them: no GPU is needed for that.

`pip install nvidia-cuda-nvrtc-cu12` brings it.
"""

import ctypes
import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from minicnn.kernels.cuda import launch

NAMES = sorted(path.stem for path in Path(launch.__file__).parent.glob("*.cu"))
DTYPES = ["float16", "bfloat16", "float32", "float64"]


def cases() -> Iterator[tuple[str, str, str]]:
    """(name, dtype, architecture) of all that differ: for H100 and H200, and, what is written for
    tensor cores, for A100."""
    for name in NAMES:
        text = launch.source(name, "float16")
        dtypes = DTYPES if len(re.findall(r"\bstored\b", text)) > 1 else ["float32", "float64"]
        for dtype in ["float32"] if "#define WITH_TENSOR_FLOATS" in text else dtypes:
            yield name, dtype, "sm_90"
            if "mma.sync" in text and dtype != "float64":
                yield name, dtype, "sm_80"


class Nvrtc:
    """As much as is needed of the interface in C: docs.nvidia.com/cuda/nvrtc."""

    # what CuPy adds of its own
    OPTIONS = ["-ftz=true", "--device-as-default-execution-space"]

    def __init__(self, library: str):
        self.library = ctypes.CDLL(library)

    def __call__(self, text: str, options: list[str]) -> bytes:
        program = ctypes.c_void_p()
        made = self.library.nvrtcCreateProgram(
            ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None
        )
        assert made == 0
        options = [*options, *self.OPTIONS]
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        try:
            status = self.library.nvrtcCompileProgram(program, len(options), given)
            assert status == 0, self._read(program, "ProgramLog").decode()
            return self._read(program, "CUBIN")
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))

    def _read(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        assert getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)) == 0
        content = ctypes.create_string_buffer(size.value)
        assert getattr(self.library, f"nvrtcGet{what}")(program, content) == 0
        return content.raw


def libraries() -> Iterator[str]:
    """Where NVRTC may be: in NVIDIA's wheels, in the toolkit, or where the system looks."""
    wheels = find_spec("nvidia")
    folders = list(wheels.submodule_search_locations or ()) if wheels else []
    patterns = [(folder, "cu*/lib/libnvrtc.so.1[23]") for folder in folders]
    patterns.append((os.environ.get("CUDA_PATH", "/usr/local/cuda"), "lib64/libnvrtc.so.1[23]"))
    for folder, pattern in patterns:
        yield from map(str, sorted(Path(folder).glob(pattern)))
    yield from ("libnvrtc.so.13", "libnvrtc.so.12")


@cache
def compiler() -> Callable[[str, list[str]], bytes] | None:
    """Text and options to a binary for the GPU; raises an AssertionError with what is wrong."""
    for library in libraries():
        try:
            return Nvrtc(library)
        except OSError:
            continue
    return None


pytestmark = pytest.mark.skipif(
    compiler() is None,
    reason="there is no NVRTC; pip install nvidia-cuda-nvrtc-cu12 brings it",
)


class Recorder:
    """In the place of cupy: what `launch` would have compiled."""

    @staticmethod
    def RawModule(code: str, options: tuple[str, ...]) -> tuple[str, list[str]]:
        return code, list(options)


@pytest.mark.parametrize(("name", "dtype", "architecture"), list(cases()))
def test_compiles(name, dtype, architecture):
    text, options = launch._module.__wrapped__(Recorder, name, dtype)
    kernels = set(re.findall(r'extern "C" __global__[^;{]*?\b(?!__launch)(\w+)\s*\(', text))
    binary = compiler()(text, [*options, f"-arch={architecture}"])
    made = {found.decode() for found in re.findall(rb"\.text\.(\w+)\0", binary)}  # ELF sections
    assert kernels and kernels <= made


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("conv_implicit", "float16"),
        ("conv_implicit", "bfloat16"),
        ("conv_implicit_tf32", "float32"),
    ],
)
def test_older_gpus_are_told_what_they_lack(name, dtype):
    text, options = launch._module.__wrapped__(Recorder, name, dtype)
    with pytest.raises(AssertionError, match=r"compute capability 8\.0 .*; on this one train in"):
        compiler()(text, [*options, "-arch=sm_75"])


def test_what_is_wrong_is_shown():
    with pytest.raises(AssertionError, match="nowhere"):
        compiler()('extern "C" __global__ void f() { nowhere(); }', ["-arch=sm_80"])
