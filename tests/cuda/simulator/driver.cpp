// A stand-in for the CUDA driver: the functions that the backend calls, over the simulator. Kernels are
// found by name in this library. Work is done as late as it may: when somebody waits for it. The calls that
// reach a device are counted.
//
// What a device may do wrong is asked for by environment variables:
// MINIGPT_FAKE_DEVICES      how many there are (1)
// MINIGPT_FAKE_DRIVER       the CUDA that the driver knows (12020)
// MINIGPT_FAKE_CAPABILITY   compute capability, such as 75 (90)
// MINIGPT_FAKE_MEMORY       bytes of memory (1 GiB)
// MINIGPT_FAKE_LOST         the launch at which the device is lost (never)
// MINIGPT_FAKE_IDLE         the kernel that does nothing (none)
// MINIGPT_FAKE_UNMARKED     the event of a thread that has no room behind its work (none)
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include <dlfcn.h>

#include "fibres.h"
#include "work.h"

namespace {

enum Attribute { PROCESSORS = 16, MAJOR = 75, MINOR = 76 };

struct Kernel {
    void (*run)(const void*);
    unsigned size;
};

// Threads each have a device of their own, but for what they share here.
std::mutex shared;
std::map<Address, size_t> allocations;
size_t allocated;
std::atomic<unsigned long long> launches;
// Of this thread: how often it holds a device's context, without which it can give no memory back.
thread_local unsigned long long retained;

unsigned long long setting(const char* name, unsigned long long otherwise) {
    const char* text = getenv(name);
    return text ? strtoull(text, nullptr, 10) : otherwise;
}

void nothing(const void*) {}

Result run(const Kernel& kernel, fibres::Size grid, unsigned threads, const std::vector<unsigned char>& arguments) {
    if (++launches == setting("MINIGPT_FAKE_LOST", 0)) {
        failed = DEVICE_LOST;
        return DEVICE_LOST;
    }
    // Aligned as a kernel's parameters are.
    alignas(16) unsigned char copy[4096];
    memcpy(copy, arguments.data(), arguments.size());
    if (const char* wrong = fibres::launch(grid, threads, kernel.run, copy)) {
        fprintf(stderr, "simulated device: %s\n", wrong);
        failed = LAUNCH_FAILED;
        return LAUNCH_FAILED;
    }
    return SUCCESS;
}

} // namespace

bool simulated::owned(Address address, size_t bytes) {
    std::lock_guard<std::mutex> guard(shared);
    auto after = allocations.upper_bound(address);
    if (after == allocations.begin()) return false;
    --after;
    return address + bytes <= after->first + after->second;
}

extern "C" {

Result cuInit(unsigned) { return setting("MINIGPT_FAKE_DEVICES", 1) ? SUCCESS : NO_DEVICE; }

Result cuDriverGetVersion(int* version) {
    *version = (int)setting("MINIGPT_FAKE_DRIVER", 12020);
    return SUCCESS;
}

Result cuDeviceGetCount(int* count) {
    *count = (int)setting("MINIGPT_FAKE_DEVICES", 1);
    return SUCCESS;
}

Result cuDeviceGet(int* device, int number) {
    *device = number;
    return number < (int)setting("MINIGPT_FAKE_DEVICES", 1) ? SUCCESS : INVALID_DEVICE;
}

Result cuDeviceGetName(char* name, int size, int) {
    snprintf(name, (size_t)size, "simulated GPU");
    return SUCCESS;
}

Result cuDeviceTotalMem_v2(size_t* bytes, int) {
    *bytes = setting("MINIGPT_FAKE_MEMORY", 1ull << 30);
    return SUCCESS;
}

Result cuDeviceGetAttribute(int* value, int attribute, int) {
    int capability = (int)setting("MINIGPT_FAKE_CAPABILITY", 90);
    switch (attribute) {
    case MAJOR: *value = capability / 10; break;
    case MINOR: *value = capability % 10; break;
    case PROCESSORS: *value = 4; break; // few, so that small tests meet the large tiles too
    default: return INVALID_VALUE;
    }
    return SUCCESS;
}

Result cuDevicePrimaryCtxRetain(void** context, int) {
    static int only;
    *context = &only;
    retained++;
    return SUCCESS;
}
Result cuDevicePrimaryCtxRelease_v2(int) {
    if (!retained) return INVALID_CONTEXT;
    retained--;
    return SUCCESS;
}
Result cuCtxSetCurrent(void*) { return SUCCESS; }

Result cuGetErrorString(Result error, const char** text) {
    switch (error) {
    case INVALID_VALUE: *text = "invalid argument"; break;
    case OUT_OF_MEMORY: *text = "out of memory"; break;
    case NO_DEVICE: *text = "no CUDA-capable device is detected"; break;
    case INVALID_DEVICE: *text = "invalid device ordinal"; break;
    case INVALID_CONTEXT: *text = "invalid device context"; break;
    case NOT_FOUND: *text = "named symbol not found"; break;
    case LAUNCH_FAILED: *text = "unspecified launch failure"; break;
    case CAPTURE_UNSUPPORTED: *text = "operation not permitted when stream is capturing"; break;
    case DEVICE_LOST: *text = "all CUDA-capable devices are busy or unavailable"; break;
    default: return INVALID_VALUE;
    }
    return SUCCESS;
}

Result cuMemGetInfo_v2(size_t* free, size_t* total) {
    *total = setting("MINIGPT_FAKE_MEMORY", 1ull << 30);
    *free = *total - allocated;
    return SUCCESS;
}

Result cuMemAlloc_v2(Address* address, size_t bytes) {
    count(__func__);
    if (failed) return failed.load();
    std::lock_guard<std::mutex> guard(shared);
    if (allocated + bytes > setting("MINIGPT_FAKE_MEMORY", 1ull << 30)) return OUT_OF_MEMORY;
    // Exactly as large, so that AddressSanitizer sees what goes beyond; not numbers until written.
    void* memory = operator new(bytes, std::align_val_t(256));
    memset(memory, 0xff, bytes);
    *address = (Address)memory;
    allocations[*address] = bytes;
    allocated += bytes;
    return SUCCESS;
}

Result cuMemFree_v2(Address address) {
    count(__func__);
    if (!retained) return INVALID_CONTEXT;
    catch_up_all();
    std::lock_guard<std::mutex> guard(shared);
    auto found = allocations.find(address);
    if (found == allocations.end()) return INVALID_VALUE;
    allocated -= found->second;
    allocations.erase(found);
    operator delete((void*)address, std::align_val_t(256));
    return SUCCESS;
}

// Memory of the host that a device sees: one address for both.
Result cuMemHostAlloc(void** place, size_t bytes, unsigned flags) {
    count(__func__);
    if (flags != 2) return INVALID_VALUE;
    *place = operator new(bytes, std::align_val_t(256));
    memset(*place, 0xff, bytes);
    return SUCCESS;
}
Result cuMemHostGetDevicePointer_v2(Address* address, void* place, unsigned) {
    *address = (Address)place;
    return SUCCESS;
}
Result cuMemFreeHost(void* place) {
    catch_up_all();
    operator delete(place, std::align_val_t(256));
    return SUCCESS;
}

Result cuMemsetD8Async(Address to, unsigned char value, size_t bytes, void* stream) {
    count(__func__);
    if (bytes && !owned(to, bytes)) return INVALID_VALUE;
    return ask_or_record(stream, [=] {
        memset((void*)to, value, bytes);
        return SUCCESS;
    });
}

// The driver has taken ordinary memory when it returns.
Result cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, void* stream) {
    count(__func__);
    if (((Stream*)stream)->recording) return CAPTURE_UNSUPPORTED;
    if (!owned(to, bytes)) return INVALID_VALUE;
    std::vector<unsigned char> taken((const unsigned char*)from, (const unsigned char*)from + bytes);
    return ask_or_record(stream, [=] {
        memcpy((void*)to, taken.data(), taken.size());
        return SUCCESS;
    });
}

Result cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, void* stream) {
    count(__func__);
    if (((Stream*)stream)->recording) return CAPTURE_UNSUPPORTED;
    if (!owned(from, bytes)) return INVALID_VALUE;
    return ask_or_record(stream, [=] {
        memcpy(to, (const void*)from, bytes);
        return SUCCESS;
    });
}

Result cuModuleLoadData(void** module, const void* image) {
    const unsigned char* bytes = (const unsigned char*)image;
    bool is_program = memcmp(bytes, "\177ELF", 4) == 0, is_ptx = strstr((const char*)bytes, ".version 8.") != nullptr;
    if (!is_program && !is_ptx) return INVALID_VALUE;
    *module = new int;
    return SUCCESS;
}
Result cuModuleUnload(void* module) {
    delete (int*)module;
    return SUCCESS;
}

Result cuModuleGetFunction(void** function, void*, const char* name) {
    static std::map<std::string, Kernel> kernels;
    std::lock_guard<std::mutex> guard(shared);
    Dl_info own;
    dladdr((void*)cuInit, &own);
    void* library = dlopen(own.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    void* kernel = dlsym(library, name);
    void* size = dlsym(library, (std::string(name) + "_size").c_str());
    if (!kernel || !size) return NOT_FOUND;
    const char* idle = getenv("MINIGPT_FAKE_IDLE");
    if (idle && !strcmp(idle, name)) kernel = (void*)nothing;
    kernels[name] = {(void (*)(const void*))kernel, *(const unsigned*)size};
    *function = &kernels[name];
    return SUCCESS;
}

// Takes the arguments as one buffer, which must be of the size of the kernel's parameter.
Result cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, void* stream, void** parameters, void** extra) {
    count(__func__);
    Kernel kernel = *(Kernel*)function;
    bool one_buffer = !parameters && extra && extra[0] == (void*)1 && extra[2] == (void*)2 && !extra[4];
    if (!one_buffer || by != 1 || bz != 1 || shared != 0) return INVALID_VALUE;
    size_t size = *(size_t*)extra[3];
    if (size != kernel.size) return INVALID_VALUE;
    std::vector<unsigned char> arguments((unsigned char*)extra[1], (unsigned char*)extra[1] + size);
    return ask_or_record(stream, [=] { return run(kernel, {gx, gy, gz}, bx, arguments); });
}

} // extern "C"
