// EfficientNet's blocks in fp16 on a GPU, channels last, between matrix products that cuBLAS does.
//
// depthwise: activation of its input, depthwise convolution, bias, activation, and the sums that squeeze-and-excitation
// needs, in one pass: what lies between is never written. finish: bias, activation or the shortcut, in place.
// Numbers are two fp16 to a word, channels 2i and 2i + 1; arithmetic is fp32.

#define WARPS 4 // of a block, each of 32 lanes, a lane for two channels
#define WIDE 12 // columns of a tile, as many for each warp

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

// By the GPU's own approximations, as `__expf` and `__fdividef`, but without their care for denormal numbers, which takes
// longer than the function itself.
__device__ float silu(float x) {
    float power, inverse;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * -1.4426950409f));
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1.0f + power));
    return x * inverse;
}
#endif

// Input (n, height, width, 2 * pairs) to output (n, out_height, out_width, 2 * pairs). Each block makes TALL rows of
// WIDE pixels for 64 channels of an image. weight: fp32 (K * K, 2 * pairs). sums: fp32 (n, tiles, 2 * pairs), of the
// activated output in a tile, as it was before it was rounded. With ACTIVATE the input is SiLU(input + in_bias).
//
// Each warp goes down SEGMENT columns, with the sums of all output rows that an input row is part of in registers: a
// number is read from shared memory once for all of them.
template <int K, int STRIDE, int TALL, bool ACTIVATE>
__device__ void depthwise(const unsigned int* input, const float* in_bias, const float* weight, const float* bias,
                          unsigned int* output, float* sums, int height, int width, int out_height, int out_width,
                          int pairs, int pad) {
    constexpr int TILE_HEIGHT = (TALL - 1) * STRIDE + K, TILE_WIDTH = (WIDE - 1) * STRIDE + K;
    constexpr int SEGMENT = WIDE / WARPS, COLUMNS = (SEGMENT - 1) * STRIDE + K;
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
    for (int row = warp; row < TILE_HEIGHT; row += WARPS) {
        const int y = in_top + row;
        const bool is_row = is_channel && y >= 0 && y < height;
        const unsigned int* pixel = image + ((long long)y * width + in_left) * pairs;
        unsigned int values[TILE_WIDTH]; // all are asked for before the first is used
#pragma unroll
        for (int i = 0; i < TILE_WIDTH; i++) {
            values[i] = 0;
            if (is_row && in_left + i >= 0 && in_left + i < width) values[i] = *pixel;
            pixel += pairs;
        }
#pragma unroll
        for (int i = 0; i < TILE_WIDTH; i++) {
            if (ACTIVATE) {
                const float2 both = unpacked(values[i]);
                const unsigned int active = packed(silu(both.x + shift.x), silu(both.y + shift.y));
                values[i] = is_row && in_left + i >= 0 && in_left + i < width ? active : 0;
            }
            tile[(row * TILE_WIDTH + i) * 32 + lane] = values[i];
        }
    }
    float2 taps[K * K];
#pragma unroll
    for (int i = 0; i < K * K; i++) taps[i] = is_channel ? ((const float2*)weight)[i * pairs + pair] : none;
    const float2 start = is_channel ? ((const float2*)bias)[pair] : none;
    __syncthreads();

    const int first = warp * SEGMENT, right = is_channel ? out_width : 0;
    unsigned int* target = output + ((size_t)(blockIdx.z * out_height + top) * out_width + left + first) * pairs + pair;
    float2 total = none;
    float2 results[TALL][SEGMENT]; // few at a time, as both loops over rows are unrolled
#pragma unroll
    for (int row = 0; row < TILE_HEIGHT; row++) {
        float2 values[COLUMNS];
#pragma unroll
        for (int i = 0; i < COLUMNS; i++) {
            values[i] = unpacked(tile[(row * TILE_WIDTH + first * STRIDE + i) * 32 + lane]);
        }
#pragma unroll
        for (int out = 0; out < TALL; out++) {
            const int ky = row - out * STRIDE;
            if (ky < 0 || ky >= K) continue;
#pragma unroll
            for (int i = 0; i < SEGMENT; i++) {
                if (ky == 0) results[out][i] = start;
#pragma unroll
                for (int kx = 0; kx < K; kx++) {
                    results[out][i].x += values[i * STRIDE + kx].x * taps[ky * K + kx].x;
                    results[out][i].y += values[i * STRIDE + kx].y * taps[ky * K + kx].y;
                }
            }
            if (ky < K - 1) continue;
#pragma unroll
            for (int i = 0; i < SEGMENT; i++) {
                const float x = silu(results[out][i].x), y = silu(results[out][i].y);
                const bool is_pixel = top + out < out_height && left + first + i < right;
                total.x += is_pixel ? x : 0.0f;
                total.y += is_pixel ? y : 0.0f;
                if (is_pixel) target[i * pairs] = packed(x, y);
            }
            target += out_width * pairs;
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

#define DEPTHWISE(K, STRIDE, TALL, ACTIVATE, BLOCKS)                                                                  \
    extern "C" __global__ void __launch_bounds__(32 * WARPS, BLOCKS) depthwise_##K##_##STRIDE##_##ACTIVATE(           \
        const unsigned int* input, const float* in_bias, const float* weight, const float* bias,                      \
        unsigned int* output, float* sums, int height, int width, int out_height, int out_width, int pairs,           \
        int pad) {                                                                                                    \
        depthwise<K, STRIDE, TALL, ACTIVATE>(input, in_bias, weight, bias, output, sums, height, width, out_height,   \
                                             out_width, pairs, pad);                                                  \
    }
#define DEPTHWISE_OF(K, STRIDE, TALL, BLOCKS)  \
    DEPTHWISE(K, STRIDE, TALL, 0, BLOCKS)      \
    DEPTHWISE(K, STRIDE, TALL, 1, BLOCKS)

DEPTHWISE_OF(3, 1, 12, 8)
DEPTHWISE_OF(5, 1, 12, 4)
DEPTHWISE_OF(3, 2, 4, 6)
DEPTHWISE_OF(5, 2, 4, 4)

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
