// Matrix products on the tensor cores: bf16 factors, f32 sums.
//
// A block makes a tile BM x BN of the result from tiles of 32 of the common dimension, the next of
// which is on its way to shared memory meanwhile. What happens to a result is up to an `Epilogue`.
#pragma once
#include <device.cuh>

// Rows `r` and columns `c` of a tile from a matrix with rows of `ld` values; zeros beyond
// `rows` x `cols`. Rows in shared memory are 8 values longer, which spreads them over the banks.
// `whole`: 16-byte pieces of the matrix are aligned and not cut by its edge.
template <int R, int C, int THREADS>
DEVICE void load_tile(bf16* tile, const bf16* from, int rows, int cols, long long ld, bool whole) {
    const int PIECES = C / 8;
    for (int i = threadIdx.x; i < R * PIECES; i += THREADS) {
        int r = i / PIECES, c = i % PIECES * 8;
        bf16* to = tile + r * (C + 8) + c;
        const bf16* piece = from + r * ld + c;
        if (whole) {
            bool there = r < rows && c < cols;
            copy_async(to, there ? piece : from, there);
        } else {
#pragma unroll 1
            for (int j = 0; j < 8; j++) to[j] = r < rows && c + j < cols ? piece[j] : (bf16)0;
        }
    }
}

// A factor whose rows run along the result: tile [SIDE][32] of a matrix [side, k], or, where the
// matrix is [k, side], tile [32][SIDE].
template <bool ACROSS, int SIDE, int THREADS> struct Factor {
    static const int SIZE = ACROSS ? 32 * (SIDE + 8) : SIDE * 40;
    const bf16* from;
    long long ld;
    int side, k;
    bool whole;

    DEVICE void load(bf16* tile, int side0, int k0) const {
        if (ACROSS)
            load_tile<32, SIDE, THREADS>(tile, from + k0 * ld + side0, k - k0, side - side0, ld, whole);
        else
            load_tile<SIDE, 32, THREADS>(tile, from + side0 * ld + k0, side - side0, k - k0, ld, whole);
    }
};

// Fragment of a left factor: 16 rows from `m` on, 16 of the common dimension from `k` on.
template <bool ACROSS, int SIDE> DEVICE void left(u32 (&r)[4], const bf16* tile, int m, int k, int lane) {
    if (ACROSS)
        load_matrices_transposed(r, tile + (k + (lane & 7) + (lane >> 4) * 8) * (SIDE + 8) + m + (lane >> 3 & 1) * 8);
    else
        load_matrices(r, tile + (m + (lane & 15)) * 40 + k + (lane >> 4) * 8);
}

// Fragments of a right factor: two of 8 columns, from `n` on; r[0], r[1] are the first.
template <bool ACROSS, int SIDE> DEVICE void right(u32 (&r)[4], const bf16* tile, int n, int k, int lane) {
    if (ACROSS)
        load_matrices_transposed(r, tile + (k + (lane & 15)) * (SIDE + 8) + n + (lane >> 4) * 8);
    else
        load_matrices(r, tile + (n + (lane & 7) + (lane >> 4) * 8) * 40 + k + (lane >> 3 & 1) * 8);
}

struct Product {
    const bf16* a; // [m, k], or [k, m]
    const bf16* b; // [n, k], or [k, n]
    int m, n, k;
    int whole_a, whole_b;
    int k_block; // of the common dimension to a block, a multiple of 32: gridDim.z blocks share it
};

// WM x WN warps, each with tiles of 16 x 8: MT x NT of them.
template <bool ACROSS_A, bool ACROSS_B, int WM, int WN, int MT, int NT, class Epilogue>
DEVICE void product(const Product& p, const Epilogue& epilogue) {
    const int BM = WM * MT * 16, BN = WN * NT * 8, THREADS = WM * WN * 32;
    typedef Factor<ACROSS_A, BM, THREADS> A;
    typedef Factor<ACROSS_B, BN, THREADS> B;
    SHARED bf16 tiles[2][A::SIZE + B::SIZE];
    static_assert(sizeof(tiles) >= WM * WN * 16 * NT * 8 * sizeof(float), "room for results");
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int m0 = blockIdx.y * BM, n0 = blockIdx.x * BN;
    int first = blockIdx.z * p.k_block, end = p.k < first + p.k_block ? p.k : first + p.k_block;
    A a = {p.a, ACROSS_A ? p.m : p.k, p.m, end, p.whole_a != 0};
    B b = {p.b, ACROSS_B ? p.n : p.k, p.n, end, p.whole_b != 0};
    float sums[MT][NT][4] = {};
    a.load(tiles[0], m0, first);
    b.load(tiles[0] + A::SIZE, n0, first);
    copy_commit();
    for (int k0 = first, at = 0; k0 < end; k0 += 32, at ^= 1) {
        if (k0 + 32 < end) {
            a.load(tiles[at ^ 1], m0, k0 + 32);
            b.load(tiles[at ^ 1] + A::SIZE, n0, k0 + 32);
            copy_commit();
            copy_wait<1>();
        } else {
            copy_wait<0>();
        }
        block_barrier();
        const bf16 *ta = tiles[at], *tb = tiles[at] + A::SIZE;
        int wm = warp / WN * MT * 16, wn = warp % WN * NT * 8;
        for (int k = 0; k < 32; k += 16) {
            u32 fa[MT][4], fb[NT / 2][4];
#pragma unroll
            for (int i = 0; i < MT; i++) left<ACROSS_A, BM>(fa[i], ta, wm + i * 16, k, lane);
#pragma unroll
            for (int j = 0; j < NT / 2; j++) right<ACROSS_B, BN>(fb[j], tb, wn + j * 16, k, lane);
#pragma unroll
            for (int i = 0; i < MT; i++)
#pragma unroll
                for (int j = 0; j < NT; j++)
                    multiply_add(sums[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
        }
        block_barrier();
    }
    // Each warp takes its results through shared memory, 16 rows at a time, so that rows are stored
    // in one piece and the epilogue's code is there MT times and not for every result.
    const int COLS = NT * 8;
    float* staged = (float*)tiles[0] + warp * 16 * COLS;
    int row = m0 + warp / WN * MT * 16, col = n0 + warp % WN * COLS;
#pragma unroll
    for (int i = 0; i < MT; i++) {
#pragma unroll
        for (int j = 0; j < NT; j++)
#pragma unroll
            for (int at = 0; at < 4; at++)
                staged[(lane / 4 + at / 2 * 8) * COLS + j * 8 + lane % 4 * 2 + at % 2] = sums[i][j][at];
        warp_barrier();
#pragma unroll 1
        for (int at = lane * 2; at < 16 * COLS; at += 64) {
            int r = row + i * 16 + at / COLS, c = col + at % COLS;
            if (r < p.m && c < p.n) epilogue.store(r, c, staged[at], staged[at + 1], c + 1 < p.n);
        }
        warp_barrier();
    }
}
