// EfficientNet's encoder on CPUs with AMX and AVX512-bf16: normalised images in, the last feature map out.
//
// Built by runtime/native_engine.py, called by inference/native_encoder.py. What makes it fast: the expanding
// convolution, its SiLU and the depthwise convolution go over a strip of 32 channels that stays in the cache, where engines
// that work layer by layer write and read it all; SiLU costs a third of what division and a long exponential cost.
//
// Activations lie as [channels / 32][images * height * width][planes][32] bf16, in one plane (bf16) or three (fp32).

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "amx.h"

namespace {

constexpr int kChannels = 32;                // of a strip, and inputs of a step of a matrix product
constexpr int kRows = 32;                    // pixels of a step: two tiles
constexpr size_t kScratchBytes = 400 << 10;  // of the strip between expansion and depthwise: in the L2 cache
constexpr int kProductPixels = 288;          // of a projection at a time

// ---- numbers -------------------------------------------------------------------------------------------------------

// 16 numbers of a pixel; a plane is 32 numbers wide
template <int P>
inline __m512 load(const bf16* from) {
    __m512 value = to_float(_mm256_loadu_si256((const __m256i*)(from + (P - 1) * kChannels)));
    for (int plane = P - 2; plane >= 0; plane--) {  // the smallest first
        value = _mm512_add_ps(value, to_float(_mm256_loadu_si256((const __m256i*)(from + plane * kChannels))));
    }
    return value;
}

template <int P>
inline void store(bf16* to, __m512 value, int step = kChannels) {
    for (int plane = 0; plane < P; plane++) {
        __m256i rounded = to_bf16(value);
        _mm256_storeu_si256((__m256i*)(to + plane * step), rounded);
        if (plane + 1 < P) value = _mm512_sub_ps(value, to_float(rounded));
    }
}

constexpr float kLog2e = 1.44269504f, kLog2eRest = 1.925963e-08f;  // what a float can't hold of it

inline __m512 constant(float value) { return _mm512_set1_ps(value); }

// 1 / (1 + 2^t): relative error 1e-4 for one plane, 2e-7 for three
template <int P>
inline __m512 inverse_power(__m512 t) {
    if (P > 1) t = _mm512_min_ps(constant(126.f), t);  // the step of Newton's below knows no infinity; lets NaN through
    __m512 f = _mm512_reduce_ps(t, 1);                 // t - floor(t)
    __m512 p;
    if (P == 1) {
        p = constant(7.802438225e-02f);
        p = _mm512_fmadd_ps(p, f, constant(2.260673552e-01f));
        p = _mm512_fmadd_ps(p, f, constant(6.958334719e-01f));
        p = _mm512_fmadd_ps(p, f, constant(9.999252218e-01f));
    } else {
        p = constant(1.877575067e-03f);
        p = _mm512_fmadd_ps(p, f, constant(8.989343982e-03f));
        p = _mm512_fmadd_ps(p, f, constant(5.582631479e-02f));
        p = _mm512_fmadd_ps(p, f, constant(2.401536181e-01f));
        p = _mm512_fmadd_ps(p, f, constant(6.931530731e-01f));
        p = _mm512_fmadd_ps(p, f, constant(9.999999251e-01f));
    }
    __m512 d = _mm512_add_ps(_mm512_scalef_ps(p, t), constant(1.f));
    __m512 r = _mm512_rcp14_ps(d);
    if (P > 1) r = _mm512_mul_ps(r, _mm512_fnmadd_ps(d, r, constant(2.f)));
    return r;
}

template <int P>
inline __m512 sigmoid(__m512 x) {
    __m512 t = _mm512_mul_ps(x, constant(P == 1 ? -kLog2e : -kLog2eRest));
    if (P > 1) t = _mm512_fmadd_ps(x, constant(-kLog2e), t);
    return inverse_power<P>(t);
}

template <int P>
inline __m512 silu(__m512 x) {
    return _mm512_mul_ps(x, sigmoid<P>(x));
}

// In one plane, what SiLU is taken of inside a block comes multiplied by this, and SiLU's result too: a multiplication less.
template <int P>
constexpr float kScale = P == 1 ? -kLog2e : 1.f;

template <int P>
inline __m512 scaled_silu(__m512 scaled) {
    return P == 1 ? _mm512_mul_ps(scaled, inverse_power<P>(scaled)) : silu<P>(scaled);
}

// ---- matrix products -----------------------------------------------------------------------------------------------

template <bool both>
inline void multiply() {  // tiles 4 and 5 (pixels) by 6 and 7 (outputs)
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (both) {
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
}

// c (32 rows, 32 columns) = a (32 pixels, or 16 where not `both`) by b, added to c where `adds`. `a_step` is from one 32
// input channels to the next, in numbers. Per step b holds [planes][2 tiles of 16 outputs].
template <int P, bool both, bool adds = false>
inline void product(const bf16* a, size_t a_step, const bf16* b, int steps, float* c) {
    constexpr int row = P * 64;  // bytes from one pixel to the next
    auto load_a = [&](int plane) {
        _tile_loadd(4, a + plane * kChannels, row);
        if (both) _tile_loadd(5, a + plane * kChannels + 16 * P * kChannels, row);
    };
    auto load_b = [&](int plane) {
        _tile_loadd(6, b + plane * 2 * kTile, 64);
        _tile_loadd(7, b + plane * 2 * kTile + kTile, 64);
    };
    if (adds) {
        _tile_loadd(0, c, 128);
        _tile_loadd(1, c + 16, 128);
        if (both) {
            _tile_loadd(2, c + 16 * kChannels, 128);
            _tile_loadd(3, c + 16 * kChannels + 16, 128);
        }
    } else {
        _tile_zero(0);
        _tile_zero(1);
        if (both) {
            _tile_zero(2);
            _tile_zero(3);
        }
    }
    for (int step = 0; step < steps; step++, a += a_step, b += 2 * P * kTile) {
        load_a(0);
        load_b(0);
        multiply<both>();
        if (P == 3) {
            load_b(1);
            multiply<both>();
            load_b(2);
            multiply<both>();
            load_a(1);
            load_b(1);
            multiply<both>();
            load_b(0);
            multiply<both>();
            load_a(2);
            multiply<both>();
        }
    }
    _tile_stored(0, c, 128);
    _tile_stored(1, c + 16, 128);
    if (both) {
        _tile_stored(2, c + 16 * kChannels, 128);
        _tile_stored(3, c + 16 * kChannels + 16, 128);
    }
}

// Pixels [first, last) of `a` by one strip of b; `done(pixel, c_row)` for each pixel.
template <int P, class Done>
inline void product_rows(const bf16* a, size_t a_step, int first, int last, const bf16* b, int steps, Done done) {
    alignas(64) float c[kRows * kChannels];
    for (int start = first; start < last; start += kRows) {
        int count = std::min(kRows, last - start);
        const bf16* from = a + (size_t)start * P * kChannels;
        count > 16 ? product<P, true>(from, a_step, b, steps, c) : product<P, false>(from, a_step, b, steps, c);
        for (int i = 0; i < count; i++) done(start + i, c + i * kChannels);
    }
}

// A 1x1 convolution's weights (outputs, inputs) as `product` wants them, strip by strip of 32 outputs.
struct Matrix {
    int inputs, outputs, steps, strips;
    Buffer<bf16> packed;
    Buffer<float> whole;  // [strip][step][2 tiles][16 pairs of inputs][16 outputs][2], where a gate is to scale it
    Buffer<float> bias;

    __m512 bias_of(int strip, int half) const { return _mm512_load_ps(bias.data + strip * kChannels + half * 16); }

    template <int P>
    const bf16* packed_strip(int strip) const {
        return packed.data + (size_t)strip * steps * 2 * P * kTile;
    }

    template <int P>
    void fill(const float* weight, const float* bias_, int inputs_, int outputs_, bool scaled, float factor = 1) {
        inputs = inputs_;
        outputs = outputs_;
        steps = round_up(inputs, kChannels) / kChannels;
        strips = round_up(outputs, kChannels) / kChannels;
        bias = Buffer<float>(strips * kChannels);
        for (int out = 0; out < outputs; out++) bias.data[out] = bias_[out] * factor;
        size_t tiles = (size_t)strips * steps * 2;
        whole = Buffer<float>(tiles * kTile);
        for (int out = 0; out < outputs; out++) {
            for (int in = 0; in < inputs; in++) {
                size_t tile = ((size_t)(out / 32) * steps + in / 32) * 2 + out % 32 / 16;
                float value = weight[(size_t)out * inputs + in] * factor;
                whole.data[tile * kTile + in % 32 / 2 * 32 + out % 16 * 2 + in % 2] = value;
            }
        }
        if (!scaled) {
            packed = Buffer<bf16>(tiles * P * kTile);
            pack<P>(nullptr, packed.data);
            whole = Buffer<float>();
        }
    }

    // into [strip][step][planes][2 tiles]; each input's weights times its gate
    template <int P>
    void pack(const float* gate, bf16* to) const {
        const float* from = whole.data;
        for (int strip = 0; strip < strips; strip++) {
            for (int step = 0; step < steps; step++) {
                for (int tile = 0; tile < 2; tile++, from += kTile) {
                    bf16* high = to + (((size_t)strip * steps + step) * P * 2 + tile) * kTile;
                    for (int i = 0; i < kTile; i += 16) {
                        __m512 value = _mm512_load_ps(from + i);
                        if (gate) {
                            double pair;
                            std::memcpy(&pair, gate + step * 32 + i / 32 * 2, sizeof pair);
                            value = _mm512_mul_ps(value, _mm512_castpd_ps(_mm512_set1_pd(pair)));
                        }
                        store<P>(high + i, value, 2 * kTile);
                    }
                }
            }
        }
    }
};

// ---- depthwise convolution -----------------------------------------------------------------------------------------

// N outputs side by side, 16 channels: `in` is the window's first row at the first output; 32 numbers a pixel.
template <int P, int K, int S, int N>
inline __m512 depthwise_outputs(const float* in, size_t row, const float* weight, __m512 bias, bf16* out) {
    __m512 acc[N];
#pragma GCC unroll 16
    for (int n = 0; n < N; n++) acc[n] = bias;
#pragma GCC unroll 8
    for (int y = 0; y < K; y++) {
        __m512 w[K];
#pragma GCC unroll 8
        for (int x = 0; x < K; x++) w[x] = _mm512_load_ps(weight + (y * K + x) * 16);
#pragma GCC unroll 32
        for (int j = 0; j < (N - 1) * S + K; j++) {
            __m512 value = _mm512_load_ps(in + y * row + j * kChannels);
#pragma GCC unroll 16
            for (int n = 0; n < N; n++) {
                int x = j - n * S;
                if (x >= 0 && x < K) acc[n] = _mm512_fmadd_ps(value, w[x], acc[n]);
            }
        }
    }
    __m512 sum = _mm512_setzero_ps();
#pragma GCC unroll 16
    for (int n = 0; n < N; n++) {
        __m512 value = scaled_silu<P>(acc[n]);
        sum = _mm512_add_ps(sum, value);
        store<P>(out + n * P * kChannels, value);
    }
    return sum;
}

// A strip of 32 channels. `weight` is [2][K * K][16]; `sums` takes what the outputs add up to.
template <int P, int K, int S>
void depthwise(const float* in, size_t row, int height, int width, const float* weight, const float* bias, bf16* out,
               float* sums) {
    for (int half = 0; half < 2; half++) {
        __m512 b = _mm512_load_ps(bias + half * 16), sum = _mm512_loadu_ps(sums + half * 16);
        const float* w = weight + half * K * K * 16;
        for (int y = 0; y < height; y++) {
            const float* from = in + (size_t)y * S * row + half * 16;
            bf16* to = out + (size_t)y * width * P * kChannels + half * 16;
            int x = 0;
            auto next = [&](auto n) {
                constexpr int N = decltype(n)::value;
                for (; x + N <= width; x += N) {
                    const float* corner = from + x * S * kChannels;
                    sum = _mm512_add_ps(sum, depthwise_outputs<P, K, S, N>(corner, row, w, b, to + x * P * kChannels));
                }
            };
            next(std::integral_constant<int, 8>());
            next(std::integral_constant<int, 4>());
            next(std::integral_constant<int, 1>());
        }
        _mm512_storeu_ps(sums + half * 16, sum);
    }
}

// ---- the network ---------------------------------------------------------------------------------------------------

struct Block {
    int in, mid, out, kernel, stride, reduced;  // channels, but for kernel and stride
    bool expands, skips, scales_weights;
    int size, out_size, pad;
    Matrix expand, project;
    Buffer<float> depthwise_weight, depthwise_bias;  // [strip][2][kernel * kernel][16], [mid]
    Buffer<float> reduce_weight, reduce_bias;        // [reduced][mid]
    Buffer<float> gate_weight, gate_bias;            // [reduced][mid], [mid]
    int strips() const { return round_up(mid, kChannels) / kChannels; }
};

struct Workspace {
    Buffer<bf16> input, output, middle, scaled, stem_rows;
    Buffer<float> scratch, sums, gates, padded, products;
    Buffer<int> offsets;
};

// TensorFlow's "SAME": what is missing goes before and after, the odd one after
int same_padding(int size, int kernel, int stride, int out) {
    return std::max((out - 1) * stride + kernel - size, 0) / 2;
}

size_t activation_size(int images, int size, int channels, int planes) {
    return (size_t)round_up(channels, kChannels) * ((size_t)images * size * size + kRows) * planes;
}

// numbers from one strip of 32 channels to the next
size_t plane_step(int images, int size, int planes) {
    return ((size_t)images * size * size + kRows) * planes * kChannels;
}

template <int P>
class Network {
  public:
    explicit Network(int size) : size_(size), current_(size) {}

    void add_stem(int out, const float* weight, const float* bias) {
        stem_size_ = (size_ + 1) / 2;
        current_ = stem_size_;
        std::vector<float> by_place((size_t)out * 27);  // (out, 3, 3, 3) of channel, y, x to y, x, channel
        for (int o = 0; o < out; o++) {
            for (int i = 0; i < 27; i++) by_place[o * 27 + i % 9 * 3 + i / 9] = weight[o * 27 + i];
        }
        stem_.template fill<P>(by_place.data(), bias, 27, out, false);
    }

    void add_block(const int* shape, const float* const* parts) {
        Block block;
        block.in = shape[0];
        block.mid = shape[1];
        block.out = shape[2];
        block.kernel = shape[3];
        block.stride = shape[4];
        block.reduced = shape[5];
        block.expands = shape[6];
        block.skips = shape[7];
        block.size = current_;
        block.out_size = (current_ + block.stride - 1) / block.stride;
        block.pad = same_padding(block.size, block.kernel, block.stride, block.out_size);
        block.scales_weights = round_up(block.out, kChannels) < block.out_size * block.out_size;
        if (block.expands) block.expand.template fill<P>(parts[0], parts[1], block.in, block.mid, false, kScale<P>);
        int taps = block.kernel * block.kernel, mid = block.strips() * kChannels;
        block.depthwise_weight = Buffer<float>((size_t)mid * taps);
        block.depthwise_bias = padded(parts[3], block.mid, kScale<P>);
        float factor = block.expands ? 1 : kScale<P>;  // what is expanded comes multiplied
        for (int c = 0; c < block.mid; c++) {
            for (int tap = 0; tap < taps; tap++) {
                float value = parts[2][c * taps + tap] * factor;
                block.depthwise_weight.data[((size_t)(c / 16) * taps + tap) * 16 + c % 16] = value;
            }
        }
        block.reduce_weight = Buffer<float>((size_t)mid * block.reduced);
        block.gate_weight = Buffer<float>((size_t)mid * block.reduced);
        for (int r = 0; r < block.reduced; r++) {
            for (int c = 0; c < block.mid; c++) {
                block.reduce_weight.data[(size_t)r * mid + c] = parts[4][(size_t)r * block.mid + c];
                block.gate_weight.data[(size_t)r * mid + c] = parts[6][(size_t)c * block.reduced + r];
            }
        }
        block.reduce_bias = padded(parts[5], block.reduced);
        block.gate_bias = padded(parts[7], block.mid);
        block.project.template fill<P>(parts[8], parts[9], block.mid, block.out, block.scales_weights);
        current_ = block.out_size;
        blocks_.push_back(std::move(block));
    }

    void add_head(int in, int out, const float* weight, const float* bias) {
        head_.template fill<P>(weight, bias, in, out, false);
    }

    // images (n, size, size, 3) to features (n, height, width, channels)
    void run(int images, const float* pixels, float* features) {
        std::unique_ptr<Workspace> space = take_workspace(images);
        {
            Tiles tiles;
            stem(images, pixels, *space);
            for (const Block& block : blocks_) {
                depthwise_part(block, images, *space);
                gates(block, images, *space);
                project(block, images, *space);
                std::swap(space->input, space->output);
            }
            head(images, *space, features);
        }
        std::lock_guard<std::mutex> lock(mutex_);
        workspaces_.push_back(std::move(space));
    }

  private:
    static constexpr int kProductSteps = P == 1 ? 16 : 8;

    int size_, stem_size_ = 0, current_;
    Matrix stem_, head_;
    std::vector<Block> blocks_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Workspace>> workspaces_;

    static Buffer<float> padded(const float* values, int count, float factor = 1) {
        Buffer<float> result(round_up(count, kChannels));
        for (int i = 0; i < count; i++) result.data[i] = values[i] * factor;
        return result;
    }

    std::unique_ptr<Workspace> take_workspace(int images) {
        std::unique_ptr<Workspace> space;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            if (!workspaces_.empty()) {
                space = std::move(workspaces_.back());
                workspaces_.pop_back();
            }
        }
        if (!space) space = std::make_unique<Workspace>();
        size_t ends = activation_size(images, stem_size_, stem_.outputs, P), middle = 0, scaled = 0;
        int mid = 0;
        for (const Block& block : blocks_) {
            ends = std::max(ends, activation_size(images, block.out_size, block.out, P));
            middle = std::max(middle, activation_size(images, block.out_size, block.mid, P));
            if (block.scales_weights) scaled = std::max(scaled, block.project.whole.size * P);
            mid = std::max(mid, block.strips() * kChannels);
        }
        space->input.grow(ends);
        space->output.grow(ends);
        space->middle.grow(middle);
        space->scaled.grow(scaled);
        space->sums.grow((size_t)images * mid);
        space->gates.grow((size_t)images * mid);
        return space;
    }

    void stem(int images, const float* pixels, Workspace& space) {
        int out = stem_size_, pad = same_padding(size_, 3, 2, out), row = (size_ + 4) * 3;
        space.padded.grow((size_t)row * 3 + 16);
        space.stem_rows.grow((size_t)round_up(out, kRows) * P * kChannels);
        size_t step = plane_step(images, out, P);
        for (int image = 0; image < images; image++) {
            for (int y = 0; y < out; y++) {
                for (int k = 0; k < 3; k++) {
                    int from = 2 * y - pad + k;
                    float* to = space.padded.data + k * row;
                    std::memset(to, 0, row * sizeof(float));
                    if (from < 0 || from >= size_) continue;
                    const float* line = pixels + ((size_t)image * size_ + from) * size_ * 3;
                    std::memcpy(to + pad * 3, line, size_ * 3 * sizeof(float));
                }
                for (int x = 0; x < out; x++) {
                    alignas(64) float window[32] = {};
                    for (int k = 0; k < 3; k++) {
                        std::memcpy(window + k * 9, space.padded.data + k * row + x * 6, 9 * sizeof(float));
                    }
                    bf16* to = space.stem_rows.data + x * P * kChannels;
                    store<P>(to, _mm512_load_ps(window));
                    store<P>(to + 16, _mm512_load_ps(window + 16));
                }
                bf16* line = space.input.data + ((size_t)image * out + y) * out * P * kChannels;
                for (int strip = 0; strip < stem_.strips; strip++) {
                    activate(space.stem_rows.data, 0, 0, out, stem_, strip, line + strip * step);
                }
            }
        }
    }

    // bias and SiLU of a strip of a 1x1 convolution, to bf16
    void activate(const bf16* a, size_t a_step, int first, int last, const Matrix& matrix, int strip, bf16* to) {
        const bf16* b = matrix.template packed_strip<P>(strip);
        __m512 bias0 = matrix.bias_of(strip, 0), bias1 = matrix.bias_of(strip, 1);
        product_rows<P>(a, a_step, first, last, b, matrix.steps, [&](int pixel, const float* c) {
            bf16* at = to + (size_t)pixel * P * kChannels;
            store<P>(at, silu<P>(_mm512_add_ps(_mm512_load_ps(c), bias0)));
            store<P>(at + 16, silu<P>(_mm512_add_ps(_mm512_load_ps(c + 16), bias1)));
        });
    }

    // expansion and depthwise convolution: space.input to space.middle, with sums over the pixels
    void depthwise_part(const Block& block, int images, Workspace& space) {
        int k = block.kernel, s = block.stride, size = block.size, out = block.out_size;
        int width = (out - 1) * s + k;  // of the padded strip
        width = std::max(width, size + block.pad);
        int most = (int)(kScratchBytes / (sizeof(float) * kChannels * width));
        int height = std::max(1, std::min(out, (most - k) / s + 1));  // in rows of output
        int pieces = (out + height - 1) / height;
        height = (out + pieces - 1) / pieces;
        space.scratch.grow((size_t)((height - 1) * s + k) * width * kChannels);
        space.offsets.grow((size_t)((height - 1) * s + k) * size);
        int strips = block.strips();
        std::memset(space.sums.data, 0, sizeof(float) * images * strips * kChannels);

        struct Piece {
            int first, last, row0, pixel0, pixels;
        };
        auto piece_of = [&](int number) {
            Piece piece;
            piece.first = number * height;
            piece.last = std::min(out, piece.first + height);
            piece.row0 = piece.first * s - block.pad;  // of the input, for the first row of the scratch
            int begin = std::max(0, piece.row0), end = std::min(size, (piece.last - 1) * s - block.pad + k);
            piece.pixel0 = begin * size;
            piece.pixels = (end - begin) * size;
            return piece;
        };
        auto prepare = [&](const Piece& piece) {
            int rows = (piece.last - piece.first - 1) * s + k;
            std::memset(space.scratch.data, 0, sizeof(float) * rows * width * kChannels);
            for (int i = 0; i < piece.pixels; i++) {
                int y = (piece.pixel0 + i) / size - piece.row0, x = (piece.pixel0 + i) % size + block.pad;
                space.offsets.data[i] = (y * width + x) * kChannels;
            }
        };
        auto work = [&](const Piece& piece, int image, int strip) {
            expand(block, images, image, strip, piece.pixel0, piece.pixels, space);
            bf16* to = space.middle.data + strip * plane_step(images, out, P) +
                       ((size_t)image * out + piece.first) * out * P * kChannels;
            float* sums = space.sums.data + ((size_t)image * strips + strip) * kChannels;
            const float* weight = block.depthwise_weight.data + (size_t)strip * kChannels * k * k;
            const float* bias = block.depthwise_bias.data + strip * kChannels;
            auto run = k == 3 ? (s == 1 ? depthwise<P, 3, 1> : depthwise<P, 3, 2>)
                              : (s == 1 ? depthwise<P, 5, 1> : depthwise<P, 5, 2>);
            run(space.scratch.data, (size_t)width * kChannels, piece.last - piece.first, out, weight, bias, to, sums);
        };
        if (pieces == 1) {  // a strip's weights serve all images
            Piece piece = piece_of(0);
            prepare(piece);
            for (int strip = 0; strip < strips; strip++) {
                for (int image = 0; image < images; image++) work(piece, image, strip);
            }
            return;
        }
        for (int number = 0; number < pieces; number++) {
            Piece piece = piece_of(number);
            prepare(piece);
            for (int image = 0; image < images; image++) {
                for (int strip = 0; strip < strips; strip++) work(piece, image, strip);
            }
        }
    }

    void expand(const Block& block, int images, int image, int strip, int first, int count, Workspace& space) {
        size_t step = plane_step(images, block.size, P);
        const bf16* from = space.input.data + ((size_t)image * block.size * block.size + first) * P * kChannels;
        float* scratch = space.scratch.data;
        const int* offsets = space.offsets.data;
        if (!block.expands) {
            from += strip * step;
            for (int i = 0; i < count; i++, from += P * kChannels) {
                _mm512_store_ps(scratch + offsets[i], load<P>(from));
                _mm512_store_ps(scratch + offsets[i] + 16, load<P>(from + 16));
            }
            return;
        }
        const Matrix& matrix = block.expand;
        const bf16* b = matrix.template packed_strip<P>(strip);
        __m512 bias0 = matrix.bias_of(strip, 0), bias1 = matrix.bias_of(strip, 1);
        product_rows<P>(from, step, 0, count, b, matrix.steps, [&](int pixel, const float* c) {
            float* at = scratch + offsets[pixel];
            _mm512_store_ps(at, scaled_silu<P>(_mm512_add_ps(_mm512_load_ps(c), bias0)));
            _mm512_store_ps(at + 16, scaled_silu<P>(_mm512_add_ps(_mm512_load_ps(c + 16), bias1)));
        });
    }

    // squeeze and excitation: space.sums to space.gates, which also undo kScale
    void gates(const Block& block, int images, Workspace& space) {
        int mid = block.strips() * kChannels;
        __m512 share = constant(1.f / (block.out_size * block.out_size) / kScale<P>);
        __m512 unscaled = constant(1 / kScale<P>);
        std::vector<float> reduced((size_t)images * round_up(block.reduced, 16));
        for (int r = 0; r < block.reduced; r++) {
            const float* weight = block.reduce_weight.data + (size_t)r * mid;
            for (int image = 0; image < images; image++) {
                __m512 sum = _mm512_setzero_ps();
                for (int c = 0; c < mid; c += 16) {
                    __m512 value = _mm512_load_ps(space.sums.data + (size_t)image * mid + c);
                    sum = _mm512_fmadd_ps(_mm512_load_ps(weight + c), value, sum);
                }
                float total = _mm512_reduce_add_ps(_mm512_mul_ps(sum, share)) + block.reduce_bias.data[r];
                reduced[(size_t)image * block.reduced + r] = _mm512_cvtss_f32(silu<3>(_mm512_set1_ps(total)));
            }
        }
        for (int c = 0; c < mid; c += 16) {
            for (int image = 0; image < images; image++) {
                __m512 sum = _mm512_load_ps(block.gate_bias.data + c);
                for (int r = 0; r < block.reduced; r++) {
                    __m512 value = _mm512_set1_ps(reduced[(size_t)image * block.reduced + r]);
                    sum = _mm512_fmadd_ps(_mm512_load_ps(block.gate_weight.data + (size_t)r * mid + c), value, sum);
                }
                _mm512_store_ps(space.gates.data + (size_t)image * mid + c, _mm512_mul_ps(sigmoid<3>(sum), unscaled));
            }
        }
    }

    // gates, projection and skip connection: space.middle to space.output
    void project(const Block& block, int images, Workspace& space) {
        int pixels = block.out_size * block.out_size;
        size_t mid = (size_t)block.strips() * kChannels;
        const Matrix& matrix = block.project;
        if (block.scales_weights) {
            for (int image = 0; image < images; image++) {
                matrix.template pack<P>(space.gates.data + image * mid, space.scaled.data);
                project_pixels(block, images, image * pixels, (image + 1) * pixels, space.scaled.data, space);
            }
            return;
        }
        for (int strip = 0; strip < block.strips(); strip++) {
            bf16* at = space.middle.data + strip * plane_step(images, block.out_size, P);
            for (int image = 0; image < images; image++) {
                const float* gate = space.gates.data + image * mid + strip * kChannels;
                __m512 gate0 = _mm512_load_ps(gate), gate1 = _mm512_load_ps(gate + 16);
                for (int i = 0; i < pixels; i++, at += P * kChannels) {
                    __m512 value0 = _mm512_mul_ps(load<P>(at), gate0), value1 = _mm512_mul_ps(load<P>(at + 16), gate1);
                    store<P>(at, value0);
                    store<P>(at + 16, value1);
                }
            }
        }
        project_pixels(block, images, 0, images * pixels, matrix.packed.data, space);
    }

    // Pixels by pieces, and inputs by pieces: what is gone over repeatedly, a piece of the pixels' inputs and their sums,
    // stays in the L2 cache, a piece of the weights in the L1 cache.
    void project_pixels(const Block& block, int images, int first, int last, const bf16* weights, Workspace& space) {
        const Matrix& matrix = block.project;
        size_t step = plane_step(images, block.out_size, P), block_size = kRows * kChannels;
        int most = std::min(kProductPixels, round_up(last - first, kRows)), strip_blocks = most / kRows;
        space.products.grow((size_t)matrix.strips * strip_blocks * block_size);
        for (int begin = first; begin < last; begin += most) {
            int count = std::min(most, last - begin);
            for (int k = 0; k < matrix.steps; k += kProductSteps) {
                int steps = std::min(kProductSteps, matrix.steps - k);
                for (int strip = 0; strip < matrix.strips; strip++) {
                    const bf16* b = weights + ((size_t)strip * matrix.steps + k) * 2 * P * kTile;
                    float* c = space.products.data + (size_t)strip * strip_blocks * block_size;
                    for (int i = 0; i < count; i += kRows, c += block_size) {
                        const bf16* a = space.middle.data + k * step + (size_t)(begin + i) * P * kChannels;
                        auto run = count - i > 16 ? (k ? product<P, true, true> : product<P, true>)
                                                  : (k ? product<P, false, true> : product<P, false>);
                        run(a, step, b, steps, c);
                    }
                }
            }
            for (int strip = 0; strip < matrix.strips; strip++) {
                const float* c = space.products.data + (size_t)strip * strip_blocks * block_size;
                add_skip(block, c, strip, strip * step + (size_t)begin * P * kChannels, count, space);
            }
        }
    }

    void add_skip(const Block& block, const float* c, int strip, size_t at, int count, Workspace& space) {
        __m512 bias0 = block.project.bias_of(strip, 0), bias1 = block.project.bias_of(strip, 1);
        for (int i = 0; i < count; i++, c += kChannels, at += P * kChannels) {
            __m512 value0 = _mm512_add_ps(_mm512_load_ps(c), bias0);
            __m512 value1 = _mm512_add_ps(_mm512_load_ps(c + 16), bias1);
            if (block.skips) {
                value0 = _mm512_add_ps(value0, load<P>(space.input.data + at));
                value1 = _mm512_add_ps(value1, load<P>(space.input.data + at + 16));
            }
            store<P>(space.output.data + at, value0);
            store<P>(space.output.data + at + 16, value1);
        }
    }

    void head(int images, Workspace& space, float* features) {
        int pixels = images * current_ * current_, channels = head_.outputs;
        size_t step = plane_step(images, current_, P);
        for (int strip = 0; strip < head_.strips; strip++) {
            const bf16* b = head_.template packed_strip<P>(strip);
            __m512 bias0 = head_.bias_of(strip, 0), bias1 = head_.bias_of(strip, 1);
            product_rows<P>(space.input.data, step, 0, pixels, b, head_.steps, [&](int pixel, const float* c) {
                float* at = features + (size_t)pixel * channels + strip * 32;
                _mm512_storeu_ps(at, silu<P>(_mm512_add_ps(_mm512_load_ps(c), bias0)));
                _mm512_storeu_ps(at + 16, silu<P>(_mm512_add_ps(_mm512_load_ps(c + 16), bias1)));
            });
        }
    }
};

struct Handle {
    std::unique_ptr<Network<1>> one;
    std::unique_ptr<Network<3>> three;
};

template <class Work>
int guarded(Handle* handle, Work work) {
    try {
        if (handle->one) {
            work(*handle->one);
        } else {
            work(*handle->three);
        }
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

}  // namespace

extern "C" {

void* network_new(int size, int planes) {
    try {
        auto handle = std::make_unique<Handle>();
        if (planes == 1) {
            handle->one = std::make_unique<Network<1>>(size);
        } else {
            handle->three = std::make_unique<Network<3>>(size);
        }
        return handle.release();
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void network_delete(void* handle) { delete static_cast<Handle*>(handle); }

int network_stem(void* handle, int out, const float* weight, const float* bias) {
    return guarded(static_cast<Handle*>(handle), [&](auto& network) { network.add_stem(out, weight, bias); });
}

// shape: in, mid, out, kernel, stride, reduced, expands, skips. parts: weight and bias of expansion (null where there is
// none), depthwise, reduction, gate, projection.
int network_block(void* handle, const int* shape, const float* const* parts) {
    return guarded(static_cast<Handle*>(handle), [&](auto& network) { network.add_block(shape, parts); });
}

int network_head(void* handle, int in, int out, const float* weight, const float* bias) {
    return guarded(static_cast<Handle*>(handle), [&](auto& network) { network.add_head(in, out, weight, bias); });
}

int network_run(void* handle, int images, const float* pixels, float* features) {
    return guarded(static_cast<Handle*>(handle), [&](auto& network) { network.run(images, pixels, features); });
}
}
