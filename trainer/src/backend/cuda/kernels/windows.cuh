// Windows to train on, drawn from tokens that lie on the device.
#pragma once
#include <pointwise.cuh>

struct Draw {
    u32 *tokens, *targets; // [B, T]
    const void* corpus;    // of u16 or, if wide, u32
    const u64* at;         // key of a stream of random numbers, and which of them is the first row's
    long long n_starts;
    int n_time, wide;
    int in_documents; // a document begins with the token `bos`
    u32 bos;

    DEVICE u32 token(long long i) const { return wide ? ((const u32*)corpus)[i] : ((const unsigned short*)corpus)[i]; }
};

// The largest number of a block of 256 threads, in all of them.
DEVICE double block_most(double x) {
    SHARED double parts[8];
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        double other = shuffle_xor(x, lanes);
        if (other > x) x = other;
    }
    if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5] = x;
    block_barrier();
    for (int i = 0; i < 8; i++)
        if (parts[i] > x) x = parts[i];
    return x;
}

// A block draws a row: `windows::Draw`. The nearest beginning of a document is looked for backwards.
KERNEL(draw_windows, Draw) {
    long long start = (long long)high_product(random_number(a.at[0], a.at[1] + blockIdx.x), (u64)a.n_starts);
    if (a.in_documents) {
        long long first = start < a.n_time ? 0 : start - a.n_time + 1, own = start - (long long)threadIdx.x;
        while (own >= first && a.token(own) != a.bos) own -= 256;
        // Exact below 2^53.
        double nearest = block_most(own >= first ? (double)own : -1.0);
        if (nearest >= 0.0) start = (long long)nearest;
    }
    u32 *tokens = a.tokens + (long long)blockIdx.x * a.n_time, *targets = a.targets + (tokens - a.tokens);
    for (int i = threadIdx.x; i < a.n_time; i += 256) {
        tokens[i] = a.token(start + i);
        targets[i] = a.token(start + i + 1);
    }
}
