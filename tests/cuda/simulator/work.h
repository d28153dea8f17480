// What a simulated device is asked for: done as late as it may be, when somebody waits for it.
#pragma once
#include <atomic>
#include <deque>
#include <functional>
#include <vector>

namespace simulated {

typedef unsigned long long Address;

// Of the driver.
enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    NOT_FOUND = 500,
    LAUNCH_FAILED = 719,
    CAPTURE_UNSUPPORTED = 900,
    DEVICE_LOST = 46,
};

struct Graph {
    std::vector<std::function<Result()>> work;
};

struct Stream {
    Graph* recording = nullptr;
    std::deque<std::function<Result()>> waiting;
    unsigned long long asked = 0, done = 0;
};

struct Event {
    Stream* stream = nullptr;
    unsigned long long behind = 0;
};

// An error of a device stays until the process ends.
extern std::atomic<Result> failed;

// Has `stream` do `work` later, or records it in the graph that it is recording.
Result ask_or_record(void* stream, std::function<Result()> work);

// Does all that this thread has asked for.
void catch_up_all();

// A call that reaches a device is made.
void count(const char* call);

// `bytes` at `address` are within one allocation.
bool owned(Address address, size_t bytes);

} // namespace simulated

using namespace simulated;
