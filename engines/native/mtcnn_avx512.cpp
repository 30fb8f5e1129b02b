// MTCNN's networks (mtcnn.h) on CPUs with AVX-512. Built by engines/native/libraries.py, called by mtcnn.py.

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "product.h"

namespace {

constexpr int kColumns = kLanes;  // outputs of a tile
constexpr int kSlack = 16;        // floats after a tensor that the first one's last pixel is written to

using Number = float;

struct Computing {};  // nothing has to be set

struct Tensor {
    int height = 0, width = 0, channels = 0;
    Buffer<float> buffer;
    float* data = nullptr;
    void shape(int height_, int width_, int channels_) {
        height = height_;
        width = width_;
        channels = channels_;
        buffer.grow((size_t)height * width * channels + kSlack);
        data = buffer.data;
    }
};

inline void store(float* to, const Tensor&, __m512 value, __mmask16 mask) { _mm512_mask_storeu_ps(to, mask, value); }

// A convolution with bias, PReLU where `slope` is given, and max pooling (size `pool`, step 2) where that is not 0.
struct Layer {
    int channels, outputs, rows, taps, pool, tiles;
    bool activated;
    Buffer<float> weights;  // [two tiles, the last maybe one][row of the window][tap and channel][outputs of the tiles]
    Buffer<float> bias, slope;

    // weight: (outputs, rows, taps * channels)
    Layer(int channels_, int outputs_, int rows_, int taps_, int pool_, const float* weight, const float* bias_,
          const float* slope_)
        : channels(channels_), outputs(outputs_), rows(rows_), taps(taps_), pool(pool_), activated(slope_ != nullptr) {
        int run = taps * channels;
        tiles = round_up(outputs, kColumns) / kColumns;
        weights = Buffer<float>((size_t)tiles * kColumns * rows * run);
        bias = Buffer<float>(tiles * kColumns);
        slope = Buffer<float>(tiles * kColumns);
        std::memcpy(bias.data, bias_, outputs * sizeof(float));
        if (activated) std::memcpy(slope.data, slope_, outputs * sizeof(float));
        for (int out = 0; out < outputs; out++) {
            int pair = out / (2 * kColumns), wide = std::min(2, tiles - pair * 2) * kColumns;
            float* to = weights.data + (size_t)pair * 2 * kColumns * rows * run + out % (2 * kColumns);
            for (int k = 0; k < rows * run; k++) to[(size_t)k * wide] = weight[(size_t)out * rows * run + k];
        }
    }
};

// Positions [first, last) of the input, counted along its lines: (last - first, tiles * 16) floats.
void convolve(const Layer& layer, const Tensor& in, int first, int last, float* out) {
    int stride = layer.tiles * kColumns, run = layer.taps * layer.channels;
    size_t line = (size_t)in.width * layer.channels;
    for (int start = first; start < last; start += kRows, out += kRows * stride) {
        int count = std::min(kRows, last - start);
        const float* weight = layer.weights.data;
        for (int tile = 0; tile < layer.tiles; tile += 2, weight += (size_t)2 * kColumns * layer.rows * run) {
            auto product = layer.tiles - tile > 1 ? product_of<2>(count) : product_of<1>(count);
            const float* a = in.data + (size_t)start * layer.channels;
            product(a, layer.channels, line, layer.rows, run, weight, out + tile * kColumns, stride);
        }
    }
}

}  // namespace

#include "mtcnn.h"
