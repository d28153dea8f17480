// Norms, sums of columns, nonlinearities, dropout: what passes over rows once.
#pragma once
#include <pointwise.cuh>

DEVICE float warp_sum(float x) {
    for (int lanes = 16; lanes > 0; lanes /= 2) x += shuffle_xor(x, lanes);
    return x;
}

DEVICE double warp_sum(double x) {
    for (int lanes = 16; lanes > 0; lanes /= 2) x += shuffle_xor(x, lanes);
    return x;
}

struct Norm {
    bf16* out;           // [R, C]
    float* stats;        // [R, 2]: mean (0 for RMS norm) and reciprocal deviation
    const float* x;      // [R, C]
    const float* weight; // [C]
    const float* bias;   // [C]
    int rows, width, rms;
    int known; // stats are there already
};

// A warp normalises a row.
KERNEL(norm_forward, Norm) {
    int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x & 31;
    if (row >= a.rows) return;
    const float* x = a.x + (long long)row * a.width;
    float* stats = a.stats + row * 2ll;
    float mean = 0.0f, deviation;
    if (a.known) {
        mean = stats[0];
        deviation = stats[1];
    } else {
        if (!a.rms) {
            for (int i = lane; i < a.width; i += 32) mean += x[i];
            mean = warp_sum(mean) / a.width;
        }
        float squares = 0.0f;
        for (int i = lane; i < a.width; i += 32) squares += (x[i] - mean) * (x[i] - mean);
        deviation = 1.0f / root(warp_sum(squares) / a.width + 1e-5f);
        if (lane == 0) {
            stats[0] = mean;
            stats[1] = deviation;
        }
    }
    bf16* out = a.out + (long long)row * a.width;
    for (int i = lane; i < a.width; i += 32)
        out[i] = to_bf16((x[i] - mean) * deviation * a.weight[i] + (a.bias ? a.bias[i] : 0.0f));
}

struct NormBackward {
    float* d_x;          // [R, C]
    const bf16* d_out;   // [R, C]: of the normalised rows
    const float* skip;   // [R, C], or nothing
    const float* x;      // [R, C]
    const float* stats;  // [R, 2]
    const float* weight; // [C]
    int rows, width, rms;
};

// With h = (x - mean) rstd and g = d_out weight: d_x = skip + rstd (g - mean(g) - h mean(g h)).
KERNEL(norm_backward, NormBackward) {
    int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x & 31;
    if (row >= a.rows) return;
    long long start = (long long)row * a.width;
    const float* x = a.x + start;
    const bf16* d_out = a.d_out + start;
    float mean = a.stats[row * 2ll], deviation = a.stats[row * 2ll + 1], g_sum = 0.0f, gh_sum = 0.0f;
    for (int i = lane; i < a.width; i += 32) {
        float g = to_float(d_out[i]) * a.weight[i];
        g_sum += g;
        gh_sum += g * (x[i] - mean) * deviation;
    }
    float g_mean = a.rms ? 0.0f : warp_sum(g_sum) / a.width, gh_mean = warp_sum(gh_sum) / a.width;
    for (int i = lane; i < a.width; i += 32) {
        float g = to_float(d_out[i]) * a.weight[i], h = (x[i] - mean) * deviation;
        a.d_x[start + i] = (a.skip ? a.skip[start + i] : 0.0f) + deviation * (g - g_mean - h * gh_mean);
    }
}

struct Columns {
    float* sums;       // [gridDim.y, width]: of d_out
    float* scaled;     // [gridDim.y, width]: of d_out (x - mean) rstd, or nothing
    const bf16* d_out; // [R, width]
    const float* x;    // [R, width]
    const float* stats;
    int rows, width;
    int block; // rows to a block
};

// A block adds up 32 columns of some rows: 8 warps, then their sums in order.
KERNEL(column_sums, Columns) {
    SHARED float parts[2][8][32];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, col = blockIdx.x * 32 + lane;
    int first = blockIdx.y * a.block, end = a.rows < first + a.block ? a.rows : first + a.block;
    float sum = 0.0f, scaled = 0.0f;
    if (col < a.width)
        for (int row = first + warp; row < end; row += 8) {
            long long at = (long long)row * a.width + col;
            float d_out = to_float(a.d_out[at]);
            sum += d_out;
            if (a.scaled) scaled += d_out * (a.x[at] - a.stats[row * 2ll]) * a.stats[row * 2ll + 1];
        }
    parts[0][warp][lane] = sum;
    parts[1][warp][lane] = scaled;
    block_barrier();
    if (warp > 1 || col >= a.width || (warp == 1 && !a.scaled) || (warp == 0 && !a.sums)) return;
    float total = 0.0f;
    for (int i = 0; i < 8; i++) total += parts[warp][i][lane];
    (warp ? a.scaled : a.sums)[(long long)blockIdx.y * a.width + col] = total;
}

struct Parts {
    float* out;         // [n]
    const float* parts; // [count, n]
    long long n;
    int count;
};

// Adds parts of a sum to `out`, in their order.
KERNEL(add_parts, Parts) {
    long long i = blockIdx.x * 256ll + threadIdx.x;
    if (i >= a.n) return;
    float sum = 0.0f;
    for (int j = 0; j < a.count; j++) sum += a.parts[j * a.n + i];
    a.out[i] += sum;
}

struct Swiglu {
    bf16* hidden;         // [R, n_ff]
    bf16* d_fc;           // [R, 2 n_ff], or nothing: forward only
    const bf16* fc;       // [R, 2 n_ff]: gates, then values
    const bf16* d_hidden; // [R, n_ff]
    long long n;          // R n_ff
    int n_ff;
};

// hidden = silu(gate) value; backward makes it again.
KERNEL(swiglu, Swiglu) {
    long long i = blockIdx.x * 256ll + threadIdx.x;
    if (i >= a.n) return;
    long long gate_at = i / a.n_ff * 2 * a.n_ff + i % a.n_ff, up_at = gate_at + a.n_ff;
    float gate = to_float(a.fc[gate_at]), up = to_float(a.fc[up_at]), share = sigmoid(gate);
    a.hidden[i] = to_bf16(gate * share * up);
    if (!a.d_fc) return;
    float d_hidden = to_float(a.d_hidden[i]);
    a.d_fc[gate_at] = to_bf16(d_hidden * up * share * (1.0f + gate * (1.0f - share)));
    a.d_fc[up_at] = to_bf16(d_hidden * gate * share);
}

struct Rounding {
    bf16* out;
    const float* x;
    long long n;
    Drop drop;
};

// out = drop(x): the gradient of a branch, and the copy of a parameter that is computed with.
KERNEL(round_values, Rounding) {
    long long i = blockIdx.x * 256ll + threadIdx.x;
    if (i < a.n) a.out[i] = to_bf16(a.drop.apply(a.x[i], i));
}
