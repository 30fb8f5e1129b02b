// MTCNN's networks (mtcnn.h) on CPUs with AMX and AVX512-bf16. Built by engines/native/libraries.py, called by mtcnn.py.
//
// A number is three bf16 parts (amx.h): a tensor lies as [planes][height * width][channels]. 16 windows side by side are
// a tile that overlaps itself.

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "amx.h"

namespace {

constexpr int P = 3;          // planes: fp32
constexpr int kColumns = 16;  // outputs of a tile
constexpr int kSlack = 64;    // numbers after a tensor that a tile may read

using Number = bf16;
using Computing = Tiles;

struct Tensor {
    int height = 0, width = 0, channels = 0;
    size_t plane = 0;
    Buffer<bf16> buffer;
    bf16* data = nullptr;
    void shape(int height_, int width_, int channels_) {
        height = height_;
        width = width_;
        channels = channels_;
        plane = (size_t)round_up(height * width, 32) * channels + 32 * channels + kSlack;
        buffer.grow(plane * P);
        data = buffer.data;
    }
};

// 16 numbers, of which those of the mask go to each plane
inline void store(bf16* to, const Tensor& tensor, __m512 value, __mmask16 mask) {
    for (int p = 0; p < P; p++) {
        __m256i rounded = to_bf16(value);
        _mm256_mask_storeu_epi16(to + p * tensor.plane, mask, rounded);
        if (p + 1 < P) value = _mm512_sub_ps(value, to_float(rounded));
    }
}

// A convolution with bias, PReLU where `slope` is given, and max pooling (size `pool`, step 2) where that is not 0.
struct Layer {
    int channels, outputs, rows, taps, pool, steps, tiles;
    bool activated;
    Buffer<bf16> weights;  // [row of the window][step][plane][tile]
    Buffer<float> bias, slope;

    // weight: (outputs, rows, taps * channels)
    Layer(int channels_, int outputs_, int rows_, int taps_, int pool_, const float* weight, const float* bias_,
          const float* slope_)
        : channels(channels_), outputs(outputs_), rows(rows_), taps(taps_), pool(pool_), activated(slope_ != nullptr) {
        int run = taps * channels;
        steps = round_up(run, 32) / 32;
        tiles = round_up(outputs, kColumns) / kColumns;
        weights = Buffer<bf16>((size_t)rows * steps * P * tiles * kTile);
        bias = Buffer<float>(tiles * kColumns);
        slope = Buffer<float>(tiles * kColumns);
        std::memcpy(bias.data, bias_, outputs * sizeof(float));
        if (activated) std::memcpy(slope.data, slope_, outputs * sizeof(float));
        for (int out = 0; out < outputs; out++) {
            for (int row = 0; row < rows; row++) {
                for (int k = 0; k < run; k++) {
                    size_t first = ((size_t)row * steps + k / 32) * P * tiles + out / kColumns;
                    size_t at = k % 32 / 2 * 32 + out % kColumns * 2 + k % 2;
                    float rest = weight[((size_t)out * rows + row) * run + k];
                    for (int p = 0; p < P; p++) {
                        bf16& part = weights.data[(first + (size_t)p * tiles) * kTile + at];
                        part = to_bf16(rest);
                        rest -= to_float(part);
                    }
                }
            }
        }
    }
};

template <bool two_rows, bool two_columns>
inline void multiply() {  // tiles 4 and 5 (positions) by 6 and 7 (outputs)
    _tile_dpbf16ps(0, 4, 6);
    if (two_columns) _tile_dpbf16ps(1, 4, 7);
    if (two_rows) _tile_dpbf16ps(2, 5, 6);
    if (two_rows && two_columns) _tile_dpbf16ps(3, 5, 7);
}

// 16 or 32 positions from `a` on, 16 or 32 outputs from `tile` on, to c (positions, `stride` numbers apart)
template <bool two_rows, bool two_columns>
inline void product(const Layer& layer, const bf16* a, size_t plane, int line, int tile, float* c, int stride) {
    int row_bytes = layer.channels * sizeof(bf16);
    const bf16* b = layer.weights.data + tile * kTile;
    size_t b_plane = (size_t)layer.tiles * kTile;
    auto load_a = [&](const bf16* from, int p) {
        _tile_loadd(4, from + p * plane, row_bytes);
        if (two_rows) _tile_loadd(5, from + p * plane + 16 * layer.channels, row_bytes);
    };
    auto load_b = [&](int p) {
        _tile_loadd(6, b + p * b_plane, 64);
        if (two_columns) _tile_loadd(7, b + p * b_plane + kTile, 64);
    };
    _tile_zero(0);
    if (two_columns) _tile_zero(1);
    if (two_rows) _tile_zero(2);
    if (two_rows && two_columns) _tile_zero(3);
    for (int row = 0; row < layer.rows; row++) {
        const bf16* from = a + (size_t)row * line * layer.channels;
        for (int step = 0; step < layer.steps; step++, from += 32, b += P * b_plane) {
            load_a(from, 0);
            load_b(0);
            multiply<two_rows, two_columns>();
            load_b(1);
            multiply<two_rows, two_columns>();
            load_b(2);
            multiply<two_rows, two_columns>();
            load_a(from, 1);
            load_b(1);
            multiply<two_rows, two_columns>();
            load_b(0);
            multiply<two_rows, two_columns>();
            load_a(from, 2);
            multiply<two_rows, two_columns>();
        }
    }
    _tile_stored(0, c, stride * 4);
    if (two_columns) _tile_stored(1, c + kColumns, stride * 4);
    if (two_rows) _tile_stored(2, c + 16 * stride, stride * 4);
    if (two_rows && two_columns) _tile_stored(3, c + 16 * stride + kColumns, stride * 4);
}

// Positions [first, last) of the input, counted along its lines: (last - first, tiles * 16) floats, rounded up to 32.
void convolve(const Layer& layer, const Tensor& in, int first, int last, float* out) {
    int stride = layer.tiles * kColumns;
    for (int start = first; start < last; start += 32, out += 32 * stride) {
        const bf16* a = in.data + (size_t)start * layer.channels;
        bool two_rows = last - start > 16;
        for (int tile = 0; tile < layer.tiles; tile += 2) {
            bool two_columns = tile + 1 < layer.tiles;
            auto run = two_rows ? (two_columns ? product<true, true> : product<true, false>)
                                : (two_columns ? product<false, true> : product<false, false>);
            run(layer, a, in.plane, in.width, tile, out + tile * kColumns, stride);
        }
    }
}

}  // namespace

#include "mtcnn.h"
