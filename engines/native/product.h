// A product of matrices of floats, in registers.

#pragma once

#include <immintrin.h>

#include "buffer.h"

namespace {

constexpr int kLanes = 16;  // floats of a register
constexpr int kRows = 14;   // of the product that is summed in registers, of two registers each

// C (rows, NR registers) = the sum over `taps` of A (rows, depth) by B (depth, NR registers); a tap's rows of A lie
// `tap_step` after those of the one before, its part of B right after.
template <int MR, int NR>
void product(const float* a, size_t row, size_t tap_step, int taps, int depth, const float* b, float* c, size_t out_row) {
    __m512 sum[MR][NR];
    for (int r = 0; r < MR; r++)
        for (int n = 0; n < NR; n++) sum[r][n] = _mm512_setzero_ps();
    for (int tap = 0; tap < taps; tap++, a += tap_step) {
        for (int k = 0; k < depth; k++, b += NR * kLanes) {
            __m512 panel[NR];
            for (int n = 0; n < NR; n++) panel[n] = _mm512_load_ps(b + n * kLanes);
            for (int r = 0; r < MR; r++) {
                __m512 value = _mm512_set1_ps(a[r * row + k]);
                for (int n = 0; n < NR; n++) sum[r][n] = _mm512_fmadd_ps(value, panel[n], sum[r][n]);
            }
        }
    }
    for (int r = 0; r < MR; r++)
        for (int n = 0; n < NR; n++) _mm512_store_ps(c + r * out_row + n * kLanes, sum[r][n]);
}

using Product = void (*)(const float*, size_t, size_t, int, int, const float*, float*, size_t);

template <int NR>
Product product_of(int rows) {
    static const Product all[] = {nullptr,         product<1, NR>,  product<2, NR>,  product<3, NR>,  product<4, NR>,
                                  product<5, NR>,  product<6, NR>,  product<7, NR>,  product<8, NR>,  product<9, NR>,
                                  product<10, NR>, product<11, NR>, product<12, NR>, product<13, NR>, product<14, NR>};
    return all[rows];
}

}  // namespace
