// Loss, norm of the gradients, AdamW, and the numbers that change from step to step.
#pragma once
#include <rows.cuh>

// Adds up a number of each thread of a block of 256, in a fixed order; in thread 0.
DEVICE double block_sum(double x) {
    SHARED double parts[8];
    x = warp_sum(x);
    if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5] = x;
    block_barrier();
    double sum = 0.0;
    for (int i = 0; i < 8; i++) sum += parts[i];
    block_barrier();
    return sum;
}

struct Values {
    u64* out;
    int count;
    u64 values[256];
};

// Numbers of a step, from the launch to where the kernels of the step read them.
KERNEL(set_values, Values) {
    if ((int)threadIdx.x < a.count) a.out[threadIdx.x] = a.values[threadIdx.x];
}

struct Classifier {
    float* losses;       // [n]
    bf16* d_logits;      // [n, V], or nothing
    const float* logits; // [n, V]
    const u32* targets;  // [n]: not below V for none
    const u64* scale;    // the bits of an f32
    int n_vocab;
};

// A block does a row: -ln softmax(logits)[target], and (softmax(logits) - onehot(target)) scale.
KERNEL(classifier, Classifier) {
    SHARED float parts[8];
    long long start = (long long)blockIdx.x * a.n_vocab;
    const float* logits = a.logits + start;
    u32 target = a.targets[blockIdx.x];
    bool counts = target < (u32)a.n_vocab;
    float most = -3e38f;
    for (int i = threadIdx.x; i < a.n_vocab; i += 256) most = largest(most, logits[i]);
    for (int lanes = 16; lanes > 0; lanes /= 2) most = largest(most, shuffle_xor(most, lanes));
    if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5] = most;
    block_barrier();
    for (int i = 0; i < 8; i++) most = largest(most, parts[i]);
    double own = 0.0;
    for (int i = threadIdx.x; i < a.n_vocab; i += 256) own += exponential(logits[i] - most);
    float sum = (float)block_sum(own);
    if (threadIdx.x == 0)
        a.losses[blockIdx.x] = counts ? logarithm(sum) + (most - logits[target]) : 0.0f;
    if (!a.d_logits) return;
    float scale = counts ? __uint_as_float((u32)*a.scale) : 0.0f, factor = scale / sum;
    for (int i = threadIdx.x; i < a.n_vocab; i += 256) {
        float share = exponential(logits[i] - most) * factor;
        a.d_logits[start + i] = counts ? to_bf16((u32)i == target ? share - scale : share) : (bf16)0;
    }
}

struct Sum {
    double* out;      // a table of numbers
    double* seen;     // the same for the host
    const u64* place; // in both
    const float* losses;
    const double* squares; // instead of the losses: the root of their sum
    long long n;
};

// The sum of the losses, or the norm; one block.
KERNEL(total, Sum) {
    double sum = 0.0;
    for (long long i = threadIdx.x; i < a.n; i += 256) sum += a.losses ? (double)a.losses[i] : a.squares[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) a.out[*a.place] = a.seen[*a.place] = a.losses ? sum : (double)(float)root(sum);
}

// A part of a tensor of parameters with all that belongs to it.
struct Piece {
    float *parameter, *gradient, *first, *second;
    bf16* rounded;
    int n, decays;
};

struct Squares {
    double* out; // [gridDim.x]
    const Piece* pieces;
};

KERNEL(squares, Squares) {
    Piece piece = a.pieces[blockIdx.x];
    double sum = 0.0;
    for (int i = threadIdx.x; i < piece.n; i += 256) sum += (double)piece.gradient[i] * piece.gradient[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) a.out[blockIdx.x] = sum;
}

// The norm of all gradients, and what is done with them because of it.
struct Clip {
    const double* scalars;
    const u64* place; // of the norm among them, or nothing where nothing is to be learned
    float most;       // longest gradient that is taken as it is

    DEVICE float norm() const { return place ? (float)scalars[*place] : __uint_as_float(0x7fc00000); }
    // Where the norm is not finite gradients are cleared and no more.
    DEVICE bool learns() const { return norm() < 3.4e38f; }
    DEVICE float factor() const { return norm() > most ? most / norm() : 1.0f; }
};

struct Adamw {
    const Piece* pieces;
    Clip clip;
    const u64* rates; // the bits of f32: rate, share of a matrix that stays, correction of the second moment
    float beta1, beta2, eps;
};

// The formula of `optimizer::AdamW`.
KERNEL(adamw, Adamw) {
    Piece piece = a.pieces[blockIdx.x];
    bool learns = a.clip.learns();
    float clip = a.clip.factor(), rate = __uint_as_float((u32)a.rates[0]), correction = __uint_as_float((u32)a.rates[2]);
    float keep = piece.decays ? __uint_as_float((u32)a.rates[1]) : 1.0f;
    for (int i = threadIdx.x; i < piece.n; i += 256) {
        if (learns) {
            float g = piece.gradient[i] * clip;
            float first = a.beta1 * piece.first[i] + (1.0f - a.beta1) * g;
            float second = a.beta2 * piece.second[i] + (1.0f - a.beta2) * g * g;
            float value = keep * piece.parameter[i] - rate * first / (root(second) * correction + a.eps);
            piece.first[i] = first;
            piece.second[i] = second;
            piece.parameter[i] = value;
            piece.rounded[i] = to_bf16(value);
        }
        piece.gradient[i] = 0.0f;
    }
}

// Values of a matrix that a block of the kernels of Muon does.
const int MUON_BLOCK = 2048;

struct Momentum {
    float* u;         // [n]
    double* squares;  // [gridDim.x]: of u
    float* gradient;  // [n]
    float* momentum;  // [n]
    Clip clip;
    long long n;
    float memory;
};

// The momentum of `optimizer::Muon` and its `u`, which is 0 where nothing is learned.
KERNEL(muon_momentum, Momentum) {
    bool learns = a.clip.learns();
    float clip = a.clip.factor();
    double sum = 0.0;
    long long first = blockIdx.x * (long long)MUON_BLOCK, end = a.n < first + MUON_BLOCK ? a.n : first + MUON_BLOCK;
    for (long long i = first + threadIdx.x; i < end; i += 256) {
        float u = 0.0f;
        if (learns) {
            float fresh = (1.0f - a.memory) * (a.gradient[i] * clip), momentum = a.memory * a.momentum[i] + fresh;
            a.momentum[i] = momentum;
            u = a.memory * momentum + fresh;
        }
        a.u[i] = u;
        a.gradient[i] = 0.0f;
        sum += (double)u * u;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) a.squares[blockIdx.x] = sum;
}

struct MuonStart {
    bf16* x; // [n]
    const float* u;
    const double* squares; // [gridDim.x]
    long long n;
    float eps;
};

// x = u / (|u| + eps)
KERNEL(muon_start, MuonStart) {
    SHARED float length[1];
    double sum = 0.0;
    for (u32 i = threadIdx.x; i < gridDim.x; i += 256) sum += a.squares[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) length[0] = (float)root(sum) + a.eps;
    block_barrier();
    long long first = blockIdx.x * (long long)MUON_BLOCK, end = a.n < first + MUON_BLOCK ? a.n : first + MUON_BLOCK;
    for (long long i = first + threadIdx.x; i < end; i += 256) a.x[i] = to_bf16(a.u[i] / length[0]);
}

struct MuonUpdate {
    float* parameter; // [n]
    bf16* rounded;    // [n]
    const bf16* x;    // [n]: orthogonal
    Clip clip;
    const u64* rates; // the bits of f32: rate, share that stays
    long long n;
    float scale; // of the rate, for the matrix's shape
};

KERNEL(muon_update, MuonUpdate) {
    long long i = blockIdx.x * 256ll + threadIdx.x;
    if (i >= a.n || !a.clip.learns()) return;
    float rate = __uint_as_float((u32)a.rates[0]) * a.scale, keep = __uint_as_float((u32)a.rates[1]);
    float value = keep * a.parameter[i] - rate * to_float(a.x[i]);
    a.parameter[i] = value;
    a.rounded[i] = to_bf16(value);
}

struct Average {
    float* average;          // [n]
    bf16* rounded;           // [n]
    const float* parameters; // [n]
    const u64* decay;        // the bits of an f32
    long long n;
};

KERNEL(average, Average) {
    long long i = blockIdx.x * 256ll + threadIdx.x;
    if (i >= a.n) return;
    float decay = __uint_as_float((u32)*a.decay);
    float value = decay * a.average[i] + (1.0f - decay) * a.parameters[i];
    a.average[i] = value;
    a.rounded[i] = to_bf16(value);
}
