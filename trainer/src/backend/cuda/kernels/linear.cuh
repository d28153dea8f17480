// Linear layers: products and what is done with their results before they go to memory.
#pragma once
#include <gemm.cuh>
#include <pointwise.cuh>

// Two neighbouring values of a row, the second only if it is `both`.
DEVICE void store_pair(bf16* at, float x, float y, bool both) {
    at[0] = to_bf16(x);
    if (both) at[1] = to_bf16(y);
}

// qkv = rotate(product + bias); `rotated` columns are queries and keys.
struct Qkv {
    Product product;
    bf16* out;           // [R, n_qkv]
    const float* bias;   // [n_qkv]
    const float* angles; // [T, HS]: cosines and sines
    int rotated, head_size, n_time;

    DEVICE void store(int r, int c, float x, float y, bool both) const {
        if (bias) {
            x += bias[c];
            if (both) y += bias[c + 1];
        }
        if (angles && c < rotated) rotate(x, y, angles + (long long)(r % n_time) * head_size + c % head_size, 1.0f);
        store_pair(out + (long long)r * product.n + c, x, y, both);
    }
};

// fc = product + bias, and hidden = f(fc) unless f needs two values.
struct Fc {
    Product product;
    bf16* fc;          // [R, n_fc]
    bf16* hidden;      // [R, n_ff]
    const float* bias; // [n_fc]
    int mlp;

    DEVICE void store(int r, int c, float x, float y, bool both) const {
        if (bias) {
            x += bias[c];
            if (both) y += bias[c + 1];
        }
        long long at = (long long)r * product.n + c;
        store_pair(fc + at, x, y, both);
        if (mlp != SWIGLU) store_pair(hidden + at, activate(x, mlp), activate(y, mlp), both);
    }
};

// out = x + drop(product + bias)
struct Residual {
    Product product;
    float* out;        // [R, C]
    const float* x;    // [R, C]
    const float* bias; // [C]
    Drop drop;

    DEVICE void one(long long at, int c, float value) const {
        if (bias) value += bias[c];
        out[at] = x[at] + drop.apply(value, at);
    }

    DEVICE void store(int r, int c, float x, float y, bool both) const {
        long long at = (long long)r * product.n + c;
        one(at, c, x);
        if (both) one(at + 1, c + 1, y);
    }
};

// out = product, in f32; a part of a sum goes to an array of its own.
struct Plain {
    Product product;
    float* out; // [gridDim.z, m, n]
    int adds;   // to what is there

    DEVICE void store(int r, int c, float x, float y, bool both) const {
        float* at = out + ((long long)blockIdx.z * product.m + r) * product.n + c;
        at[0] = adds ? at[0] + x : x;
        if (both) at[1] = adds ? at[1] + y : y;
    }
};

// out = product, in bf16
struct Rounded {
    Product product;
    bf16* out; // [m, n]

    DEVICE void store(int r, int c, float x, float y, bool both) const {
        store_pair(out + (long long)r * product.n + c, x, y, both);
    }
};

// d_fc = product f'(fc), and hidden = f(fc) again
struct FcBackward {
    Product product;
    bf16* d_fc;     // [R, n_ff]
    bf16* hidden;   // [R, n_ff]
    const bf16* fc; // [R, n_ff]
    int mlp;

    DEVICE void one(long long at, float d_hidden) const {
        float value = to_float(fc[at]);
        hidden[at] = to_bf16(activate(value, mlp));
        d_fc[at] = to_bf16(d_hidden * derivative(value, mlp));
    }

    DEVICE void store(int r, int c, float x, float y, bool both) const {
        long long at = (long long)r * product.n + c;
        one(at, x);
        if (both) one(at + 1, y);
    }
};

// out = scale product + share with, in bf16: a step of Muon's polynomial
struct Combination {
    Product product;
    bf16* out;        // [m, n]
    const bf16* with; // [m, n], or nothing
    float scale, share;

    DEVICE void store(int r, int c, float x, float y, bool both) const {
        long long at = (long long)r * product.n + c;
        x = scale * x + (with ? share * to_float(with[at]) : 0.0f);
        y = scale * y + (with && both ? share * to_float(with[at + 1]) : 0.0f);
        store_pair(out + at, x, y, both);
    }
};

// Each product with tiles of 64 x 64 for small results and of 128 x 128 for large ones.
#define PRODUCT(name, Args, ACROSS_A, ACROSS_B)                                                     \
    KERNEL(name##_64, Args) { product<ACROSS_A, ACROSS_B, 2, 2, 2, 4>(a.product, a); }              \
    KERNEL(name##_128, Args) { product<ACROSS_A, ACROSS_B, 2, 4, 4, 4>(a.product, a); }

PRODUCT(linear_qkv, Qkv, false, false)
PRODUCT(linear_fc, Fc, false, false)
PRODUCT(linear_residual, Residual, false, false)
PRODUCT(linear_logits, Plain, false, false)
PRODUCT(linear_inputs, Rounded, false, true)
PRODUCT(linear_fc_backward, FcBackward, false, true)
PRODUCT(linear_weights, Plain, true, true)
PRODUCT(combine_rows, Combination, false, false)
PRODUCT(combine_columns, Combination, true, true)
PRODUCT(combine_across, Combination, false, true)
