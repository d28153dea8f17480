#include "fibres.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <utility>
#include <vector>

#include <sys/mman.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the registers that calls keep, and the stack; goes on where `to` was saved.
extern "C" void fibres_switch(void** from, void* to);
#if defined(__x86_64__)
asm(R"(.text
.globl fibres_switch
fibres_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
#else
#error "the simulator knows how to switch stacks on x86-64 only"
#endif

namespace fibres {
namespace {

const size_t STACK = 64 * 1024;
const unsigned WARP = 32, MOST_THREADS = 1024;

enum State { RUNS, AT_BARRIER, IN_WARP, ENDED };

struct Copy {
    void* to;
    const void* from;
};

struct Fibre {
    State state;
    unsigned index;
    void *saved, *stack;
    std::vector<Copy> open;
    std::vector<std::vector<Copy>> groups;
};

struct Warp {
    unsigned waiting;
    void (*step)(void**);
    void* lanes[WARP];
};

struct Work {
    std::vector<Fibre> fibres;
    std::vector<Warp> warps;
    void* scheduler;
    Fibre* now;
    void (*kernel)(const void*);
    const void* args;
    const char* wrong;
};

thread_local Work work;
thread_local Size block_now, grid_now;

#if defined(__SANITIZE_ADDRESS__)
thread_local const void* outer_stack;
thread_local size_t outer_size;
thread_local void* outer_fake;
void enter(Fibre& f) {
    __sanitizer_start_switch_fiber(&outer_fake, f.stack, STACK);
    fibres_switch(&work.scheduler, f.saved);
    __sanitizer_finish_switch_fiber(outer_fake, nullptr, nullptr);
}
void leave(Fibre& f) {
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(f.state == ENDED ? nullptr : &fake, outer_stack, outer_size);
    fibres_switch(&f.saved, work.scheduler);
    __sanitizer_finish_switch_fiber(fake, &outer_stack, &outer_size);
}
void arrive() { __sanitizer_finish_switch_fiber(nullptr, &outer_stack, &outer_size); }
void clean(void* stacks, size_t size) { ASAN_UNPOISON_MEMORY_REGION(stacks, size); }
#else
void enter(Fibre& f) { fibres_switch(&work.scheduler, f.saved); }
void leave(Fibre& f) { fibres_switch(&f.saved, work.scheduler); }
void arrive() {}
void clean(void*, size_t) {}
#endif

struct Wrong {};

void begin() {
    arrive();
    try {
        work.kernel(work.args);
    } catch (Wrong&) {
    }
    work.now->state = ENDED;
    leave(*work.now);
    abort();
}

char* stacks() {
    static thread_local char* memory = (char*)mmap(nullptr, STACK * MOST_THREADS, PROT_READ | PROT_WRITE,
                                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory;
}

void prepare(Fibre& f, unsigned index) {
    f.state = RUNS;
    f.index = index;
    f.open.clear();
    f.groups.clear();
    f.stack = stacks() + STACK * index;
    void** top = (void**)((char*)f.stack + STACK);
    *--top = nullptr;
    *--top = (void*)begin;
    for (int registers = 0; registers < 6; registers++) *--top = nullptr;
    f.saved = top;
}

// Runs the block at `block_now` to its end.
const char* run_block(std::vector<unsigned>& order, uint64_t* random) {
    clean(stacks(), STACK * order.size());
    for (unsigned i = 0; i < order.size(); i++) prepare(work.fibres[i], i);
    memset(work.warps.data(), 0, work.warps.size() * sizeof(Warp));
    for (;;) {
        if (random)
            for (size_t i = order.size() - 1; i > 0; i--) {
                *random = *random * 6364136223846793005ull + 1442695040888963407ull;
                std::swap(order[i], order[(*random >> 33) % (i + 1)]);
            }
        bool ran = false;
        for (unsigned i : order)
            if (work.fibres[i].state == RUNS) {
                work.now = &work.fibres[i];
                ran = true;
                enter(*work.now);
                if (work.wrong) return work.wrong;
            }
        unsigned ended = 0, at_barrier = 0;
        for (auto& f : work.fibres) {
            ended += f.state == ENDED;
            at_barrier += f.state == AT_BARRIER;
        }
        if (ended == order.size()) return nullptr;
        if (ended + at_barrier == order.size()) {
            for (auto& f : work.fibres)
                if (f.state == AT_BARRIER) f.state = RUNS;
        } else if (!ran) {
            return "threads wait for others that never come";
        }
    }
}

} // namespace

const Size& block() { return block_now; }
const Size& grid() { return grid_now; }
Coordinate::X::operator unsigned() const { return work.now->index; }

void require(bool good, const char* message) {
    if (!good) {
        work.wrong = message;
        throw Wrong();
    }
}

void block_barrier() {
    work.now->state = AT_BARRIER;
    leave(*work.now);
}

void together(void* mine, void (*step)(void** lanes)) {
    Fibre* f = work.now;
    Warp& warp = work.warps[f->index / WARP];
    warp.lanes[f->index % WARP] = mine;
    require(!warp.waiting || warp.step == step, "the threads of a warp do different things together");
    warp.step = step;
    if (++warp.waiting < WARP) {
        f->state = IN_WARP;
        leave(*f);
        return;
    }
    warp.waiting = 0;
    step(warp.lanes);
    for (unsigned lane = 0; lane < WARP; lane++) work.fibres[f->index / WARP * WARP + lane].state = RUNS;
}

void copy_later(void* to, const void* from) { work.now->open.push_back({to, from}); }

void commit_copies() {
    work.now->groups.push_back(std::move(work.now->open));
    work.now->open.clear();
}

void wait_for_copies(unsigned open) {
    auto& groups = work.now->groups;
    while (groups.size() > open) {
        for (auto& copy : groups.front()) {
            if (copy.from)
                memcpy(copy.to, copy.from, 16);
            else
                memset(copy.to, 0, 16);
        }
        groups.erase(groups.begin());
    }
}

const char* launch(Size grid, unsigned threads, void (*kernel)(const void*), const void* args) {
    if (threads == 0 || threads > 256 || threads % WARP != 0) return "a block has not 32 to 256 threads in whole warps";
    if (!grid.x || !grid.y || !grid.z || grid.y > 65535 || grid.z > 65535) return "a grid is empty or too large";
    work.fibres.resize(threads);
    work.warps.resize(threads / WARP);
    work.kernel = kernel;
    work.args = args;
    work.wrong = nullptr;
    grid_now = grid;
    std::vector<unsigned> order(threads);
    for (unsigned i = 0; i < threads; i++) order[i] = i;
    const char* seed = getenv("MINIGPT_SHUFFLE");
    uint64_t random = seed ? strtoull(seed, nullptr, 10) : 0;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                block_now = {x, y, z};
                if (const char* wrong = run_block(order, seed ? &random : nullptr)) return wrong;
            }
    return nullptr;
}

} // namespace fibres
