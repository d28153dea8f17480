// Token and position embedding.
#pragma once
#include <pointwise.cuh>

struct Embed {
    float* out;             // [R, C]
    const u32* ids;         // [R]
    const float* wte;       // [V, C]
    const float* positions; // [>= T, C], or nothing
    long long n;            // R C
    int width, n_time;
    Drop drop;
};

KERNEL(embed_forward, Embed) {
    long long i = blockIdx.x * 256ll + threadIdx.x;
    if (i >= a.n) return;
    long long row = i / a.width;
    int col = i % a.width;
    float value = a.wte[(long long)a.ids[row] * a.width + col];
    if (a.positions) value += a.positions[row % a.n_time * a.width + col];
    a.out[i] = a.drop.apply(value, i);
}

struct TokenGradient {
    float* parts;       // [gridDim.y, V, C]
    const float* d_out; // [R, C]
    const u32* ids;     // [R]
    int rows, width, n_vocab;
    int block; // rows to a block
    Drop drop;
};

// A block adds up the rows of one token, among some of the rows, in order: 256 rows are looked
// through at once, and those of the token listed.
KERNEL(token_gradient, TokenGradient) {
    SHARED int found[256];
    SHARED int counts[8];
    u32 token = blockIdx.x;
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    int first = blockIdx.y * a.block, end = a.rows < first + a.block ? a.rows : first + a.block;
    float* out = a.parts + ((long long)blockIdx.y * a.n_vocab + token) * a.width;
    for (int col = threadIdx.x; col < a.width; col += 256) out[col] = 0.0f;
    for (int from = first; from < end; from += 256) {
        int row = from + threadIdx.x;
        bool own = row < end && a.ids[row] == token;
        u32 owners = votes(own);
        if (lane == 0) counts[warp] = count_bits(owners);
        block_barrier();
        int place = count_bits(owners & ((1u << lane) - 1u)), total = 0;
        for (int i = 0; i < 8; i++) {
            if (i < warp) place += counts[i];
            total += counts[i];
        }
        if (own) found[place] = row;
        block_barrier();
        for (int i = 0; i < total; i++)
            for (int col = threadIdx.x; col < a.width; col += 256) {
                long long at = (long long)found[i] * a.width + col;
                out[col] += a.drop.apply(a.d_out[at], at);
            }
        block_barrier();
    }
}

struct PositionGradient {
    float* d_wpe;       // [>= T, C]
    const float* d_out; // [R, C]
    long long n;        // T C
    int n_batch;
    Drop drop;
};

KERNEL(position_gradient, PositionGradient) {
    long long i = blockIdx.x * 256ll + threadIdx.x;
    if (i >= a.n) return;
    float sum = 0.0f;
    for (int b = 0; b < a.n_batch; b++) sum += a.drop.apply(a.d_out[b * a.n + i], b * a.n + i);
    a.d_wpe[i] += sum;
}
