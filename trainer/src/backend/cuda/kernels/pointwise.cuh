// Functions of one value: the formulas of `minigpt_runtime::ops` and `rng`.
#pragma once
#include <device.cuh>

enum { RELU = 0, GELU = 1, SWIGLU = 2, RELU_SQUARED = 3 };

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }
DEVICE float gelu_tanh(float x) {
    float inner = 0.7978846f * (x + 0.044715f * x * x * x);
    return 1.0f - 2.0f / (exponential(2.0f * inner) + 1.0f);
}

DEVICE float activate(float x, int mlp) {
    float positive = x > 0.0f ? x : 0.0f;
    if (mlp == RELU) return positive;
    if (mlp == RELU_SQUARED) return positive * positive;
    return 0.5f * x * (1.0f + gelu_tanh(x));
}

DEVICE float derivative(float x, int mlp) {
    if (mlp == RELU) return x > 0.0f ? 1.0f : 0.0f;
    if (mlp == RELU_SQUARED) return x > 0.0f ? 2.0f * x : 0.0f;
    float tanh = gelu_tanh(x), inner = 0.7978846f * (1.0f + 3.0f * 0.044715f * x * x);
    return 0.5f * (1.0f + tanh) + 0.5f * x * (1.0f - tanh * tanh) * inner;
}

// Turns a pair by the angle of `cosine_sine`; `direction` -1 turns back.
DEVICE void rotate(float& x, float& y, const float* cosine_sine, float direction) {
    float cosine = cosine_sine[0], sine = direction * cosine_sine[1], turned = x * cosine - y * sine;
    y = x * sine + y * cosine;
    x = turned;
}

// Number `i` of a stream of random numbers: `rng::random`.
DEVICE u64 random_number(u64 key, u64 i) {
    u64 z = key + (i + 1) * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

// Dropout of element `i` of a stream of random numbers.
struct Drop {
    const u64* key; // of the stream
    float probability;
    float scale; // 1 / (1 - probability)

    DEVICE float apply(float x, u64 i) const {
        if (probability <= 0.0f) return x;
        return (float)(random_number(*key, i) >> 40) * (1.0f / 16777216.0f) >= probability ? x * scale : 0.0f;
    }
};
