// Causal attention, which never stores scores: Dao 2023, algorithms 1 and 2.
//
// Tiles of queries and keys have their heads padded with zeros to HS values, a multiple of 16. A warp
// holds 16 rows. Sums of products are in the order of the tensor cores' results, which is also that
// of a left factor: probabilities go from one product to the next without leaving the registers.
#pragma once
#include <gemm.cuh>
#include <pointwise.cuh>

struct Attention {
    const bf16* qkv;    // [R, n_qkv]
    bf16* heads;        // [R, C]
    float* log_sum_exp; // [B, NH, T]
    // Of backward.
    const bf16* d_heads; // [R, C]
    float* dots;         // [B, NH, T]: of each row of heads and d_heads
    bf16* d_qkv;         // [R, n_qkv]
    const float* angles; // [T, HS], or nothing
    float scale;         // 1 / sqrt(HS)
    int n_time, n_head, n_head_kv, head_size;
    int whole; // heads begin at multiples of 16 bytes and fill them

    DEVICE int width() const { return n_head * head_size; }
    DEVICE int n_qkv() const { return (n_head + 2 * n_head_kv) * head_size; }
    DEVICE long long rows(int b, int first) const { return (long long)b * n_time + first; }
    DEVICE const bf16* part(int b, int first, int slot) const { return qkv + rows(b, first) * n_qkv() + slot * head_size; }
    DEVICE int key(int head) const { return n_head + head; }
    DEVICE int value(int head) const { return n_head + n_head_kv + head; }
};

template <int N, int HS, int THREADS>
DEVICE void load_rows(bf16* tile, const bf16* from, long long ld, int rows, const Attention& a) {
    load_tile<N, HS, THREADS>(tile, from, rows, a.head_size, ld, a.whole != 0);
}

// sums[16, N] of a row of the warp with each row of `tile` [N][HS + 8]; `mine` is [16][HS + 8].
template <int N, int HS> DEVICE void scores(float (&sums)[N / 8][4], const bf16* mine, const bf16* tile, int lane) {
#pragma unroll
    for (int j = 0; j < N / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) sums[j][i] = 0.0f;
    for (int k = 0; k < HS; k += 16) {
        u32 left[4];
        load_matrices(left, mine + (lane & 15) * (HS + 8) + k + (lane >> 4) * 8);
#pragma unroll
        for (int j = 0; j < N / 16; j++) {
            u32 right[4];
            load_matrices(right, tile + (j * 16 + (lane & 7) + (lane >> 4) * 8) * (HS + 8) + k + (lane >> 3 & 1) * 8);
            multiply_add(sums[2 * j], left, right[0], right[1]);
            multiply_add(sums[2 * j + 1], left, right[2], right[3]);
        }
    }
}

// out[16, HS] += weights[16, N] tile[N][HS + 8]
template <int N, int HS>
DEVICE void weighted_rows(float (&out)[HS / 8][4], const float (&weights)[N / 8][4], const bf16* tile, int lane) {
#pragma unroll
    for (int k = 0; k < N / 16; k++) {
        const float *low = weights[2 * k], *high = weights[2 * k + 1];
        u32 left[4] = {pack(low[0], low[1]), pack(low[2], low[3]), pack(high[0], high[1]), pack(high[2], high[3])};
#pragma unroll
        for (int j = 0; j < HS / 16; j++) {
            u32 right[4];
            load_matrices_transposed(right, tile + (k * 16 + (lane & 15)) * (HS + 8) + j * 16 + (lane >> 4) * 8);
            multiply_add(out[2 * j], left, right[0], right[1]);
            multiply_add(out[2 * j + 1], left, right[2], right[3]);
        }
    }
}

// Rows `first` + lane / 4 and 8 further of a head, times `factor`; turned back by the angles of their
// positions if there are any.
template <int HS>
DEVICE void store_rows(bf16* to, long long ld, const float (&sums)[HS / 8][4], const float (&factor)[2], int first,
                       const float* angles, const Attention& a, int lane) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = first + lane / 4 + half * 8;
        if (row >= a.n_time) continue;
#pragma unroll
        for (int j = 0; j < HS / 8; j++) {
            int col = j * 8 + lane % 4 * 2;
            float x = sums[j][half * 2] * factor[half], y = sums[j][half * 2 + 1] * factor[half];
            if (angles && col < a.head_size) rotate(x, y, angles + (long long)row * a.head_size + col, -1.0f);
            if (col < a.head_size) to[row * ld + col] = to_bf16(x);
            if (col + 1 < a.head_size) to[row * ld + col + 1] = to_bf16(y);
        }
    }
}

// A block does 16 WARPS queries of a head: N keys at a time, those of the future left out.
template <int HS, int WARPS, int N> DEVICE void attention_forward(const Attention& a) {
    const int ROWS = WARPS * 16, THREADS = WARPS * 32;
    SHARED bf16 q[ROWS * (HS + 8)], k[N * (HS + 8)], v[N * (HS + 8)];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, head = blockIdx.y, b = blockIdx.z;
    int first = blockIdx.x * ROWS, shared_head = head / (a.n_head / a.n_head_kv), mine = first + warp * 16 + lane / 4;
    load_rows<ROWS, HS, THREADS>(q, a.part(b, first, head), a.n_qkv(), a.n_time - first, a);
    float out[HS / 8][4] = {}, most[2] = {-3e38f, -3e38f}, sum[2] = {};
    int end = a.n_time < first + ROWS ? a.n_time : first + ROWS;
    for (int from = 0; from < end; from += N) {
        load_rows<N, HS, THREADS>(k, a.part(b, from, a.key(shared_head)), a.n_qkv(), a.n_time - from, a);
        load_rows<N, HS, THREADS>(v, a.part(b, from, a.value(shared_head)), a.n_qkv(), a.n_time - from, a);
        copy_commit();
        copy_wait<0>();
        block_barrier();
        float p[N / 8][4];
        scores<N, HS>(p, q + warp * 16 * (HS + 8), k, lane);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float top = most[half];
#pragma unroll
            for (int j = 0; j < N / 8; j++)
#pragma unroll
                for (int i = half * 2; i < half * 2 + 2; i++) {
                    int key = from + j * 8 + lane % 4 * 2 + (i & 1);
                    p[j][i] = key <= mine + half * 8 && key < a.n_time ? p[j][i] * a.scale : -3e38f;
                    top = largest(top, p[j][i]);
                }
            top = largest(top, shuffle_xor(top, 1));
            top = largest(top, shuffle_xor(top, 2));
            float shrink = exponential(most[half] - top), own = 0.0f;
            most[half] = top;
#pragma unroll
            for (int j = 0; j < N / 8; j++)
#pragma unroll
                for (int i = half * 2; i < half * 2 + 2; i++) {
                    p[j][i] = p[j][i] > -2e38f ? exponential(p[j][i] - top) : 0.0f;
                    own += p[j][i];
                }
            own += shuffle_xor(own, 1);
            own += shuffle_xor(own, 2);
            sum[half] = sum[half] * shrink + own;
#pragma unroll
            for (int j = 0; j < HS / 8; j++) {
                out[j][half * 2] *= shrink;
                out[j][half * 2 + 1] *= shrink;
            }
        }
        weighted_rows<N, HS>(out, p, v, lane);
        block_barrier();
    }
    float factor[2] = {1.0f / sum[0], 1.0f / sum[1]};
    store_rows<HS>(a.heads + a.rows(b, 0) * a.width() + head * a.head_size, a.width(), out, factor, first + warp * 16, 0, a, lane);
    for (int half = 0; half < 2; half++)
        if (lane % 4 == 0 && mine + half * 8 < a.n_time)
            a.log_sum_exp[((long long)b * a.n_head + head) * a.n_time + mine + half * 8] = most[half] + logarithm(sum[half]);
}

// dots = sum over a head of heads d_heads; a thread does a row of a head.
KERNEL(attention_dots, Attention) {
    int t = blockIdx.x * 256 + threadIdx.x;
    if (t >= a.n_time) return;
    long long at = a.rows(blockIdx.z, t) * a.width() + blockIdx.y * a.head_size;
    float sum = 0.0f;
    for (int i = 0; i < a.head_size; i++) sum += to_float(a.heads[at + i]) * to_float(a.d_heads[at + i]);
    a.dots[((long long)blockIdx.z * a.n_head + blockIdx.y) * a.n_time + t] = sum;
}

// From scores and d_heads v^T to probabilities and the gradient of q k^T.
DEVICE void one_backward(float& p, float& d_s, bool seen, float log_sum_exp, float dot, float scale) {
    p = seen ? exponential(p * scale - log_sum_exp) : 0.0f;
    d_s = p * (d_s - dot) * scale;
}

// A block does the gradient of 16 WARPS queries of a head: ds k.
template <int HS, int WARPS, int N> DEVICE void attention_backward_queries(const Attention& a) {
    const int ROWS = WARPS * 16, THREADS = WARPS * 32;
    SHARED bf16 q[ROWS * (HS + 8)], d_out[ROWS * (HS + 8)], k[N * (HS + 8)], v[N * (HS + 8)];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, head = blockIdx.y, b = blockIdx.z;
    int first = blockIdx.x * ROWS, shared_head = head / (a.n_head / a.n_head_kv), mine = first + warp * 16 + lane / 4;
    load_rows<ROWS, HS, THREADS>(q, a.part(b, first, head), a.n_qkv(), a.n_time - first, a);
    load_rows<ROWS, HS, THREADS>(d_out, a.d_heads + a.rows(b, first) * a.width() + head * a.head_size, a.width(),
                                 a.n_time - first, a);
    float log_sum_exp[2] = {}, dot[2] = {}, d_q[HS / 8][4] = {};
    for (int half = 0; half < 2; half++)
        if (mine + half * 8 < a.n_time) {
            long long at = ((long long)b * a.n_head + head) * a.n_time + mine + half * 8;
            log_sum_exp[half] = a.log_sum_exp[at];
            dot[half] = a.dots[at];
        }
    int end = a.n_time < first + ROWS ? a.n_time : first + ROWS;
    for (int from = 0; from < end; from += N) {
        load_rows<N, HS, THREADS>(k, a.part(b, from, a.key(shared_head)), a.n_qkv(), a.n_time - from, a);
        load_rows<N, HS, THREADS>(v, a.part(b, from, a.value(shared_head)), a.n_qkv(), a.n_time - from, a);
        copy_commit();
        copy_wait<0>();
        block_barrier();
        float p[N / 8][4], d_s[N / 8][4];
        scores<N, HS>(p, q + warp * 16 * (HS + 8), k, lane);
        scores<N, HS>(d_s, d_out + warp * 16 * (HS + 8), v, lane);
#pragma unroll
        for (int j = 0; j < N / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int key = from + j * 8 + lane % 4 * 2 + (i & 1), query = mine + i / 2 * 8;
                one_backward(p[j][i], d_s[j][i], key <= query && query < a.n_time, log_sum_exp[i / 2], dot[i / 2], a.scale);
            }
        weighted_rows<N, HS>(d_q, d_s, k, lane);
        block_barrier();
    }
    float factor[2] = {1.0f, 1.0f};
    store_rows<HS>(a.d_qkv + a.rows(b, 0) * a.n_qkv() + head * a.head_size, a.n_qkv(), d_q, factor, first + warp * 16, a.angles, a, lane);
}

// A block does the gradients of 16 WARPS keys and values of a group of heads: p^T d_out and ds^T q,
// over the queries of all heads of the group in order.
template <int HS, int WARPS, int N> DEVICE void attention_backward_keys(const Attention& a) {
    const int ROWS = WARPS * 16, THREADS = WARPS * 32;
    SHARED bf16 k[ROWS * (HS + 8)], v[ROWS * (HS + 8)], q[N * (HS + 8)], d_out[N * (HS + 8)];
    SHARED float log_sum_exp[N], dot[N];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, shared_head = blockIdx.y, b = blockIdx.z;
    int first = blockIdx.x * ROWS, group = a.n_head / a.n_head_kv, mine = first + warp * 16 + lane / 4;
    load_rows<ROWS, HS, THREADS>(k, a.part(b, first, a.key(shared_head)), a.n_qkv(), a.n_time - first, a);
    load_rows<ROWS, HS, THREADS>(v, a.part(b, first, a.value(shared_head)), a.n_qkv(), a.n_time - first, a);
    float d_k[HS / 8][4] = {}, d_v[HS / 8][4] = {};
    for (int head = shared_head * group; head < (shared_head + 1) * group; head++)
        for (int from = first / N * N; from < a.n_time; from += N) {
            load_rows<N, HS, THREADS>(q, a.part(b, from, head), a.n_qkv(), a.n_time - from, a);
            load_rows<N, HS, THREADS>(d_out, a.d_heads + a.rows(b, from) * a.width() + head * a.head_size, a.width(),
                                      a.n_time - from, a);
            copy_commit();
            for (int i = threadIdx.x; i < N; i += THREADS) {
                long long at = ((long long)b * a.n_head + head) * a.n_time + from + i;
                bool there = from + i < a.n_time;
                log_sum_exp[i] = there ? a.log_sum_exp[at] : 0.0f;
                dot[i] = there ? a.dots[at] : 0.0f;
            }
            copy_wait<0>();
            block_barrier();
            float p[N / 8][4], d_s[N / 8][4];
            scores<N, HS>(p, k + warp * 16 * (HS + 8), q, lane);
            scores<N, HS>(d_s, v + warp * 16 * (HS + 8), d_out, lane);
#pragma unroll
            for (int j = 0; j < N / 8; j++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    int at = j * 8 + lane % 4 * 2 + (i & 1), query = from + at, key = mine + i / 2 * 8;
                    one_backward(p[j][i], d_s[j][i], key <= query && query < a.n_time, log_sum_exp[at], dot[at], a.scale);
                }
            weighted_rows<N, HS>(d_v, p, d_out, lane);
            weighted_rows<N, HS>(d_k, d_s, q, lane);
            block_barrier();
        }
    float factor[2] = {1.0f, 1.0f};
    bf16* to = a.d_qkv + a.rows(b, 0) * a.n_qkv();
    store_rows<HS>(to + a.key(shared_head) * a.head_size, a.n_qkv(), d_k, factor, first + warp * 16, a.angles, a, lane);
    store_rows<HS>(to + a.value(shared_head) * a.head_size, a.n_qkv(), d_v, factor, first + warp * 16, 0, a, lane);
}

// Rows of a block times a padded head stay within the 48 KiB of shared memory that every device has.
#define ATTENTION(HS, WARPS, N)                                                                     \
    KERNEL(attention_forward_##HS, Attention) { attention_forward<HS, WARPS, N>(a); }               \
    KERNEL(attention_backward_queries_##HS, Attention) { attention_backward_queries<HS, WARPS, N>(a); } \
    KERNEL(attention_backward_keys_##HS, Attention) { attention_backward_keys<HS, WARPS, N>(a); }

ATTENTION(16, 4, 64)
ATTENTION(32, 4, 64)
ATTENTION(64, 4, 64)
ATTENTION(128, 2, 32)
