"""CUDA kernels of our own (`engines/native/*.cu`), compiled at their first use by NVRTC, which comes with PyTorch.

    kernels = CudaKernels("efficientnet", device)
    kernels.launch("finish", (blocks, 1, 1), (256, 1, 1), values, bias, None, 1, 24, Long(1000))

They are never needed: where they can't be had (`why_not` says why), PyTorch's own operations do the same.
"""

import ctypes
import functools
import glob
import os
from pathlib import Path

import torch

from engines.native.libraries import NativeError
from runtime.errors import DeviceError

_SOURCES = Path(__file__).resolve().parent
SOURCES = ("efficientnet", "area_pool")
Argument = torch.Tensor | int | ctypes.c_longlong | None
Long = ctypes.c_longlong  # an argument of 64 bits; Python's own integers are passed as 32


class CudaKernels:
    """The kernels of `native/<name>.cu` on one GPU. Raises NativeError where they can't be had."""

    def __init__(self, name: str, device: torch.device):
        major, minor = torch.cuda.get_device_capability(device)
        binary = compile_source(name, f"sm_{major}{minor}")
        with torch.cuda.device(device):
            torch.cuda.current_stream().synchronize()  # makes the device's context, if it is the first call
            self._driver = _library("libcuda.so.1")
            self._module = ctypes.c_void_p()
            self._check(self._driver.cuModuleLoadData(ctypes.byref(self._module), binary))
        self._functions: dict[str, ctypes.c_void_p] = {}

    def launch(self, name: str, grid: tuple[int, int, int], block: tuple[int, int, int], *args: Argument) -> None:
        """Run a kernel on the current stream of the current device. None is a null pointer."""
        values = [_value(arg) for arg in args]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        code = self._driver.cuLaunchKernel(self._function(name), *grid, *block, 0, stream, pointers, None)
        if code:
            raise DeviceError(f"the GPU failed ({self._message(code)}): what is finished is kept; check nvidia-smi")

    def _function(self, name: str) -> ctypes.c_void_p:
        if name not in self._functions:
            function = ctypes.c_void_p()
            self._check(self._driver.cuModuleGetFunction(ctypes.byref(function), self._module, name.encode()))
            self._functions[name] = function
        return self._functions[name]

    def _check(self, code: int) -> None:
        if code:
            raise NativeError(f"the CUDA driver says: {self._message(code)}")

    def _message(self, code: int) -> str:
        text = ctypes.c_char_p()
        self._driver.cuGetErrorString(code, ctypes.byref(text))
        return f"{(text.value or b'error').decode()}, {code}"


def _value(arg: Argument):
    if isinstance(arg, torch.Tensor):
        return ctypes.c_void_p(arg.data_ptr())
    if arg is None:
        return ctypes.c_void_p()
    return ctypes.c_int(arg) if isinstance(arg, int) else arg


@functools.cache
def why_not(device: torch.device) -> str | None:
    """Why the kernels can't be used on a GPU; None where they can (they are then compiled and loaded)."""
    try:
        for name in SOURCES:
            CudaKernels(name, device)
    except NativeError as error:
        return str(error)
    except (AssertionError, RuntimeError) as error:  # PyTorch's, where there is no such GPU
        return str(error).splitlines()[0]
    return None


@functools.cache
def compile_source(name: str, architecture: str) -> bytes:
    """The machine code of `native/<name>.cu`. Needs no GPU. Raises NativeError."""
    nvrtc = _nvrtc()
    source, program = (_SOURCES / f"{name}.cu").read_bytes(), ctypes.c_void_p()
    options = [f"--gpu-architecture={architecture}".encode(), b"--std=c++17"]
    if nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, f"{name}.cu".encode(), 0, None, None):
        raise NativeError("NVRTC can't be started")
    try:
        if nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options)):
            log = _text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).decode(errors="replace")
            first = next((line for line in log.splitlines() if "error" in line), log[:200])
            raise NativeError(f"NVRTC can't compile {name}.cu for {architecture} ({first})")
        return _text(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _text(size_of, get, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    size_of(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    get(program, buffer)
    return buffer.raw


def _nvrtc() -> ctypes.CDLL:
    """PyTorch's: by its name where it is loaded or on the path, else among the packages it was installed with."""
    if torch.version.cuda is None:
        raise NativeError("this PyTorch was built without CUDA")
    name = f"libnvrtc.so.{torch.version.cuda.split('.')[0]}"
    try:
        return _library(name)
    except NativeError:
        packages = os.path.dirname(os.path.dirname(torch.__file__))
        for path in sorted(glob.glob(os.path.join(glob.escape(packages), "nvidia", "*", "lib", name))):
            return _library(path)
        raise


def _library(name: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise NativeError(f"{os.path.basename(name)} can't be loaded ({error})") from error
