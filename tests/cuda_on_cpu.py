"""CUDA kernels on the CPU: the sources of `engines/native/*.cu` as C++, a thread for each of a block's."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import torch

NATIVE = Path(__file__).resolve().parents[1] / "engines" / "native"
COMPILER = shutil.which("g++") or shutil.which("clang++")
_HOST = r"""
#include <barrier>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>
struct Dim { int x, y, z; };
struct float2 { float x, y; };
struct uint4 { unsigned int x, y, z, w; };
thread_local Dim threadIdx;
static Dim blockIdx, gridDim, blockDim;
static std::unique_ptr<std::barrier<>> together;
#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)
static void __syncthreads() { together->arrive_and_wait(); }
static float half(unsigned short bits) { _Float16 value; memcpy(&value, &bits, 2); return (float)value; }
static unsigned short half_bits(float x) {
    _Float16 value = (_Float16)x;
    unsigned short bits;
    memcpy(&bits, &value, 2);
    return bits;
}
static float2 unpacked(unsigned int pair) { return {half(pair & 0xffff), half(pair >> 16)}; }
static unsigned int packed(float a, float b) { return half_bits(a) | (unsigned int)half_bits(b) << 16; }
static float silu(float x) { return x / (1.0f + std::exp(-x)); }
#include SOURCE
template <typename F> static void run(const int* shape, F kernel) {
    gridDim = {shape[0], shape[1], shape[2]}, blockDim = {shape[3], shape[4], shape[5]};
    const int count = blockDim.x * blockDim.y * blockDim.z;
#ifndef TOGETHER
    for (int z = 0; z < gridDim.z; z++)
        for (int y = 0; y < gridDim.y; y++)
            for (int x = 0; x < gridDim.x; x++)
                for (int i = 0; i < count; i++) {
                    blockIdx = {x, y, z}, threadIdx = {i, 0, 0};
                    kernel();
                }
    return;
#endif
    together.reset(new std::barrier<>(count));
    std::vector<std::thread> threads;
    for (int i = 0; i < count; i++)
        threads.emplace_back([&, i] {
            threadIdx = {i % blockDim.x, i / blockDim.x, 0};
            for (int z = 0; z < gridDim.z; z++)
                for (int y = 0; y < gridDim.y; y++)
                    for (int x = 0; x < gridDim.x; x++) {
                        together->arrive_and_wait();
                        if (i == 0) blockIdx = {x, y, z};
                        together->arrive_and_wait();
                        kernel();
                    }
        });
    for (auto& thread : threads) thread.join();
}
"""
_SIGNATURES = {
    "efficientnet": {
        **{
            f"depthwise_{kernel}_{stride}_{activate}": (
                ["const unsigned int*", "const float*", "const float*", "const float*", "unsigned int*", "float*"]
                + ["int"] * 6
            )
            for kernel in (3, 5)
            for stride in (1, 2)
            for activate in (0, 1)
        },
        "finish": ["uint4*", "const float*", "const uint4*", "int", "int", "long long"],
        "scale": ["uint4*", "const uint4*", "int", "int", "long long"],
    },
    "area_pool": {
        "pool": ["const unsigned char*", "const long long*", "const int*", "const int*", "float*", "int", "int"],
    },
}


class HostKernels:
    """As `engines.native.cuda_kernels.CudaKernels`, for tensors in the CPU's memory."""

    def __init__(self, name: str, folder: Path):
        signatures = _SIGNATURES[name]
        lines = [f'#define SOURCE "{NATIVE / name}.cu"', _HOST]
        if "__syncthreads" in (NATIVE / f"{name}.cu").read_text():
            lines.insert(0, "#define TOGETHER  // the threads of a block wait for each other")
        for kernel, types in signatures.items():
            arguments = ", ".join(f"*({kind}*)args[{i}]" for i, kind in enumerate(types))
            lines.append(f'extern "C" void host_{kernel}(const int* shape, void** args)')
            lines.append(f"{{ run(shape, [=] {{ {kernel}({arguments}); }}); }}")
        source, library = folder / f"{name}.cpp", folder / f"{name}.so"
        source.write_text("\n".join(lines))
        command = [COMPILER, "-std=c++20", "-O1", "-w", "-shared", "-fPIC", "-pthread", str(source), "-o", str(library)]
        subprocess.run(command, check=True, timeout=300)
        self._library = ctypes.CDLL(str(library))

    def launch(self, name: str, grid: tuple[int, int, int], block: tuple[int, int, int], *args) -> None:
        values = [
            ctypes.c_void_p(arg.data_ptr())
            if isinstance(arg, torch.Tensor)
            else ctypes.c_void_p()
            if arg is None
            else ctypes.c_int(arg)
            if isinstance(arg, int)
            else arg
            for arg in args
        ]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        getattr(self._library, f"host_{name}")((ctypes.c_int * 6)(*grid, *block), pointers)


class HostGraph:
    """As `engines.gpu.Graph`."""

    def __init__(self, function, stream, pool):
        self._function = function
        self.result = torch.full_like(function(), float("nan"))

    def replay(self):
        with torch.inference_mode():
            self.result.copy_(self._function())
