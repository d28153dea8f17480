// A stand-in for cuBLASLt: the functions that the backend calls, on the memory and the streams of `work.h`. It
// knows products of `bf16` and refuses, as the library does, what does not fit together. Objects are counted.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "work.h"

namespace {

enum Status { DONE = 0, FAILED = 14, WRONG = 7, UNKNOWN = 15 };
enum Kind { F32 = 0, BF16 = 14 };
const int COMPUTE_F32 = 68;

// Of this thread.
thread_local long alive;

struct Counted {
    Counted() { alive++; }
    Counted(const Counted&) { alive++; }
    ~Counted() { alive--; }
};
struct Handle : Counted {};
struct Operation : Counted {
    int turned[2] = {0, 0}; // of the first factor and the second: 1 is transposed
};
struct Layout : Counted {
    int kind;
    uint64_t rows, columns;
    int64_t between;
    uint64_t bytes() const { return (columns - 1) * between * width() + rows * width(); }
    uint64_t width() const { return kind == F32 ? 4 : 2; }
};
struct Preference : Counted {
    uint64_t workspace = 0;
    uint32_t aligned[4] = {256, 256, 256, 256}, scheme = 7;
};
struct Algorithm {
    uint64_t workspace;
    uint32_t aligned[4];
    uint64_t mark;
};
struct Found {
    uint64_t algorithm[8];
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};
const uint64_t MARK = 0x6d696e69677074;

float number(const Layout& of, const void* at, uint64_t row, uint64_t column) {
    uint64_t i = column * of.between + row;
    if (of.kind == F32) return ((const float*)at)[i];
    uint32_t bits = (uint32_t)((const uint16_t*)at)[i] << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

void put(const Layout& of, void* at, uint64_t row, uint64_t column, float x) {
    uint64_t i = column * of.between + row;
    if (of.kind == F32) {
        ((float*)at)[i] = x;
        return;
    }
    uint32_t bits;
    memcpy(&bits, &x, 4);
    ((uint16_t*)at)[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

struct Sizes {
    uint64_t m, n, k;
};

bool fit(const Operation& o, const Layout& a, const Layout& b, const Layout& d, Sizes& s) {
    s.m = o.turned[0] ? a.columns : a.rows;
    s.k = o.turned[0] ? a.rows : a.columns;
    s.n = o.turned[1] ? b.rows : b.columns;
    uint64_t k = o.turned[1] ? b.columns : b.rows;
    return a.kind == BF16 && b.kind == BF16 && s.k == k && d.rows == s.m && d.columns == s.n;
}

} // namespace

extern "C" {

// No call of the library's: objects that were made and not given back.
long simulated_alive() { return alive; }

Status cublasLtCreate(void** handle) {
    *handle = new Handle;
    return DONE;
}
Status cublasLtDestroy(void* handle) {
    delete (Handle*)handle;
    return DONE;
}

Status cublasLtMatmulDescCreate(void** made, int compute, int scale) {
    if (compute != COMPUTE_F32 || scale != F32) return UNKNOWN;
    *made = new Operation;
    return DONE;
}
Status cublasLtMatmulDescDestroy(void* operation) {
    delete (Operation*)operation;
    return DONE;
}
Status cublasLtMatmulDescSetAttribute(void* operation, int attribute, const void* value, size_t bytes) {
    if ((attribute != 3 && attribute != 4) || bytes != 4) return WRONG;
    memcpy(&((Operation*)operation)->turned[attribute - 3], value, 4);
    return DONE;
}

Status cublasLtMatrixLayoutCreate(void** made, int kind, uint64_t rows, uint64_t columns, int64_t between) {
    if (!rows || !columns || between < (int64_t)rows) return WRONG;
    Layout* layout = new Layout;
    layout->kind = kind, layout->rows = rows, layout->columns = columns, layout->between = between;
    *made = layout;
    return DONE;
}
Status cublasLtMatrixLayoutDestroy(void* layout) {
    delete (Layout*)layout;
    return DONE;
}

Status cublasLtMatmulPreferenceCreate(void** made) {
    *made = new Preference;
    return DONE;
}
Status cublasLtMatmulPreferenceDestroy(void* preference) {
    delete (Preference*)preference;
    return DONE;
}
Status cublasLtMatmulPreferenceSetAttribute(void* preference, int attribute, const void* value, size_t bytes) {
    Preference& p = *(Preference*)preference;
    if (attribute == 1 && bytes == 8) memcpy(&p.workspace, value, 8);
    else if (attribute == 3 && bytes == 4) memcpy(&p.scheme, value, 4);
    else if (attribute >= 5 && attribute <= 8 && bytes == 4) memcpy(&p.aligned[attribute - 5], value, 4);
    else return WRONG;
    return DONE;
}

// MINIGPT_FAKE_REFUSED: the library knows no way for outputs of `bf16`.
Status cublasLtMatmulAlgoGetHeuristic(void*, void* operation, void* a, void* b, void* c, void* d, void* preference,
                                      int asked, void* results, int* count) {
    Sizes s;
    *count = 0;
    Preference& p = *(Preference*)preference;
    // In place or in the output's type, sums would not keep to one order.
    if (asked < 1 || c != d || p.scheme & ~2u) return WRONG;
    if (!fit(*(Operation*)operation, *(Layout*)a, *(Layout*)b, *(Layout*)d, s)) return WRONG;
    if (getenv("MINIGPT_FAKE_REFUSED") && ((Layout*)d)->kind == BF16) return UNKNOWN;
    Algorithm algorithm = {p.workspace, {}, MARK};
    memcpy(algorithm.aligned, p.aligned, sizeof p.aligned);
    Found result = {};
    memcpy(result.algorithm, &algorithm, sizeof algorithm);
    result.workspace = p.workspace;
    memcpy(results, &result, sizeof result);
    *count = 1;
    return DONE;
}

Status cublasLtMatmul(void*, void* operation, const float* alpha, const void* a, void* a_layout, const void* b,
                      void* b_layout, const float* beta, const void* c, void* c_layout, void* d, void* d_layout,
                      const void* chosen, void* workspace, size_t bytes, void* stream) {
    Layout &la = *(Layout*)a_layout, &lb = *(Layout*)b_layout, &ld = *(Layout*)d_layout;
    Algorithm algorithm;
    memcpy(&algorithm, chosen, sizeof algorithm);
    Sizes s;
    if (algorithm.mark != MARK || c != d || c_layout != d_layout) return WRONG;
    if (!fit(*(Operation*)operation, la, lb, ld, s)) return WRONG;
    const void* places[] = {a, b, c, d};
    for (int i = 0; i < 4; i++)
        if ((uintptr_t)places[i] % algorithm.aligned[i]) return WRONG;
    auto there = [](const void* at, uint64_t bytes) { return owned((uintptr_t)at, bytes); };
    if (!there(a, la.bytes()) || !there(b, lb.bytes()) || !there(d, ld.bytes())) return WRONG;
    if (bytes < algorithm.workspace || !there(workspace, bytes)) return WRONG;
    float scale = *alpha, before = *beta;
    Operation o = *(Operation*)operation;
    Layout of_a = la, of_b = lb, of_d = ld;
    return ask_or_record(stream, [=] {
        // Half the sum at a time, as if parts of it were shared.
        memset(workspace, 0x7f, algorithm.workspace < 4096 ? algorithm.workspace : 4096);
        for (uint64_t j = 0; j < s.n; j++)
            for (uint64_t i = 0; i < s.m; i++) {
                float halves[2] = {0, 0};
                for (uint64_t k = 0; k < s.k; k++)
                    halves[k >= s.k / 2] += (o.turned[0] ? number(of_a, a, k, i) : number(of_a, a, i, k)) *
                                            (o.turned[1] ? number(of_b, b, j, k) : number(of_b, b, k, j));
                float sum = scale * (halves[0] + halves[1]);
                // Without a share, what was there is not read.
                put(of_d, d, i, j, before == 0.0f ? sum : sum + before * number(of_d, d, i, j));
            }
        return SUCCESS;
    }) ? FAILED : DONE;
}

} // extern "C"
