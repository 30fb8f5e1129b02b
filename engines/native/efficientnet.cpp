// EfficientNet's encoder on CPUs with AMX and AVX512-bf16: normalised images in, the last feature map out.
//
// Built by engines/native/libraries.py, called by engines/native/encoder.py. What makes it fast: the expanding
// convolution, its SiLU and the depthwise convolution go over a strip of 32 channels that stays in the cache, where engines
// that work layer by layer write and read it all; SiLU costs a third of what division and a long exponential cost.
//
// Activations lie as [channels / 32][images * height * width][planes][32] bf16, in one plane (bf16) or three (fp32).

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <type_traits>
#include <vector>

#include "amx.h"

namespace {

constexpr int kChannels = 32;                // of a strip, and inputs of a step of a matrix product
constexpr int kRows = 32;                    // pixels of a step: two tiles
constexpr size_t kScratchBytes = 400 << 10;  // of the strip between expansion and depthwise: in the L2 cache
constexpr size_t kInputBytes = 1200 << 10;   // of images that share a block's weights: in the L2 cache, too
constexpr int kProductPixels = 288;          // of a projection at a time

// ---- numbers -------------------------------------------------------------------------------------------------------

struct Pixel {  // 32 channels
    __m512 left, right;
};

inline Pixel operator+(Pixel a, Pixel b) { return {_mm512_add_ps(a.left, b.left), _mm512_add_ps(a.right, b.right)}; }
inline Pixel operator*(Pixel a, Pixel b) { return {_mm512_mul_ps(a.left, b.left), _mm512_mul_ps(a.right, b.right)}; }
inline Pixel load_floats(const float* from) { return {_mm512_load_ps(from), _mm512_load_ps(from + 16)}; }
inline void store_floats(float* to, Pixel value) {
    _mm512_storeu_ps(to, value.left);
    _mm512_storeu_ps(to + 16, value.right);
}

// Where a channel lies in a plane. Planes of three are cut off rather than rounded, which puts left and right side by side.
template <int P>
constexpr int place_of(int channel) {
    return P == 1 ? channel : channel % 16 * 2 + channel / 16;
}

inline __m512 upper_half(__m512 value) {
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(value), _mm512_set1_epi32(0xffff0000)));
}

// A number of what never goes through a matrix product
template <int P>
using Plain = std::conditional_t<P == 1, bf16, float>;

inline __m512 load_plain(const bf16* from) { return to_float(_mm256_loadu_si256((const __m256i*)from)); }
inline __m512 load_plain(const float* from) { return _mm512_load_ps(from); }
inline void store_plain(bf16* to, __m512 value) { _mm256_storeu_si256((__m256i*)to, to_bf16(value)); }
inline void store_plain(float* to, __m512 value) { _mm512_store_ps(to, value); }
inline void set_plain(bf16& to, float value) { to = to_bf16(value); }
inline void set_plain(float& to, float value) { to = value; }

template <int P>
inline Pixel load(const bf16* from) {
    if (P == 1) return {load_plain(from), load_plain(from + 16)};
    auto plane = [&](int number) {
        __m512 both = _mm512_loadu_ps(from + number * kChannels);
        return Pixel{_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(both), 16)), upper_half(both)};
    };
    return plane(2) + plane(1) + plane(0);  // the smallest first
}

template <int P>
inline void store(bf16* to, Pixel value) {
    if (P == 1) {
        _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(value.right, value.left));
        return;
    }
    for (int plane = 0; plane < P; plane++) {
        __m512i left = _mm512_srli_epi32(_mm512_castps_si512(value.left), 16);
        _mm512_storeu_si512(to + plane * kChannels, _mm512_mask_mov_epi16(left, 0xaaaaaaaa, _mm512_castps_si512(value.right)));
        value.left = _mm512_sub_ps(value.left, upper_half(value.left));  // exact: eight bits fewer
        value.right = _mm512_sub_ps(value.right, upper_half(value.right));
    }
}

// A weight, its planes `step` numbers apart
template <int P>
void store_weight(bf16* to, float value, int step) {
    for (int plane = 0; plane < P; plane++) {
        to[plane * step] = to_bf16(value);
        value -= to_float(to[plane * step]);
    }
}

constexpr float kLog2e = 1.44269504f;

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
    return inverse_power<P>(_mm512_mul_ps(x, constant(-kLog2e)));
}

template <int P>
inline __m512 silu(__m512 x) {
    return _mm512_mul_ps(x, sigmoid<P>(x));
}

// What SiLU is taken of inside a block comes multiplied by this, and SiLU's result too: a multiplication less.
constexpr float kScale = -kLog2e;

template <int P>
inline __m512 scaled_silu(__m512 scaled) {
    return _mm512_mul_ps(scaled, inverse_power<P>(scaled));
}

// ---- matrix products -----------------------------------------------------------------------------------------------

template <bool both, bool wide>
inline void multiply() {  // tiles 4 and 5 (pixels) by 6 and 7 (outputs)
    _tile_dpbf16ps(0, 4, 6);
    if (wide) _tile_dpbf16ps(1, 4, 7);
    if (both) _tile_dpbf16ps(2, 5, 6);
    if (both && wide) _tile_dpbf16ps(3, 5, 7);
}

// c (32 rows, 32 columns) = a (32 pixels, or 16 where not `both`) by b, added to c where `adds`; the left 16 columns only
// where not `wide`. `a_step` is from one 32 input channels to the next, in numbers. Per step b holds [planes][2 tiles of 16
// outputs].
template <int P, bool both, bool wide = true, bool adds = false>
inline void product(const bf16* a, size_t a_step, const bf16* b, int steps, float* c) {
    constexpr int row = P * 64;  // bytes from one pixel to the next
    auto load_a = [&](int plane) {
        _tile_loadd(4, a + plane * kChannels, row);
        if (both) _tile_loadd(5, a + plane * kChannels + 16 * P * kChannels, row);
    };
    auto load_b = [&](int plane) {
        _tile_loadd(6, b + plane * 2 * kTile, 64);
        if (wide) _tile_loadd(7, b + plane * 2 * kTile + kTile, 64);
    };
    if (adds) {
        _tile_loadd(0, c, 128);
        if (wide) _tile_loadd(1, c + 16, 128);
        if (both) _tile_loadd(2, c + 16 * kChannels, 128);
        if (both && wide) _tile_loadd(3, c + 16 * kChannels + 16, 128);
    } else {
        _tile_zero(0);
        if (wide) _tile_zero(1);
        if (both) _tile_zero(2);
        if (both && wide) _tile_zero(3);
    }
    for (int step = 0; step < steps; step++, a += a_step, b += 2 * P * kTile) {
        load_a(0);
        load_b(0);
        multiply<both, wide>();
        if (P == 3) {  // a way through the six pairs of planes that loads little
            load_a(2);
            multiply<both, wide>();
            load_a(1);
            multiply<both, wide>();
            load_b(1);
            multiply<both, wide>();
            load_a(0);
            multiply<both, wide>();
            load_b(2);
            multiply<both, wide>();
        }
    }
    _tile_stored(0, c, 128);
    if (wide) _tile_stored(1, c + 16, 128);
    if (both) _tile_stored(2, c + 16 * kChannels, 128);
    if (both && wide) _tile_stored(3, c + 16 * kChannels + 16, 128);
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
    Buffer<bf16> packed;  // [strip][step][planes][2 tiles][16 pairs of inputs][16 outputs][2]
    Buffer<float> bias;

    bool wide(int strip) const { return outputs - strip * kChannels > 16; }  // or half of it is empty

    Pixel bias_of(int strip) const { return load_floats(bias.data + strip * kChannels); }

    template <int P>
    const bf16* packed_strip(int strip) const {
        return packed.data + (size_t)strip * steps * 2 * P * kTile;
    }

    template <int P>
    void fill(const float* weight, const float* bias_, int inputs_, int outputs_, float factor = 1) {
        inputs = inputs_;
        outputs = outputs_;
        steps = round_up(inputs, kChannels) / kChannels;
        strips = round_up(outputs, kChannels) / kChannels;
        bias = Buffer<float>(strips * kChannels);
        for (int out = 0; out < outputs; out++) bias.data[out] = bias_[out] * factor;
        packed = Buffer<bf16>((size_t)strips * steps * 2 * P * kTile);
        for (int out = 0; out < outputs; out++) {
            for (int in = 0; in < inputs; in++) {
                size_t tile = ((size_t)(out / 32) * steps + in / 32) * 2 * P + out % 32 / 16;
                int place = place_of<P>(in % 32);
                bf16* to = packed.data + tile * kTile + place / 2 * 32 + out % 16 * 2 + place % 2;
                store_weight<P>(to, weight[(size_t)out * inputs + in] * factor, 2 * kTile);
            }
        }
    }
};

// ---- depthwise convolution -----------------------------------------------------------------------------------------

// N outputs side by side, 16 channels: `in` is the window's first row at the first output; 32 numbers a pixel.
template <int P, int K, int S, int N>
inline __m512 depthwise_outputs(const float* in, size_t row, const float* weight, __m512 bias, Plain<P>* out) {
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
        store_plain(out + n * kChannels, value);
    }
    return sum;
}

// A strip of 32 channels. `weight` is [2][K * K][16]; `sums` takes what the outputs add up to.
template <int P, int K, int S>
void depthwise(const float* in, size_t row, int height, int width, const float* weight, const float* bias,
               Plain<P>* out, float* sums) {
    for (int half = 0; half < 2; half++) {
        __m512 b = _mm512_load_ps(bias + half * 16), sum = _mm512_loadu_ps(sums + half * 16);
        const float* w = weight + half * K * K * 16;
        for (int y = 0; y < height; y++) {
            const float* from = in + (size_t)y * S * row + half * 16;
            Plain<P>* to = out + (size_t)y * width * kChannels + half * 16;
            int x = 0;
            auto next = [&](auto n) {
                constexpr int N = decltype(n)::value;
                for (; x + N <= width; x += N) {
                    const float* corner = from + x * S * kChannels;
                    sum = _mm512_add_ps(sum, depthwise_outputs<P, K, S, N>(corner, row, w, b, to + x * kChannels));
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

template <int P>
struct Block {
    int in, mid, out, kernel, stride, reduced;  // channels, but for kernel and stride
    bool expands, skips;
    int size, out_size, pad;
    Matrix expand, project;
    Buffer<float> depthwise_weight, depthwise_bias;  // [strip][2][kernel * kernel][16], [mid]
    Buffer<Plain<P>> reduce_weight, gate_weight;     // [reduced][mid], [mid / 16][reduced][16]
    Buffer<float> reduce_bias, gate_bias;            // [reduced], [mid]
    int strips() const { return round_up(mid, kChannels) / kChannels; }
};

template <int P>
struct Workspace {
    Buffer<bf16> input, output, gated, stem_rows;
    Buffer<Plain<P>> middle;
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

struct Images {  // a block is computed for some of a batch at a time
    int all, first, count;
};

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
        stem_.template fill<P>(by_place.data(), bias, 27, out);
    }

    void add_block(const int* shape, const float* const* parts) {
        Block<P> block;
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
        if (block.expands) block.expand.template fill<P>(parts[0], parts[1], block.in, block.mid, kScale);
        int taps = block.kernel * block.kernel, mid = block.strips() * kChannels;
        block.depthwise_weight = Buffer<float>((size_t)mid * taps);
        block.depthwise_bias = padded(parts[3], block.mid, kScale);
        float factor = block.expands ? 1 : kScale;  // what is expanded comes multiplied
        for (int c = 0; c < block.mid; c++) {
            for (int tap = 0; tap < taps; tap++) {
                float value = parts[2][c * taps + tap] * factor;
                block.depthwise_weight.data[((size_t)(c / 16) * taps + tap) * 16 + c % 16] = value;
            }
        }
        block.reduce_weight = Buffer<Plain<P>>((size_t)mid * block.reduced);
        block.gate_weight = Buffer<Plain<P>>((size_t)mid * block.reduced);
        for (int r = 0; r < block.reduced; r++) {
            for (int c = 0; c < block.mid; c++) {
                size_t gate = ((size_t)(c / 16) * block.reduced + r) * 16 + c % 16;
                set_plain(block.reduce_weight.data[(size_t)r * mid + c], parts[4][(size_t)r * block.mid + c]);
                set_plain(block.gate_weight.data[gate], parts[6][(size_t)c * block.reduced + r]);
            }
        }
        block.reduce_bias = padded(parts[5], block.reduced);
        block.gate_bias = padded(parts[7], block.mid);
        block.project.template fill<P>(parts[8], parts[9], block.mid, block.out);
        current_ = block.out_size;
        blocks_.push_back(std::move(block));
    }

    void add_head(int in, int out, const float* weight, const float* bias) {
        head_.template fill<P>(weight, bias, in, out);
    }

    // images (n, size, size, 3) to features (n, height, width, channels)
    void run(int images, const float* pixels, float* features) {
        std::unique_ptr<Workspace<P>> space = take_workspace(images);
        {
            Tiles tiles;
            stem(images, pixels, *space);
            for (const Block<P>& block : blocks_) {
                for (Images some : groups_of(block, images)) {
                    depthwise_part(block, some, *space);
                    gates(block, some.count, *space);
                    project(block, some, *space);
                }
                std::swap(space->input, space->output);
            }
            head(images, *space, features);
        }
        std::lock_guard<std::mutex> lock(mutex_);
        workspaces_.push_back(std::move(space));
    }

  private:
    static constexpr int kProductSteps = 16;
    static constexpr size_t kGatedStep = (size_t)kProductPixels * P * kChannels;

    int size_, stem_size_ = 0, current_;
    Matrix stem_, head_;
    std::vector<Block<P>> blocks_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Workspace<P>>> workspaces_;

    static Buffer<float> padded(const float* values, int count, float factor = 1) {
        Buffer<float> result(round_up(count, kChannels));
        for (int i = 0; i < count; i++) result.data[i] = values[i] * factor;
        return result;
    }

    // A group's weights are read once, and its input once for every strip: that is to come from the L2 cache.
    static std::vector<Images> groups_of(const Block<P>& block, int images) {
        size_t input_bytes = (size_t)block.size * block.size * round_up(block.in, kChannels) * P * sizeof(bf16);
        int most = std::max(1, (int)(kInputBytes / input_bytes));
        std::vector<Images> groups;
        for (int first = 0; first < images; first += most) groups.push_back({images, first, std::min(most, images - first)});
        return groups;
    }

    std::unique_ptr<Workspace<P>> take_workspace(int images) {
        std::unique_ptr<Workspace<P>> space;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            if (!workspaces_.empty()) {
                space = std::move(workspaces_.back());
                workspaces_.pop_back();
            }
        }
        if (!space) space = std::make_unique<Workspace<P>>();
        size_t ends = activation_size(images, stem_size_, stem_.outputs, P), middle = 0;
        int mid = 0;
        for (const Block<P>& block : blocks_) {
            ends = std::max(ends, activation_size(images, block.out_size, block.out, P));
            middle = std::max(middle, activation_size(groups_of(block, images)[0].count, block.out_size, block.mid, 1));
            mid = std::max(mid, block.strips() * kChannels);
        }
        space->input.grow(ends);
        space->output.grow(ends);
        space->middle.grow(middle);
        space->gated.grow(kProductSteps * kGatedStep);
        space->sums.grow((size_t)images * mid);
        space->gates.grow((size_t)images * mid);
        return space;
    }

    void stem(int images, const float* pixels, Workspace<P>& space) {
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
                    store<P>(to, load_floats(window));
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
        Pixel bias = matrix.bias_of(strip);
        product_rows<P>(a, a_step, first, last, b, matrix.steps, [&](int pixel, const float* c) {
            Pixel sum = load_floats(c) + bias;
            store<P>(to + (size_t)pixel * P * kChannels, {silu<P>(sum.left), silu<P>(sum.right)});
        });
    }

    // expansion and depthwise convolution: space.input to space.middle, with sums over the pixels
    void depthwise_part(const Block<P>& block, Images images, Workspace<P>& space) {
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
        std::memset(space.sums.data, 0, sizeof(float) * images.count * strips * kChannels);

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
            expand(block, images, images.first + image, strip, piece.pixel0, piece.pixels, space);
            Plain<P>* to = space.middle.data + strip * plane_step(images.count, out, 1) +
                            ((size_t)image * out + piece.first) * out * kChannels;
            float* sums = space.sums.data + ((size_t)image * strips + strip) * kChannels;
            const float* weight = block.depthwise_weight.data + (size_t)strip * kChannels * k * k;
            const float* bias = block.depthwise_bias.data + strip * kChannels;
            auto run = k == 3 ? (s == 1 ? depthwise<P, 3, 1> : depthwise<P, 3, 2>)
                              : (s == 1 ? depthwise<P, 5, 1> : depthwise<P, 5, 2>);
            run(space.scratch.data, (size_t)width * kChannels, piece.last - piece.first, out, weight, bias, to, sums);
        };
        for (int number = 0; number < pieces; number++) {
            Piece piece = piece_of(number);
            prepare(piece);
            for (int strip = 0; strip < strips; strip++) {
                for (int image = 0; image < images.count; image++) work(piece, image, strip);
            }
        }
    }

    void expand(const Block<P>& block, Images images, int image, int strip, int first, int count, Workspace<P>& space) {
        size_t step = plane_step(images.all, block.size, P);
        const bf16* from = space.input.data + ((size_t)image * block.size * block.size + first) * P * kChannels;
        float* scratch = space.scratch.data;
        const int* offsets = space.offsets.data;
        if (!block.expands) {
            from += strip * step;
            for (int i = 0; i < count; i++, from += P * kChannels) {
                store_floats(scratch + offsets[i], load<P>(from));
            }
            return;
        }
        const Matrix& matrix = block.expand;
        const bf16* b = matrix.template packed_strip<P>(strip);
        Pixel bias = matrix.bias_of(strip);
        product_rows<P>(from, step, 0, count, b, matrix.steps, [&](int pixel, const float* c) {
            Pixel sum = load_floats(c) + bias;
            store_floats(scratch + offsets[pixel], {scaled_silu<P>(sum.left), scaled_silu<P>(sum.right)});
        });
    }

    // squeeze and excitation: space.sums to space.gates, which also undo kScale
    void gates(const Block<P>& block, int images, Workspace<P>& space) {
        int mid = block.strips() * kChannels;
        __m512 share = constant(1.f / (block.out_size * block.out_size) / kScale);
        __m512 unscaled = constant(1 / kScale);
        std::vector<float> reduced((size_t)images * round_up(block.reduced, 16));
        for (int r = 0; r < block.reduced; r++) {
            const Plain<P>* weight = block.reduce_weight.data + (size_t)r * mid;
            for (int image = 0; image < images; image++) {
                __m512 sum = _mm512_setzero_ps();
                for (int c = 0; c < mid; c += 16) {
                    __m512 value = _mm512_load_ps(space.sums.data + (size_t)image * mid + c);
                    sum = _mm512_fmadd_ps(load_plain(weight + c), value, sum);
                }
                float total = _mm512_reduce_add_ps(_mm512_mul_ps(sum, share)) + block.reduce_bias.data[r];
                reduced[(size_t)image * block.reduced + r] = _mm512_cvtss_f32(silu<3>(_mm512_set1_ps(total)));
            }
        }
        for (int c = 0; c < mid; c += 16) {
            const Plain<P>* weight = block.gate_weight.data + (size_t)c * block.reduced;
            for (int image = 0; image < images; image++) {
                __m512 sum = _mm512_load_ps(block.gate_bias.data + c);
                for (int r = 0; r < block.reduced; r++) {
                    __m512 value = _mm512_set1_ps(reduced[(size_t)image * block.reduced + r]);
                    sum = _mm512_fmadd_ps(load_plain(weight + r * 16), value, sum);
                }
                _mm512_store_ps(space.gates.data + (size_t)image * mid + c, _mm512_mul_ps(sigmoid<3>(sum), unscaled));
            }
        }
    }

    // gates, projection and skip connection: space.middle to space.output. Pixels by pieces, and inputs by pieces: what is
    // gone over repeatedly, a piece of the pixels' inputs and their sums, stays in the L2 cache, a piece of the weights in
    // the L1 cache.
    void project(const Block<P>& block, Images images, Workspace<P>& space) {
        const Matrix& matrix = block.project;
        int image_pixels = block.out_size * block.out_size, pixels = images.count * image_pixels;
        size_t block_size = kRows * kChannels, skipped = (size_t)images.first * image_pixels * P * kChannels;
        int most = std::min(kProductPixels, round_up(pixels, kRows)), strip_blocks = most / kRows;
        size_t step = plane_step(images.all, block.out_size, P);
        space.products.grow((size_t)matrix.strips * strip_blocks * block_size);
        for (int begin = 0; begin < pixels; begin += most) {
            int count = std::min(most, pixels - begin);
            for (int k = 0; k < matrix.steps; k += kProductSteps) {
                int steps = std::min(kProductSteps, matrix.steps - k);
                for (int i = 0; i < steps; i++) {
                    gate(block, images.count, k + i, begin, count, space.gated.data + i * kGatedStep, space);
                }
                for (int strip = 0; strip < matrix.strips; strip++) {
                    const bf16* b = matrix.template packed_strip<P>(strip) + (size_t)k * 2 * P * kTile;
                    float* c = space.products.data + (size_t)strip * strip_blocks * block_size;
                    bool wide = matrix.wide(strip);
                    for (int i = 0; i < count; i += kRows, c += block_size) {
                        const bf16* a = space.gated.data + (size_t)i * P * kChannels;
                        auto run = count - i > 16 ? choose_product<true>(wide, k) : choose_product<false>(wide, k);
                        run(a, kGatedStep, b, steps, c);
                    }
                }
            }
            for (int strip = 0; strip < matrix.strips; strip++) {
                const float* c = space.products.data + (size_t)strip * strip_blocks * block_size;
                add_skip(block, c, strip, skipped + strip * step + (size_t)begin * P * kChannels, count, space);
            }
        }
    }

    // a strip of space.middle, pixels [begin, begin + count), times its gates; inlined by GCC 12 it takes a fifth longer
    __attribute__((noinline)) void gate(const Block<P>& block, int images, int strip, int begin, int count, bf16* to,
                                        Workspace<P>& space) {
        int pixels = block.out_size * block.out_size;  // of an image
        const Plain<P>* from = space.middle.data + strip * plane_step(images, block.out_size, 1) + (size_t)begin * kChannels;
        for (int end = begin + count; begin < end;) {
            int image = begin / pixels, last = std::min(end, (image + 1) * pixels);
            Pixel gates = load_floats(space.gates.data + ((size_t)image * block.strips() + strip) * kChannels);
            for (; begin < last; begin++, from += kChannels, to += P * kChannels) {
                store<P>(to, Pixel{load_plain(from), load_plain(from + 16)} * gates);
            }
        }
    }

    template <bool both>
    static auto choose_product(bool wide, bool adds) {
        return wide ? (adds ? product<P, both, true, true> : product<P, both, true, false>)
                    : (adds ? product<P, both, false, true> : product<P, both, false, false>);
    }

    void add_skip(const Block<P>& block, const float* c, int strip, size_t at, int count, Workspace<P>& space) {
        Pixel bias = block.project.bias_of(strip);
        __mmask16 right = block.project.wide(strip) ? 0xffff : 0;
        for (int i = 0; i < count; i++, c += kChannels, at += P * kChannels) {
            Pixel value = Pixel{_mm512_load_ps(c), _mm512_maskz_load_ps(right, c + 16)} + bias;
            if (block.skips) value = value + load<P>(space.input.data + at);
            store<P>(space.output.data + at, value);
        }
    }

    void head(int images, Workspace<P>& space, float* features) {
        int pixels = images * current_ * current_, channels = head_.outputs;
        size_t step = plane_step(images, current_, P);
        for (int strip = 0; strip < head_.strips; strip++) {
            const bf16* b = head_.template packed_strip<P>(strip);
            Pixel bias = head_.bias_of(strip);
            product_rows<P>(space.input.data, step, 0, pixels, b, head_.steps, [&](int pixel, const float* c) {
                Pixel sum = load_floats(c) + bias;
                store_floats(features + (size_t)pixel * channels + strip * kChannels, {silu<P>(sum.left), silu<P>(sum.right)});
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
