// Convolutions by Winograd's minimal filtering, in fp32 on AVX-512 (Lavin and Gray: Fast Algorithms for Convolutional
// Neural Networks, CVPR 2016), six points in each dimension:
//
//   3 x 3, stride 1      tiles of 4 x 4 outputs take 36 products instead of 144, in each of `taps` frames
//   3 x 1 x 1, in time   tiles of 4 frames take 6 instead of 12
//   7 x 7, stride 2      a first layer: each 2 x 2 pixels of 3 channels are one of 12, whose kernel of 4 x 4 has stride 1;
//                        tiles of 3 x 3 outputs take 4 * 36 instead of 441
//
// Built by engines/native/libraries.py, called by winograd.py. Everything is channels-last: (frames, height, width,
// channels). A block of tiles is transformed to points, each point is a matrix product of its own, (tiles, inputs) by
// (inputs, outputs), and the products are transformed back, with bias, what is added, and ReLU, while they are in the
// cache. Of a kernel that spans several frames the points are summed in the product.

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "product.h"

namespace {

constexpr int kIn = 6;       // points, and inputs of a tile, in one dimension: its outputs are 7 minus the weights
constexpr int kLongest = 4;  // outputs of a tile
// The points at which the polynomials are evaluated are 0, infinity, +-kP and +-kQ: these lose less than 1 and 2.
constexpr double kP = 0.625, kQ = 1.5;
constexpr double kPP = kP * kP, kQQ = kQ * kQ;

inline __m512 fma(float a, __m512 b, __m512 c) { return _mm512_fmadd_ps(_mm512_set1_ps(a), b, c); }

// Six inputs to six points.
inline void to_points(const __m512* d, __m512* v) {
    constexpr float sum = kPP + kQQ, product = kPP * kQQ;
    __m512 even_p = fma(-kQQ, d[2], d[4]), odd_p = fma(-kQQ, d[1], d[3]);
    __m512 even_q = fma(-kPP, d[2], d[4]), odd_q = fma(-kPP, d[1], d[3]);
    v[0] = fma(product, d[0], fma(-sum, d[2], d[4]));
    v[1] = fma(kP, odd_p, even_p);
    v[2] = fma(-kP, odd_p, even_p);
    v[3] = fma(kQ, odd_q, even_q);
    v[4] = fma(-kQ, odd_q, even_q);
    v[5] = fma(product, d[1], fma(-sum, d[3], d[5]));
}

// Six points to three or four outputs.
template <int Out>
inline void from_points(const __m512* m, __m512* y) {
    __m512 even_p = _mm512_add_ps(m[1], m[2]), odd_p = _mm512_sub_ps(m[1], m[2]);
    __m512 even_q = _mm512_add_ps(m[3], m[4]), odd_q = _mm512_sub_ps(m[3], m[4]);
    y[0] = _mm512_add_ps(m[0], _mm512_add_ps(even_p, even_q));
    y[1] = fma(kP, odd_p, _mm512_mul_ps(_mm512_set1_ps(kQ), odd_q));
    y[2] = fma(kPP, even_p, _mm512_mul_ps(_mm512_set1_ps(kQQ), even_q));
    if (Out == 3) y[2] = _mm512_add_ps(y[2], m[5]);
    if (Out == 4) y[3] = fma(kP * kPP, odd_p, fma(kQ * kQQ, odd_q, m[5]));
}

// Three or four weights, `step` apart, to six points.
void weights_to_points(const double* g, int count, int step, double* u) {
    const double x[] = {0, kP, -kP, kQ, -kQ}, norm_p = 2 * kPP * (kPP - kQQ), norm_q = 2 * kQQ * (kQQ - kPP);
    const double norm[] = {kPP * kQQ, norm_p, norm_p, norm_q, norm_q};
    for (int i = 0; i < 5; i++) {
        u[i] = 0;
        for (int tap = count - 1; tap >= 0; tap--) u[i] = u[i] * x[i] + g[tap * step] / norm[i];
    }
    u[5] = g[(count - 1) * step];
}

// What a thread computes in, kept for the next call.
struct Scratch {
    Buffer<float> points, products;
};

class Pool {
public:
    std::unique_ptr<Scratch> take() {
        std::lock_guard<std::mutex> guard(lock_);
        if (free_.empty()) return std::make_unique<Scratch>();
        auto scratch = std::move(free_.back());
        free_.pop_back();
        return scratch;
    }
    void give(std::unique_ptr<Scratch> scratch) {
        std::lock_guard<std::mutex> guard(lock_);
        free_.push_back(std::move(scratch));
    }

private:
    std::mutex lock_;
    std::vector<std::unique_ptr<Scratch>> free_;
};

Pool pool;

// Calls `work(index, scratch)` for 0 to count - 1 on up to `threads` threads, this one included.
template <class Work>
void in_parallel(int count, int threads, Work work) {
    std::atomic<int> next{0};
    std::atomic<bool> failed{false};
    auto loop = [&] {
        try {
            auto scratch = pool.take();
            for (int index; !failed && (index = next++) < count;) work(index, *scratch);
            pool.give(std::move(scratch));
        } catch (const std::bad_alloc&) {
            failed = true;
        }
    };
    std::vector<std::thread> others;
    try {
        for (int i = 1; i < std::min(threads, count); i++) others.emplace_back(loop);
    } catch (const std::exception&) {  // no more threads can be had: the ones that are there do the work
    }
    loop();
    for (auto& thread : others) thread.join();
    if (failed) throw std::bad_alloc();
}

inline __mmask16 lanes(int channels) { return channels >= kLanes ? 0xffff : (__mmask16)((1u << channels) - 1); }

// A row's length in the cache: an odd number of lines, so that rows do not all fall into the same few sets.
inline size_t padded(size_t floats) {
    size_t lines = (floats + kLanes - 1) / kLanes;
    return (lines | 1) * kLanes;
}

struct Epilogue {
    const float *bias, *added;  // `added`, of the output's shape, may be null
    float* out;
    bool relu;
    inline void put(__m512 value, int channel, size_t place, __mmask16 mask) const {
        value = _mm512_add_ps(value, _mm512_load_ps(bias + channel));
        if (added) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, added + place + channel));
        if (relu) value = _mm512_max_ps(_mm512_setzero_ps(), value);  // in this order NaN stays NaN
        _mm512_mask_storeu_ps(out + place + channel, mask, value);
    }
};

enum Kind { kInTime, kSquare, kFirst };  // 3 x 1 x 1; 3 x 3; 7 x 7 with stride 2, of three channels

struct Shape {
    int kind, inputs, outputs;
    int taps, before, stride;  // in time: frames of the kernel, of zeros before the first, from output to output
    int padding;               // pixels of zeros before the first, where `kind` leaves a choice
};

struct Tile {
    int frame, y, x;  // of its first output, in the image that a dilated kernel sees
};

class Layer {
public:
    // weight: (outputs, inputs, taps, rows, columns) of the kernel
    Layer(const Shape& shape, const float* weight, const float* bias)
        : shape_(shape), weights_(shape.kind == kFirst ? 4 : 3), out_(kIn + 1 - weights_),
          depth_(shape.kind == kFirst ? 4 * shape.inputs : shape.inputs),
          points_(shape.kind == kInTime ? kIn : kIn * kIn), registers_(round_up(shape.outputs, kLanes) / kLanes),
          row_(padded(depth_)), out_row_(padded(shape.outputs)), zeros_(round_up(shape.inputs, kLanes)),
          bias_(registers_ * kLanes), weight_((size_t)points_ * point_size()) {
        std::copy(bias, bias + shape.outputs, bias_.data);
        for (int output = 0; output < shape.outputs; output++)
            for (int input = 0; input < shape.inputs; input++) {
                const float* kernel = weight + ((size_t)output * shape.inputs + input) * kernel_size();
                if (shape.kind == kInTime) set_in_time(output, input, kernel);
                for (int tap = 0; shape.kind == kSquare && tap < shape.taps; tap++) set_square(output, input, tap, kernel + tap * 9);
                for (int tap = 0; shape.kind == kFirst && tap < shape.taps; tap++) set_first(output, input, tap, kernel + tap * 49);
            }
    }

    void run(int frames, int height, int width, int dilation, const float* in, Epilogue epilogue, int threads) const {
        epilogue.bias = bias_.data;
        if (shape_.kind == kInTime) return run_in_time(frames, height * width, in, epilogue, threads);
        if (shape_.kind == kFirst) return run_first(frames, height, width, in, epilogue, threads);
        for (int phase = 0; phase < dilation * dilation; phase++)
            run_square(frames, height, width, dilation, phase / dilation, phase % dilation, in, epilogue, threads);
    }

private:
    Shape shape_;
    int weights_, out_, depth_;  // of a kernel, of a tile, in one dimension; channels that a product sums in a frame
    int points_, registers_;
    size_t row_, out_row_;
    Buffer<float> zeros_, bias_;
    Buffer<float> weight_;  // (points, panels, taps * depth, registers of the panel): two registers, in the last maybe one

    int taps() const { return shape_.kind == kInTime ? 1 : shape_.taps; }  // that a product sums
    int kernel_size() const { return shape_.taps * (shape_.kind == kInTime ? 1 : shape_.kind == kSquare ? 9 : 49); }
    size_t point_size() const { return (size_t)taps() * depth_ * registers_ * kLanes; }

    void set(int output, int row, const double* u) {
        int panel = output / (2 * kLanes), wide = std::min(2, registers_ - panel * 2) * kLanes;
        size_t at = (size_t)taps() * depth_ * panel * 2 * kLanes + (size_t)row * wide + output % (2 * kLanes);
        for (int point = 0; point < points_; point++) weight_.data[point * point_size() + at] = (float)u[point];
    }

    void set_in_time(int output, int input, const float* kernel) {
        double u[kIn], g[] = {kernel[0], kernel[1], kernel[2]};
        weights_to_points(g, 3, 1, u);
        set(output, input, u);
    }

    void set_square(int output, int input, int tap, const float* kernel) {
        double g[9];
        std::copy(kernel, kernel + 9, g);
        set_plane(output, tap * depth_ + input, g);
    }

    void set_first(int output, int input, int tap, const float* kernel) {
        int shift = (shape_.padding + 1) / 2;
        for (int phase = 0; phase < 4; phase++) {
            double g[16];
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++) {
                    int y = 2 * (i - shift) + phase / 2 + shape_.padding, x = 2 * (j - shift) + phase % 2 + shape_.padding;
                    g[i * 4 + j] = y >= 0 && y < 7 && x >= 0 && x < 7 ? kernel[y * 7 + x] : 0;
                }
            set_plane(output, tap * depth_ + phase * shape_.inputs + input, g);
        }
    }

    void set_plane(int output, int row, const double* g) {
        double u[kIn * kIn], half[kLongest * kIn];
        for (int y = 0; y < weights_; y++) weights_to_points(g + y * weights_, weights_, 1, half + y * kIn);
        for (int x = 0; x < kIn; x++) {
            double column[kIn];
            weights_to_points(half + x, weights_, kIn, column);
            for (int y = 0; y < kIn; y++) u[y * kIn + x] = column[y];
        }
        set(output, row, u);
    }

    // Points (point, row, depth) to products (point, row, outputs), whose matrices lie a step apart.
    void multiply(int rows, size_t tap_rows, const float* points, size_t step, float* products, size_t out_step) const {
        size_t depth = (size_t)taps() * depth_;
        for (int point = 0; point < points_; point++) {
            const float* weight = weight_.data + point * point_size();
            for (int panel = 0; panel * 2 < registers_; panel++, weight += depth * 2 * kLanes) {
                bool two = registers_ - panel * 2 > 1;
                for (int first = 0; first < rows; first += kRows) {
                    int count = std::min(kRows, rows - first);
                    const float* a = points + point * step + first * row_;
                    float* c = products + point * out_step + first * out_row_ + panel * 2 * kLanes;
                    auto function = two ? product_of<2>(count) : product_of<1>(count);
                    function(a, row_, tap_rows * row_, taps(), depth_, weight, c, out_row_);
                }
            }
        }
    }

    // Rows of tiles to a block, so that its points and products stay in the cache, but many to each pass over weights.
    int rows_of_block() const {
        size_t weights = points_ * point_size() * sizeof(float);
        size_t bytes = std::min<size_t>(std::max<size_t>(weights / 2, 3 << 20), 8 << 20);
        return std::max<int>(bytes / (points_ * (row_ + out_row_) * sizeof(float)), 4 * kRows);
    }

    // An image of `tall` by `wide` outputs in `frames` frames, in blocks. `take(tile, points, step)` makes the points of a
    // tile, whose frame is one of the input, and `place(tile, y, x)` says where an output lies, -1 for nowhere.
    template <int Out, class Take, class Place>
    void run_plane(int frames, int tall, int wide, const Epilogue& epilogue, int threads, Take take, Place place) const {
        int down = (tall + Out - 1) / Out, across = (wide + Out - 1) / Out, wanted = rows_of_block();
        if (down < 1 || across < 1) return;
        // whole frames where they are small, else some rows of tiles, of a few frames where several make one
        int together = taps() > 1 ? std::min(frames, 4) : 1;
        int rows = std::max(1, std::min(down, wanted / (across * together)));
        if (rows == down) together = std::max(1, std::min(frames, wanted / (across * down)));
        together = std::min(together, std::max(1, frames / threads));  // every thread gets work
        together = even_share(frames, together), rows = even_share(down, rows);
        int bands = (down + rows - 1) / rows, groups = (frames + together - 1) / together;
        in_parallel(groups * bands, threads, [&](int index, Scratch& scratch) {
            int first = index / bands * together, count = std::min(together, frames - first);
            int top = index % bands * rows, tiles = std::min(rows, down - top) * across;
            int seen = (count - 1) * shape_.stride + taps();
            size_t step = padded((size_t)seen * tiles * row_), out_step = padded((size_t)count * tiles * out_row_);
            scratch.points.grow(points_ * step);
            scratch.products.grow(points_ * out_step);
            auto tile_of = [&](int frame, int tile) { return Tile{frame, (top + tile / across) * Out, tile % across * Out}; };
            for (int f = 0; f < seen; f++)
                for (int tile = 0; tile < tiles; tile++)
                    take(tile_of(first * shape_.stride - shape_.before + f, tile), scratch.points.data + ((size_t)f * tiles + tile) * row_, step);
            int alone = shape_.stride == 1 ? 1 : count;  // frames whose inputs don't lie one after the other
            for (int f = 0; f < alone; f++)
                multiply(count / alone * tiles, tiles, scratch.points.data + (size_t)f * shape_.stride * tiles * row_, step,
                         scratch.products.data + (size_t)f * tiles * out_row_, out_step);
            for (int f = 0; f < count; f++)
                for (int tile = 0; tile < tiles; tile++)
                    put<Out>(scratch.products.data + ((size_t)f * tiles + tile) * out_row_, out_step, tile_of(first + f, tile), place, epilogue);
        });
    }

    static int even_share(int whole, int part) {
        int parts = (whole + part - 1) / part;
        return (whole + parts - 1) / parts;
    }

    template <int Out, class Place>
    void put(const float* products, size_t step, Tile tile, const Place& place_of, const Epilogue& epilogue) const {
        ptrdiff_t place[Out * Out];
        for (int i = 0; i < Out; i++)
            for (int j = 0; j < Out; j++) place[i * Out + j] = place_of(tile, i, j);
        for (int channel = 0; channel < shape_.outputs; channel += kLanes) {
            __mmask16 mask = lanes(shape_.outputs - channel);
            __m512 half[Out][kIn];
            for (int j = 0; j < kIn; j++) {
                __m512 m[kIn], y[Out];
                for (int i = 0; i < kIn; i++) m[i] = _mm512_load_ps(products + (i * kIn + j) * step + channel);
                from_points<Out>(m, y);
                for (int i = 0; i < Out; i++) half[i][j] = y[i];
            }
            for (int i = 0; i < Out; i++) {
                __m512 y[Out];
                from_points<Out>(half[i], y);
                for (int j = 0; j < Out; j++)
                    if (place[i * Out + j] >= 0) epilogue.put(y[j], channel, place[i * Out + j] * shape_.outputs, mask);
            }
        }
    }

    // What `load(i, j)` gives for each of a tile's inputs, to points, which lie a step apart.
    template <class Load>
    static void to_plane(Load load, float* points, size_t step) {
        __m512 half[kIn][kIn];
        for (int i = 0; i < kIn; i++) {
            __m512 d[kIn];
            for (int j = 0; j < kIn; j++) d[j] = load(i, j);
            to_points(d, half[i]);
        }
        for (int j = 0; j < kIn; j++) {
            __m512 d[kIn], v[kIn];
            for (int i = 0; i < kIn; i++) d[i] = half[i][j];
            to_points(d, v);
            for (int i = 0; i < kIn; i++) _mm512_store_ps(points + (i * kIn + j) * step, v[i]);
        }
    }

    // Every `dilation`-th pixel from (py, px) on: with a dilated kernel these are an image of their own.
    void run_square(int frames, int height, int width, int dilation, int py, int px, const float* in, const Epilogue& epilogue, int threads) const {
        auto take = [&](Tile tile, float* points, size_t step) {
            const float* source[kIn * kIn];
            for (int i = 0; i < kIn; i++)
                for (int j = 0; j < kIn; j++) {
                    int y = (tile.y - 1 + i) * dilation + py, x = (tile.x - 1 + j) * dilation + px;
                    bool inside = tile.frame >= 0 && tile.frame < frames && y >= 0 && y < height && x >= 0 && x < width;
                    source[i * kIn + j] = inside ? in + (((size_t)tile.frame * height + y) * width + x) * depth_ : zeros_.data;
                }
            for (int channel = 0; channel < depth_; channel += kLanes) {
                __mmask16 mask = lanes(depth_ - channel);
                to_plane([&](int i, int j) { return _mm512_maskz_loadu_ps(mask, source[i * kIn + j] + channel); }, points + channel, step);
            }
        };
        auto place = [&](Tile tile, int i, int j) -> ptrdiff_t {
            int y = (tile.y + i) * dilation + py, x = (tile.x + j) * dilation + px;
            return y < height && x < width ? ((ptrdiff_t)tile.frame * height + y) * width + x : -1;
        };
        int tall = (height - py + dilation - 1) / dilation, wide = (width - px + dilation - 1) / dilation;
        run_plane<4>(frames, tall, wide, epilogue, threads, take, place);
    }

    void run_first(int frames, int height, int width, const float* in, const Epilogue& epilogue, int threads) const {
        int shift = (shape_.padding + 1) / 2, channels = shape_.inputs;
        int out_frames = (frames + 2 * shape_.before - shape_.taps) / shape_.stride + 1;
        int tall = (height + 2 * shape_.padding - 7) / 2 + 1, wide = (width + 2 * shape_.padding - 7) / 2 + 1;
        auto take = [&](Tile tile, float* points, size_t step) {
            auto load = [&](int i, int j) {
                int y = 2 * (tile.y - shift + i), x = 2 * (tile.x - shift + j);
                __m512 pixels = _mm512_setzero_ps();
                if (tile.frame < 0 || tile.frame >= frames) return pixels;
                unsigned pair = (x >= 0 && x < width ? (1u << channels) - 1 : 0);
                if (x + 1 >= 0 && x + 1 < width) pair |= ((1u << channels) - 1) << channels;
                for (int row = 0; row < 2; row++)
                    if (y + row >= 0 && y + row < height) {
                        __mmask16 mask = pair << (2 * channels * row);  // nothing else is read
                        ptrdiff_t at = (((ptrdiff_t)tile.frame * height + y + row) * width + x) * channels - 2 * channels * row;
                        pixels = _mm512_mask_loadu_ps(pixels, mask, in + at);
                    }
                return pixels;
            };
            to_plane(load, points, step);
        };
        auto place = [&](Tile tile, int i, int j) -> ptrdiff_t {
            int y = tile.y + i, x = tile.x + j;
            return y < tall && x < wide ? ((ptrdiff_t)tile.frame * tall + y) * wide + x : -1;
        };
        run_plane<3>(out_frames, tall, wide, epilogue, threads, take, place);
    }

    void run_in_time(int frames, int size, const float* in, const Epilogue& epilogue, int threads) const {
        constexpr int kOut = 4;
        int groups = (frames + kOut - 1) / kOut, wanted = std::min(rows_of_block(), size);
        wanted = std::max(kRows, std::min(wanted, (int)((size_t)groups * size / threads)));
        int chunks = (size + wanted - 1) / wanted;
        in_parallel(groups * chunks, threads, [&](int index, Scratch& scratch) {
            int frame = index / chunks * kOut, first = index % chunks * wanted, count = std::min(wanted, size - first);
            size_t step = padded(count * row_), out_step = padded(count * out_row_);
            scratch.points.grow(points_ * step);
            scratch.products.grow(points_ * out_step);
            for (int i = 0; i < count; i++)
                for (int channel = 0; channel < depth_; channel += kLanes) {
                    __mmask16 mask = lanes(depth_ - channel);
                    __m512 d[kIn], v[kIn];
                    for (int t = 0; t < kIn; t++) {
                        int from = frame - 1 + t;
                        bool inside = from >= 0 && from < frames;
                        const float* source = inside ? in + ((size_t)from * size + first + i) * depth_ : zeros_.data;
                        d[t] = _mm512_maskz_loadu_ps(mask, source + channel);
                    }
                    to_points(d, v);
                    for (int t = 0; t < kIn; t++) _mm512_store_ps(scratch.points.data + t * step + i * row_ + channel, v[t]);
                }
            multiply(count, 0, scratch.points.data, step, scratch.products.data, out_step);
            for (int i = 0; i < count; i++)
                for (int channel = 0; channel < shape_.outputs; channel += kLanes) {
                    __mmask16 mask = lanes(shape_.outputs - channel);
                    __m512 m[kIn], y[kOut];
                    for (int t = 0; t < kIn; t++) m[t] = _mm512_load_ps(scratch.products.data + t * out_step + i * out_row_ + channel);
                    from_points<kOut>(m, y);
                    for (int t = 0; t < std::min(kOut, frames - frame); t++)
                        epilogue.put(y[t], channel, ((size_t)(frame + t) * size + first + i) * shape_.outputs, mask);
                }
        });
    }
};

}  // namespace

// `shape` is the numbers of Shape; null where memory runs out
extern "C" void* layer_new(const int* shape, const float* weight, const float* bias) {
    try {
        return new Layer({shape[0], shape[1], shape[2], shape[3], shape[4], shape[5], shape[6]}, weight, bias);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

extern "C" void layer_delete(void* layer) { delete static_cast<Layer*>(layer); }

// in: (frames, height, width, inputs); out, and `added` unless it is null: (frames, height, width, outputs) of the output
extern "C" int layer_run(void* layer, int frames, int height, int width, int dilation, const float* in, const float* added,
                         float* out, int relu, int threads) {
    try {
        static_cast<Layer*>(layer)->run(frames, height, width, dilation, in, {nullptr, added, out, relu != 0}, threads);
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
