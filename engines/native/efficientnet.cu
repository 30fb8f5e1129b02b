// EfficientNet's blocks in fp16 on a GPU, channels last, between matrix products that cuBLAS does.
//
// depthwise: activation of its input, depthwise convolution, bias, activation, and the sums that squeeze-and-excitation
// needs, in one pass: what lies between is never written. finish: bias, activation or the shortcut, in place.
// Numbers are two fp16 to a word, channels 2i and 2i + 1; arithmetic is fp32.

#define WARPS 8   // of a block, each of 32 lanes, a lane for two channels
#define SEGMENT 8 // output pixels in a row that a lane works on at a time

#ifdef __CUDACC_RTC__ // otherwise a host stands in for the GPU, in the tests
__device__ float2 unpacked(unsigned int pair) {
    float2 values;
    asm("{.reg .b16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high;}"
        : "=f"(values.x), "=f"(values.y) : "r"(pair));
    return values;
}

__device__ unsigned int packed(float first, float second) {
    unsigned int pair;
    asm("{.reg .b16 low, high; cvt.rn.f16.f32 low, %1; cvt.rn.f16.f32 high, %2; mov.b32 %0, {low, high};}"
        : "=r"(pair) : "f"(first), "f"(second));
    return pair;
}

__device__ float silu(float x) { return __fdividef(x, 1.0f + __expf(-x)); }
#endif

// Input (n, height, width, 2 * pairs) to output (n, out_height, out_width, 2 * pairs). Each block makes TALL rows of
// WIDE pixels for 64 channels of an image. weight: fp32 (K * K, 2 * pairs). sums: fp32 (n, tiles, 2 * pairs), of the
// activated output in a tile, as it was before it was rounded. With ACTIVATE the input is SiLU(input + in_bias).
template <int K, int STRIDE, int TALL, int WIDE, bool ACTIVATE>
__device__ void depthwise(const unsigned int* input, const float* in_bias, const float* weight, const float* bias,
                          unsigned int* output, float* sums, int height, int width, int out_height, int out_width,
                          int pairs, int pad) {
    constexpr int TILE_HEIGHT = (TALL - 1) * STRIDE + K, TILE_WIDTH = (WIDE - 1) * STRIDE + K;
    constexpr int SEGMENTS = (WIDE + SEGMENT - 1) / SEGMENT;
    __shared__ unsigned int tile[TILE_HEIGHT * TILE_WIDTH * 32];
    __shared__ float2 partial[WARPS * 32];
    const int lane = threadIdx.x, warp = threadIdx.y;
    const int pair = blockIdx.x * 32 + lane;
    const bool is_channel = pair < pairs;
    const int tiles_across = (out_width + WIDE - 1) / WIDE;
    const int top = blockIdx.y / tiles_across * TALL, left = blockIdx.y % tiles_across * WIDE;
    const int in_top = top * STRIDE - pad, in_left = left * STRIDE - pad;

    const unsigned int* image = input + (size_t)blockIdx.z * height * width * pairs + pair;
    const float2 none = {0.0f, 0.0f};
    const float2 shift = ACTIVATE && is_channel ? ((const float2*)in_bias)[pair] : none;
#pragma unroll 8
    for (int i = warp; i < TILE_HEIGHT * TILE_WIDTH; i += WARPS) {
        const int y = in_top + i / TILE_WIDTH, x = in_left + i % TILE_WIDTH;
        unsigned int value = 0;
        if (is_channel && y >= 0 && y < height && x >= 0 && x < width) {
            value = image[(size_t)(y * width + x) * pairs];
            if (ACTIVATE) {
                const float2 both = unpacked(value);
                value = packed(silu(both.x + shift.x), silu(both.y + shift.y));
            }
        }
        tile[i * 32 + lane] = value;
    }
    float2 taps[K * K];
#pragma unroll
    for (int i = 0; i < K * K; i++) taps[i] = is_channel ? ((const float2*)weight)[i * pairs + pair] : none;
    const float2 start = is_channel ? ((const float2*)bias)[pair] : none;
    __syncthreads();

    float2 total = none;
    for (int item = warp; item < TALL * SEGMENTS; item += WARPS) {
        const int row = item / SEGMENTS, first = item % SEGMENTS * SEGMENT;
        if (top + row >= out_height || left + first >= out_width) continue;
        float2 results[SEGMENT];
#pragma unroll
        for (int i = 0; i < SEGMENT; i++) results[i] = start;
#pragma unroll
        for (int ky = 0; ky < K; ky++) {
            const int from = (row * STRIDE + ky) * TILE_WIDTH + first * STRIDE;
#pragma unroll
            for (int column = 0; column < (SEGMENT - 1) * STRIDE + K; column++) {
                if (WIDE % SEGMENT && first * STRIDE + column >= TILE_WIDTH) continue;
                const float2 value = unpacked(tile[(from + column) * 32 + lane]);
#pragma unroll
                for (int kx = 0; kx < K; kx++) {
                    if (column >= kx && (column - kx) % STRIDE == 0 && (column - kx) / STRIDE < SEGMENT) {
                        float2& result = results[(column - kx) / STRIDE];
                        result.x += value.x * taps[ky * K + kx].x;
                        result.y += value.y * taps[ky * K + kx].y;
                    }
                }
            }
        }
        unsigned int* target =
            output + ((size_t)(blockIdx.z * out_height + top + row) * out_width + left + first) * pairs + pair;
#pragma unroll
        for (int i = 0; i < SEGMENT; i++) {
            if (first + i < WIDE && left + first + i < out_width && is_channel) {
                const float x = silu(results[i].x), y = silu(results[i].y);
                total.x += x;
                total.y += y;
                target[(size_t)i * pairs] = packed(x, y);
            }
        }
    }
    partial[warp * 32 + lane] = total;
    __syncthreads();
    if (warp == 0 && is_channel) {
        for (int i = 1; i < WARPS; i++) {
            total.x += partial[i * 32 + lane].x;
            total.y += partial[i * 32 + lane].y;
        }
        ((float2*)sums)[((size_t)blockIdx.z * gridDim.y + blockIdx.y) * pairs + pair] = total;
    }
}

#define DEPTHWISE(K, STRIDE, TALL, WIDE, ACTIVATE, BLOCKS)                                                            \
    extern "C" __global__ void __launch_bounds__(32 * WARPS, BLOCKS)                                                  \
        depthwise_##K##_##STRIDE##_##WIDE##_##ACTIVATE(                                                               \
            const unsigned int* input, const float* in_bias, const float* weight, const float* bias,                  \
            unsigned int* output, float* sums, int height, int width, int out_height, int out_width, int pairs,       \
            int pad) {                                                                                                \
        depthwise<K, STRIDE, TALL, WIDE, ACTIVATE>(input, in_bias, weight, bias, output, sums, height, width,         \
                                                   out_height, out_width, pairs, pad);                                \
    }
#define DEPTHWISE_OF(K, STRIDE, TALL, WIDE, BLOCKS) \
    DEPTHWISE(K, STRIDE, TALL, WIDE, 0, BLOCKS)     \
    DEPTHWISE(K, STRIDE, TALL, WIDE, 1, BLOCKS)

DEPTHWISE_OF(3, 1, 8, 12, 4)
DEPTHWISE_OF(3, 1, 8, 16, 4)
DEPTHWISE_OF(5, 1, 8, 12, 3)
DEPTHWISE_OF(5, 1, 8, 16, 3)
DEPTHWISE_OF(3, 2, 4, 12, 4)
DEPTHWISE_OF(5, 2, 4, 12, 3)

// values + bias, then SiLU (activate) or the shortcut (where it is not 0); (count, 8 * eighths) in place.
extern "C" __global__ void finish(uint4* values, const float* bias, const uint4* shortcut, int activate, int eighths,
                                  long long count) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count * eighths) return;
    uint4 eight = values[i];
    unsigned int* pairs = &eight.x;
    uint4 other = {0, 0, 0, 0};
    if (shortcut) other = shortcut[i];
    const unsigned int* added = &other.x;
    const float* shift = bias + i % eighths * 8;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        float2 both = unpacked(pairs[k]);
        const float2 more = unpacked(added[k]);
        both.x += shift[2 * k];
        both.y += shift[2 * k + 1];
        pairs[k] = activate ? packed(silu(both.x), silu(both.y)) : packed(both.x + more.x, both.y + more.y);
    }
    values[i] = eight;
}

// values * gates, in place: values fp16 (n, pixels, 8 * eighths), gates fp16 (n, 8 * eighths).
extern "C" __global__ void scale(uint4* values, const uint4* gates, int eighths, int pixels, long long count) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    uint4 eight = values[i];
    const uint4 gate = gates[i / ((long long)eighths * pixels) * eighths + i % eighths];
    unsigned int* pairs = &eight.x;
    const unsigned int* factors = &gate.x;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const float2 both = unpacked(pairs[k]), factor = unpacked(factors[k]);
        pairs[k] = packed(both.x * factor.x, both.y * factor.y);
    }
    values[i] = eight;
}
