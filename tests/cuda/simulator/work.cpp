// Streams, events and graphs of the stand-in for the CUDA driver.
#include "work.h"

#include <cstdlib>
#include <map>
#include <set>
#include <string>

namespace {

// Of this thread: calls by their names, and its streams.
thread_local std::map<std::string, unsigned long long> calls;
thread_local std::set<Stream*> streams;

// Does the first `n` things that `stream` was ever asked for.
Result catch_up(Stream* stream, unsigned long long n) {
    while (stream->done < n && !failed) {
        std::function<Result()> work = std::move(stream->waiting.front());
        stream->waiting.pop_front();
        stream->done++;
        if (Result result = work()) failed = result;
    }
    return failed.load();
}

} // namespace

namespace simulated {

std::atomic<Result> failed;

void count(const char* call) { calls[call]++; }

Result ask_or_record(void* stream, std::function<Result()> work) {
    if (failed) return failed.load();
    Stream* asked = (Stream*)stream;
    if (asked->recording) {
        asked->recording->work.push_back(std::move(work));
    } else {
        asked->waiting.push_back(std::move(work));
        asked->asked++;
    }
    return SUCCESS;
}

void catch_up_all() {
    for (Stream* stream : streams) catch_up(stream, stream->asked);
}

} // namespace simulated

extern "C" {

Result cuStreamCreate(void** stream, unsigned) {
    Stream* made = new Stream;
    streams.insert(made);
    *stream = made;
    return SUCCESS;
}
Result cuStreamDestroy_v2(void* stream) {
    catch_up((Stream*)stream, ((Stream*)stream)->asked);
    streams.erase((Stream*)stream);
    delete (Stream*)stream;
    return SUCCESS;
}
Result cuStreamSynchronize(void* stream) {
    count(__func__);
    Stream* waited = (Stream*)stream;
    return waited->recording ? CAPTURE_UNSUPPORTED : catch_up(waited, waited->asked);
}

Result cuEventCreate(void** event, unsigned) {
    *event = new Event;
    return SUCCESS;
}
Result cuEventDestroy_v2(void* event) {
    delete (Event*)event;
    return SUCCESS;
}
Result cuEventRecord(void* event, void* stream) {
    count(__func__);
    if (((Stream*)stream)->recording) return CAPTURE_UNSUPPORTED;
    const char* unmarked = getenv("MINIGPT_FAKE_UNMARKED");
    if (unmarked && calls[__func__] == strtoull(unmarked, nullptr, 10)) return OUT_OF_MEMORY;
    *(Event*)event = {(Stream*)stream, ((Stream*)stream)->asked};
    return failed.load();
}
Result cuEventSynchronize(void* event) {
    count(__func__);
    Event* waited = (Event*)event;
    return waited->stream ? catch_up(waited->stream, waited->behind) : SUCCESS;
}

Result cuStreamBeginCapture_v2(void* stream, int) {
    ((Stream*)stream)->recording = new Graph;
    return SUCCESS;
}

Result cuStreamEndCapture(void* stream, void** graph) {
    *graph = ((Stream*)stream)->recording;
    ((Stream*)stream)->recording = nullptr;
    return SUCCESS;
}

Result cuGraphInstantiateWithFlags(void** made, void* graph, Address) {
    count(__func__);
    *made = new Graph(*(Graph*)graph);
    return SUCCESS;
}
Result cuGraphDestroy(void* graph) {
    delete (Graph*)graph;
    return SUCCESS;
}
Result cuGraphExecDestroy(void* graph) {
    delete (Graph*)graph;
    return SUCCESS;
}

Result cuGraphLaunch(void* graph, void* stream) {
    count(__func__);
    for (auto& work : ((Graph*)graph)->work)
        if (Result result = ask_or_record(stream, work)) return result;
    return SUCCESS;
}

// No call of the driver's: what this thread asked for and no device has done, and the calls of this thread
// that reach a device, each with how often it was made.
const char* simulated_calls() {
    static thread_local std::string text;
    size_t waiting = 0;
    for (Stream* stream : streams) waiting += stream->waiting.size();
    text = "waiting " + std::to_string(waiting) + "\n";
    for (auto& call : calls) text += call.first + " " + std::to_string(call.second) + "\n";
    return text.c_str();
}

} // extern "C"
