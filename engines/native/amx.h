// What the kernels share: memory, bf16, tiles.
//
// A number is one bf16 or the sum of three (planes): then it is a float, and six products of planes make a product of
// floats (Henry, Tang, Heinecke: Leveraging the bfloat16 artificial intelligence datatype for higher-precision
// computations, ARITH 2019).

#pragma once

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "buffer.h"

namespace {

constexpr int kTile = 512;  // bf16 numbers of a tile: 16 rows of 64 bytes

using bf16 = uint16_t;

inline __m512 to_float(__m256i value) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(value), 16));
}

inline __m256i to_bf16(__m512 value) { return (__m256i)_mm512_cvtneps_pbh(value); }

inline float to_float(bf16 value) { return _mm512_cvtss_f32(to_float(_mm256_set1_epi16(value))); }

inline bf16 to_bf16(float value) { return (bf16)_mm256_extract_epi16(to_bf16(_mm512_set1_ps(value)), 0); }

struct alignas(64) TileConfig {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

struct Tiles {  // the calling thread's, while this lives; denormal numbers are 0: exponentials give many, and each takes
                // a hundred cycles
    unsigned status = _mm_getcsr();
    Tiles() {
        TileConfig config;
        asm volatile("" : : "r"(&config) : "memory");  // GCC thinks that 8 bytes of it are read, and may leave out the rest
        _tile_loadconfig(&config);
        _mm_setcsr(status | 0x8040);
    }
    ~Tiles() {
        _mm_setcsr(status);
        _tile_release();
    }
};

}  // namespace

// Asks the kernel for AMX, once in a process: 0 where it is granted.
extern "C" int amx_request() {
    constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return (int)syscall(SYS_arch_prctl, kRequest, kTileData);
}
