// All kernels of the CUDA backend, one module. `cargo xtask cuda` builds it.
#include <attention.cuh>
#include <embedding.cuh>
#include <linear.cuh>
#include <update.cuh>
#include <windows.cuh>
