// Memory of the kernels.

#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace {

constexpr size_t kHugePage = 2 << 20;

template <class T>
struct Buffer {  // zeros, on cache lines
    T* data = nullptr;
    size_t size = 0;
    Buffer() = default;
    explicit Buffer(size_t wanted) { grow(wanted); }
    Buffer(Buffer&& other) noexcept : data(other.data), size(other.size) { other.data = nullptr; }
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data, other.data);
        std::swap(size, other.size);
        return *this;
    }
    ~Buffer() { std::free(data); }
    void grow(size_t wanted) {
        if (wanted <= size) return;
        std::free(data);
        size = 0;
        size_t unit = wanted * sizeof(T) < kHugePage ? 64 : kHugePage;
        size_t bytes = (wanted * sizeof(T) + unit - 1) / unit * unit;
        data = static_cast<T*>(std::aligned_alloc(unit, bytes));
        if (!data) throw std::bad_alloc();
        if (unit == kHugePage) madvise(data, bytes, MADV_HUGEPAGE);  // a step of a product jumps over many small pages
        std::memset(data, 0, bytes);
        size = wanted;
    }
};

inline int round_up(int value, int step) { return (value + step - 1) / step * step; }

}  // namespace
