// Pillow's default resize (bicubic, antialiased) of RGB images to exactly half their size, to the bit, but for the two
// outermost rows and columns of the result, whose weights are others: those are left as they are.
//
// Built by engines/native/libraries.py, called by halve.py. At a scale of 2 Pillow's weights are multiples of
// 1/256, so that its 22-bit fixed point and this 8-bit one round alike: across first, to whole pixel values, then down.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

namespace {

constexpr int kTaps = 8;
constexpr int kNear = 111, kSecond = 29, kThird = -9, kFar = -3;  // of 256, on either side of the output's centre

inline uint8_t weighted(int near, int second, int third, int far) {
    int sum = kNear * near + kSecond * second + kThird * third + kFar * far + 128;
    return (uint8_t)std::min(std::max(sum >> 8, 0), 255);
}

// A line of `width` * 2 pixels: every second pixel to `even`, the others to `odd`.
void deinterleave(const uint8_t* line, int width, uint8_t* even, uint8_t* odd) {
    for (int x = 0; x < width - 1; x++, line += 6, even += 3, odd += 3) {  // four bytes at a time: the last one is overwritten
        std::memcpy(even, line, 4);
        std::memcpy(odd, line + 3, 4);
    }
    std::memcpy(even, line, 3);
    std::memcpy(odd, line + 3, 3);
}

void across(const uint8_t* line, int width, uint8_t* even, uint8_t* odd, uint8_t* out) {
    deinterleave(line, width, even, odd);
    for (int i = 6; i < (width - 2) * 3; i++) {  // pixels 2x - 3 to 2x + 4 are the taps of output x
        out[i] = weighted(even[i] + odd[i], odd[i - 3] + even[i + 3], even[i - 3] + odd[i + 3], odd[i - 6] + even[i + 6]);
    }
}

void down(uint8_t* const* lines, int count, uint8_t* out) {
    const uint8_t *a = lines[0], *b = lines[1], *c = lines[2], *d = lines[3];
    const uint8_t *e = lines[4], *f = lines[5], *g = lines[6], *h = lines[7];
    for (int i = 0; i < count; i++) out[i] = weighted(d[i] + e[i], c[i] + f[i], b[i] + g[i], a[i] + h[i]);
}

}  // namespace

// image: (2 * height, 2 * width, 3); out: (height, width, 3), contiguous; both sides of `out` at least 5
extern "C" int halve(const uint8_t* image, int height, int width, uint8_t* out) {
    try {
        size_t line = (size_t)width * 3;
        std::vector<uint8_t> rows(line * kTaps), even(line), odd(line);
        auto row = [&](int y) { return rows.data() + (y % kTaps) * line; };
        int next = 1;  // of the image's rows: the first that the third output row needs
        for (int y = 2; y < height - 2; y++) {
            for (; next <= 2 * y + 4; next++) across(image + next * 2 * line, width, even.data(), odd.data(), row(next));
            uint8_t* taps[kTaps];
            for (int i = 0; i < kTaps; i++) taps[i] = row(2 * y - 3 + i);
            down(taps, (int)line, out + y * line);
        }
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
