// MTCNN's networks in fp32: integral images in; PNet's maps, or a line for each box, out.
//
// mtcnn.cpp and mtcnn_avx512.cpp include this behind their own arithmetic: Number, Tensor, Layer, Computing, `store` and
// `convolve`. Area pooling writes what the first convolution reads. A tensor lies as [height * width][channels]: a row of
// a convolution's window is then one run of numbers, whatever the channels, and the next window's overlaps it.

#pragma once

namespace {

constexpr size_t kStripFloats = (96 << 10) / sizeof(float);  // of a convolution before it is pooled: stays in the cache
constexpr int kFirst = 9;                                    // channels of the first tensor: three rows of three colours

inline __m512 activate(const Layer& layer, int tile, __m512 value) {
    value = _mm512_add_ps(value, _mm512_load_ps(layer.bias.data + tile * kColumns));
    if (!layer.activated) return value;
    __mmask16 negative = _mm512_cmp_ps_mask(value, _mm512_setzero_ps(), _CMP_LT_OQ);
    return _mm512_mask_mul_ps(value, negative, value, _mm512_load_ps(layer.slope.data + tile * kColumns));
}

struct Size {
    int height, width;
};

Size convolved(const Layer& layer, int height, int width) {
    return {height - layer.rows + 1, width - layer.taps + 1};
}

Size pooled(const Layer& layer, Size size) {  // ceil_mode: a window may hang over the end, not lie outside
    if (!layer.pool) return size;
    auto count = [&](int side) {
        int windows = (side - layer.pool + 1) / 2 + 1;
        return (windows - 1) * 2 < side ? windows : windows - 1;
    };
    return {count(size.height), count(size.width)};
}

// `in` through the layer; `write(position, tile, value)` for each output position and tile of 16 outputs.
template <class Write>
void run_layer(const Layer& layer, const Tensor& in, Buffer<float>& strip, Write write) {
    Size size = convolved(layer, in.height, in.width), out = pooled(layer, size);
    int stride = layer.tiles * kColumns, step = layer.pool ? 2 : 1, window = std::max(layer.pool, 1);
    int most = std::max(1, (int)(kStripFloats / ((size_t)in.width * stride)) / step);  // lines of output
    strip.grow(((size_t)(most * step + window) * in.width + 32) * stride);
    for (int begin = 0; begin < out.height; begin += most) {
        int end = std::min(out.height, begin + most);
        int first = begin * step, last = std::min(size.height, (end - 1) * step + window);
        convolve(layer, in, first * in.width, (last - 1) * in.width + size.width, strip.data);
        for (int y = begin; y < end; y++) {
            for (int x = 0; x < out.width; x++) {
                const float* corner = strip.data + ((size_t)(y * step - first) * in.width + x * step) * stride;
                int high = std::min(window, size.height - y * step), wide = std::min(window, size.width - x * step);
                for (int tile = 0; tile < layer.tiles; tile++) {
                    const float* row = corner + tile * kColumns;
                    __m512 value = activate(layer, tile, _mm512_loadu_ps(row));
                    for (int dy = 0; dy < high; dy++, row += (size_t)in.width * stride) {
                        for (int dx = dy == 0; dx < wide; dx++) {
                            value = _mm512_max_ps(value, activate(layer, tile, _mm512_loadu_ps(row + dx * stride)));
                        }
                    }
                    write(y * out.width + x, tile, value);
                }
            }
        }
    }
}

inline __mmask16 mask_of(const Layer& layer, int tile) {
    int left = layer.outputs - tile * kColumns;
    return left >= kColumns ? 0xffff : (__mmask16)((1 << left) - 1);
}

void run_to_tensor(const Layer& layer, const Tensor& in, Tensor& out, Buffer<float>& strip) {
    Size size = pooled(layer, convolved(layer, in.height, in.width));
    out.shape(size.height, size.width, layer.outputs);
    run_layer(layer, in, strip, [&](int position, int tile, __m512 value) {
        Number* to = out.data + (size_t)position * layer.outputs + tile * kColumns;
        store(to, out, value, mask_of(layer, tile));
    });
}

// ---- area pooling --------------------------------------------------------------------------------------------------

// Sums of the three colours in a window of a table of cumulative sums
inline __m128i window_sum(const int* upper, const int* lower, int left, int right) {
    auto at = [](const int* row, int x) { return _mm_maskz_loadu_epi32(7, row + x * 3); };
    __m128i top = _mm_sub_epi32(at(upper, right), at(upper, left));
    return _mm_sub_epi32(_mm_sub_epi32(at(lower, right), at(lower, left)), top);
}

struct Edges {
    std::vector<int> first, last;
    void divide(int start, int length, int parts) {  // adaptive pooling's windows
        first.resize(parts);
        last.resize(parts);
        for (int64_t i = 0; i < parts; i++) {
            first[i] = start + (int)(i * length / parts);
            last[i] = start + (int)(((i + 1) * length + parts - 1) / parts);
        }
    }
};

inline __m128 normalised(__m128 mean) {
    return _mm_mul_ps(_mm_sub_ps(mean, _mm_set1_ps(127.5f)), _mm_set1_ps(0.0078125f));
}

// Writes the tensor whose 9 channels at (y, x) are the colours at (y, x), (y + 1, x), (y + 2, x). `line(y, to)` gives the
// image's lines, (width, 4) floats, in order.
template <class Line>
void stack(int height, int width, Tensor& out, Buffer<float>& lines, Line line) {
    out.shape(height - 2, width, kFirst);
    size_t size = (size_t)width * 4;
    lines.grow(size * 3);
    const __m512i compact = _mm512_setr_epi32(0, 1, 2, 4, 5, 6, 8, 9, 10, 0, 0, 0, 0, 0, 0, 0);
    for (int y = 0; y < height; y++) {
        line(y, lines.data + y % 3 * size);
        if (y < 2) continue;
        const float *a = lines.data + (y - 2) % 3 * size, *b = lines.data + (y - 1) % 3 * size, *c = lines.data + y % 3 * size;
        Number* to = out.data + (size_t)(y - 2) * width * kFirst;
        for (int x = 0; x < width; x++, to += kFirst) {  // 7 numbers too many are the next pixel's, or the slack's
            __m512 value = _mm512_castps128_ps512(_mm_loadu_ps(a + x * 4));
            value = _mm512_insertf32x4(value, _mm_loadu_ps(b + x * 4), 1);
            value = _mm512_insertf32x4(value, _mm_loadu_ps(c + x * 4), 2);
            store(to, out, _mm512_permutexvar_ps(compact, value), 0xffff);
        }
    }
}

// ---- the networks --------------------------------------------------------------------------------------------------

struct Workspace {  // a thread's
    Tensor input, one, two, features, dense;
    Buffer<float> strip, lines;
    Edges across, down;
    std::vector<float> shares;
};

struct Detector {
    std::vector<Layer> layers[3];  // of PNet, RNet, ONet

    __attribute__((noinline)) static Workspace& workspace() {  // inlined, its address is looked up again and again
        static thread_local Workspace space;
        return space;
    }

    // An image through PNet at (height, width): maps (height', width', 6)
    void propose(const int* table, int from_height, int from_width, int height, int width, float* maps) const {
        Computing computing;
        Workspace& space = workspace();
        space.down.divide(0, from_height, height);
        space.across.divide(0, from_width, width);
        space.shares.resize(width);
        for (int x = 0; x < width; x++) space.shares[x] = 1.0 / (space.across.last[x] - space.across.first[x]);
        stack(height, width, space.input, space.lines, [&](int y, float* to) {
            const int* upper = table + (size_t)space.down.first[y] * (from_width + 1) * 3;
            const int* lower = table + (size_t)space.down.last[y] * (from_width + 1) * 3;
            float share = 1.0 / (space.down.last[y] - space.down.first[y]);
            for (int x = 0; x < width; x++) {
                __m128 sum = _mm_cvtepi32_ps(window_sum(upper, lower, space.across.first[x], space.across.last[x]));
                __m128 mean = _mm_mul_ps(sum, _mm_set1_ps(share * space.shares[x]));
                _mm_storeu_ps(to + x * 4, normalised(mean));
            }
        });
        const std::vector<Layer>& net = layers[0];
        Tensor *in = &space.input, *out = &space.one;
        for (size_t i = 0; i + 1 < net.size(); i++) {
            run_to_tensor(net[i], *in, *out, space.strip);
            in = out;
            out = in == &space.one ? &space.two : &space.one;
        }
        const Layer& heads = net.back();
        run_layer(heads, *in, space.strip, [&](int position, int tile, __m512 value) {
            _mm512_mask_storeu_ps(maps + (size_t)position * heads.outputs, mask_of(heads, tile), value);
        });
    }

    // Boxes (x1, y1, x2, y2) through RNet or ONet: a line of its heads' outputs for each
    void refine(int number, int convolutions, int size, int count, const int* const* tables, const int* widths,
                const int* boxes, float* outputs) const {
        Computing computing;
        Workspace& space = workspace();
        const std::vector<Layer>& net = layers[number];
        for (int box = 0; box < count; box++) {
            const int *corners = boxes + box * 4, *table = tables[box];
            space.across.divide(corners[0], corners[2] - corners[0], size);
            space.down.divide(corners[1], corners[3] - corners[1], size);
            stack(size, size, space.input, space.lines, [&](int y, float* to) {
                const int* upper = table + (size_t)space.down.first[y] * (widths[box] + 1) * 3;
                const int* lower = table + (size_t)space.down.last[y] * (widths[box] + 1) * 3;
                int high = space.down.last[y] - space.down.first[y];
                for (int x = 0; x < size; x++) {
                    int left = space.across.first[x], right = space.across.last[x];
                    __m128 sum = _mm_cvtepi32_ps(window_sum(upper, lower, left, right));
                    _mm_storeu_ps(to + x * 4, normalised(_mm_div_ps(sum, _mm_set1_ps((float)(high * (right - left))))));
                }
            });
            Tensor *in = &space.input, *out = &space.one;
            for (int i = 0; i + 1 < convolutions; i++) {
                run_to_tensor(net[i], *in, *out, space.strip);
                in = out;
                out = in == &space.one ? &space.two : &space.one;
            }
            const Layer& last = net[convolutions - 1];  // its outputs are a line of the fully connected layer's input
            Size shape = pooled(last, convolved(last, in->height, in->width));
            if (box == 0) space.features.shape(count, 1, shape.height * shape.width * last.outputs);
            Number* line = space.features.data + (size_t)box * space.features.channels;
            run_layer(last, *in, space.strip, [&](int position, int tile, __m512 value) {
                Number* to = line + (size_t)position * last.outputs + tile * kColumns;
                store(to, space.features, value, mask_of(last, tile));
            });
        }
        run_to_tensor(net[convolutions], space.features, space.dense, space.strip);
        const Layer& heads = net[convolutions + 1];
        run_layer(heads, space.dense, space.strip, [&](int position, int tile, __m512 value) {
            _mm512_mask_storeu_ps(outputs + (size_t)position * heads.outputs + tile * kColumns, mask_of(heads, tile), value);
        });
    }
};

template <class Work>
int guarded(Work work) {
    try {
        work();
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

}  // namespace

extern "C" {

void* detector_new() { return new (std::nothrow) Detector; }

void detector_delete(void* detector) { delete static_cast<Detector*>(detector); }

// Adds a layer to network 0, 1 or 2; slope may be null. weight: (outputs, rows, taps * channels)
int detector_layer(void* detector, int network, int channels, int outputs, int rows, int taps, int pool,
                   const float* weight, const float* bias, const float* slope) {
    return guarded([&] {
        auto& layers = static_cast<Detector*>(detector)->layers[network];
        layers.emplace_back(channels, outputs, rows, taps, pool, weight, bias, slope);
    });
}

int detector_propose(void* detector, const int* table, int from_height, int from_width, int height, int width, float* maps) {
    return guarded([&] {
        static_cast<Detector*>(detector)->propose(table, from_height, from_width, height, width, maps);
    });
}

int detector_refine(void* detector, int network, int convolutions, int size, int count, const int* const* tables,
                    const int* widths, const int* boxes, float* outputs) {
    return guarded([&] {
        static_cast<Detector*>(detector)->refine(network, convolutions, size, count, tables, widths, boxes, outputs);
    });
}
}
