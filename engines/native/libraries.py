"""Kernels of our own for the CPU, in C++ (`engines/native/`): compiled at their first use, kept in the user's cache.

    library("efficientnet")  ->  ctypes.CDLL

Nothing here is needed: every caller has another engine for where there is no compiler, or where the processor lacks
what the kernels are written for. `why_not` says which it is.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from engines.native.cache import NativeError, cache_folder, finish, is_ours

_SOURCES = Path(__file__).resolve().parent
_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-pthread", "-w")
# features of the processor that are needed, as Linux names them, and the compiler's flags for them
_AVX512 = {
    "avx512f": "-mavx512f",
    "avx512bw": "-mavx512bw",
    "avx512dq": "-mavx512dq",
    "avx512vl": "-mavx512vl",
    "fma": "-mfma",
    "bmi2": "-mbmi2",
}
_AMX = {**_AVX512, "avx512_bf16": "-mavx512bf16", "amx_tile": "-mamx-tile", "amx_bf16": "-mamx-bf16"}
FOR_AMX, FOR_AVX512 = ("efficientnet", "mtcnn"), ("halve", "mtcnn_avx512", "winograd")
_NEEDS = {**dict.fromkeys(FOR_AMX, _AMX), **dict.fromkeys(FOR_AVX512, _AVX512)}
_COMPILE_SECONDS = 300


class NativeObject:
    """An object of a library, made by its `<kind>_new` and deleted with this one. Raises NativeError, MemoryError."""

    def __init__(self, name: str, kind: str, *args: int):
        self._library, self._kind = library(name), kind
        make = self._function("new")
        make.restype = ctypes.c_void_p
        self._pointer = ctypes.c_void_p(make(*args))
        if not self._pointer:
            raise MemoryError(name)

    def call(self, method: str, *args) -> None:
        """Call `<kind>_<method>`, which returns 0 unless memory ran out. It lets other threads run meanwhile."""
        if self._function(method)(self._pointer, *args):
            raise MemoryError(f"{self._kind}_{method}")

    def _function(self, method: str):
        return getattr(self._library, f"{self._kind}_{method}")

    def __del__(self):
        if getattr(self, "_pointer", None):
            self._function("delete")(self._pointer)


@functools.cache
def why_not(*names: str) -> str | None:
    """Why these libraries, by default those for AMX, can't be used here; None where they can (they are then compiled
    and loaded)."""
    try:
        for name in names or FOR_AMX:
            library(name)
    except NativeError as error:
        return str(error)
    return None


def library(name: str) -> ctypes.CDLL:
    """The library made of `native/<name>.cpp`. Raises NativeError."""
    loaded = _load(name)
    if isinstance(loaded, NativeError):
        raise loaded
    return loaded


@functools.cache
def _load(name: str) -> ctypes.CDLL | NativeError:
    try:
        missing = sorted(_NEEDS[name].keys() - _processor_features())
        if missing:
            raise NativeError(f"the processor lacks {', '.join(missing)}")
        path, is_new = _compiled(name)
        try:
            loaded = _open(path)
        except NativeError:
            if is_new:
                raise
            loaded = _open(_compiled(name, anew=True)[0])  # another machine with the same home directory made it
        if name in FOR_AMX and loaded.amx_request() != 0:
            raise NativeError("the system does not permit AMX")
    except NativeError as error:
        return error
    return loaded


def processor_has(feature: str) -> bool:
    """Whether it has a feature, by Linux's name for it."""
    return feature in _processor_features()


def _processor_features() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


def _open(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeError(f"what was compiled can't be loaded ({error})") from error


def _compiled(name: str, anew: bool = False) -> tuple[Path, bool]:
    """The library's file, whose name tells of what source and flags it was made, and whether it was made now."""
    source = _SOURCES / f"{name}.cpp"
    flags = (*_FLAGS, *_NEEDS[name].values())
    content = b"".join(path.read_bytes() for path in (source, *sorted(_SOURCES.glob("*.h"))))
    digest = hashlib.sha256(" ".join(flags).encode() + content).hexdigest()[:16]
    cache = cache_folder()
    path = cache / f"{name}-{digest}.so"
    if not anew and is_ours(path):
        return path, False
    compiler = os.environ.get("CXX") or next(filter(shutil.which, _COMPILERS), None)
    if compiler is None:
        raise NativeError("there is no C++ compiler; install g++, or name one in CXX")
    try:
        with tempfile.TemporaryDirectory(prefix=".", dir=cache) as folder:
            made = Path(folder, path.name)
            _compile([*compiler.split(), *flags, str(source), "-o", str(made)])
            finish(made)
            os.replace(made, path)
    except OSError as error:
        raise NativeError(f"{cache} can't be written ({error.strerror or error}); set XDG_CACHE_HOME") from error
    return path, True


def _compile(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_COMPILE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeError(f"{command[0]} can't be run ({error})") from error
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
        raise NativeError(f"{command[0]} failed ({first}); g++ 11 and clang++ 12 are the oldest that know AMX")
