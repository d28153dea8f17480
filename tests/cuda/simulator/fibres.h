// The threads of a block as fibres of one thread: each runs until it has to wait for others.
#pragma once
#include <functional>

namespace fibres {

struct Size {
    unsigned x, y, z;
};

// The place of the block at work, and how many there are.
const Size& block();
const Size& grid();

// `threadIdx`: blocks are one row of threads.
struct Coordinate {
    struct X {
        operator unsigned() const;
    } x;
};

// Ends the launch with a message if `good` is not so.
void require(bool good, const char* message);

// Waits for all threads of the block that have not ended.
void block_barrier();

// Waits until all 32 threads of the warp are here; the last of them calls `step` with what each gave.
void together(void* mine, void (*step)(void** lanes));

// A copy of 16 bytes, or of zeros, that happens when its group is waited for.
void copy_later(void* to, const void* from);
void commit_copies();
void wait_for_copies(unsigned open);

// Runs all blocks of a kernel. Returns nothing, or what it did wrong. With `MINIGPT_SHUFFLE` set to a
// number the threads that can run do so in an order drawn from it.
const char* launch(Size grid, unsigned threads, void (*kernel)(const void*), const void* args);

} // namespace fibres
