// `device.cuh` of the kernels, for the CPU: what a warp or a block does together waits for all of its
// threads (`fibres.h`), and what the hardware may do late is done as late as it may.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "fibres.h"

typedef unsigned short bf16;
typedef unsigned long long u64;
typedef unsigned int u32;

// The driver finds a kernel and the size of its arguments by name.
#define KERNEL(name, Args)                                          \
    extern "C" const unsigned name##_size = sizeof(Args);           \
    static void name##_body(const Args& a);                         \
    extern "C" void name(const void* a) { name##_body(*(const Args*)a); } \
    static void name##_body(const Args& a)
#define DEVICE inline
// Of one thread of the machine, which does one block at a time.
#define SHARED alignas(16) static thread_local

static const fibres::Coordinate threadIdx;
#define blockIdx (fibres::block())
#define gridDim (fibres::grid())

inline float __uint_as_float(u32 bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
inline float to_float(bf16 x) { return __uint_as_float((u32)x << 16); }
inline bf16 to_bf16(float x) {
    u32 bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;
    return (bf16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
inline u32 pack(float low, float high) { return to_bf16(low) | (u32)to_bf16(high) << 16; }

inline void copy_async(void* to, const void* from, bool there) {
    fibres::require(((uintptr_t)to & 15) == 0 && ((uintptr_t)from & 15) == 0, "a copy of 16 bytes is not aligned");
    fibres::copy_later(to, there ? from : nullptr);
}
inline void copy_commit() { fibres::commit_copies(); }
template <int N> void copy_wait() { fibres::wait_for_copies(N); }
inline void block_barrier() { fibres::block_barrier(); }
inline void warp_barrier() { fibres::together(nullptr, [](void**) {}); }

struct Matrices {
    u32* out;
    const bf16* row;
};

template <bool TRANSPOSED> void load_four(u32 (&r)[4], const bf16* row) {
    fibres::require(((uintptr_t)row & 15) == 0, "a row of a matrix is not aligned");
    Matrices mine = {r, row};
    fibres::together(&mine, [](void** lanes) {
        for (int lane = 0; lane < 32; lane++)
            for (int i = 0; i < 4; i++) {
                auto value = [&](int side) -> u32 {
                    int r = lane / 4, c = lane % 4 * 2 + side;
                    if (TRANSPOSED) std::swap(r, c);
                    return ((Matrices*)lanes[i * 8 + r])->row[c];
                };
                ((Matrices*)lanes[lane])->out[i] = value(0) | value(1) << 16;
            }
    });
}
inline void load_matrices(u32 (&r)[4], const bf16* row) { load_four<false>(r, row); }
inline void load_matrices_transposed(u32 (&r)[4], const bf16* row) { load_four<true>(r, row); }

struct Fragments {
    float* c;
    const u32* a;
    u32 b[2];
};

inline void multiply_add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    Fragments mine = {c, a, {b0, b1}};
    fibres::together(&mine, [](void** lanes) {
        float left[16][16], right[16][8];
        auto half = [](u32 pair, int side) { return to_float((bf16)(pair >> 16 * side)); };
        for (int lane = 0; lane < 32; lane++) {
            auto* f = (Fragments*)lanes[lane];
            int g = lane / 4, t = lane % 4 * 2;
            for (int side = 0; side < 2; side++) {
                for (int i = 0; i < 4; i++) left[g + i % 2 * 8][t + i / 2 * 8 + side] = half(f->a[i], side);
                for (int i = 0; i < 2; i++) right[t + i * 8 + side][g] = half(f->b[i], side);
            }
        }
        float sums[16][8] = {};
        for (int i = 0; i < 16; i++)
            for (int k = 0; k < 16; k++)
                for (int j = 0; j < 8; j++) sums[i][j] += left[i][k] * right[k][j];
        for (int lane = 0; lane < 32; lane++)
            for (int i = 0; i < 4; i++)
                ((Fragments*)lanes[lane])->c[i] += sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
    });
}

template <class T> struct Shuffle {
    T value, result;
    int lanes;
};
template <class T> T shuffle_xor(T x, int lanes) {
    Shuffle<T> mine = {x, x, lanes};
    fibres::together(&mine, [](void** all) {
        for (int lane = 0; lane < 32; lane++) {
            auto* own = (Shuffle<T>*)all[lane];
            own->result = ((Shuffle<T>*)all[lane ^ own->lanes])->value;
        }
    });
    return mine.result;
}

struct Vote {
    bool own;
    u32 all;
};
inline u32 votes(bool x) {
    Vote mine = {x, 0};
    fibres::together(&mine, [](void** lanes) {
        u32 all = 0;
        for (int lane = 0; lane < 32; lane++) all |= (u32)((Vote*)lanes[lane])->own << lane;
        for (int lane = 0; lane < 32; lane++) ((Vote*)lanes[lane])->all = all;
    });
    return mine.all;
}
inline int count_bits(u32 x) { return __builtin_popcount(x); }
inline u64 high_product(u64 x, u64 y) { return (u64)((unsigned __int128)x * y >> 64); }

inline float exponential(float x) { return expf(x); }
inline float logarithm(float x) { return logf(x); }
inline float root(float x) { return sqrtf(x); }
inline double root(double x) { return sqrt(x); }
inline float largest(float a, float b) { return fmaxf(a, b); }
