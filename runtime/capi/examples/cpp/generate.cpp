// Continues a text, from C++: the wrapper below owns all memory and makes exceptions of statuses.
//
//     generate MODEL [PROMPT [TEMPERATURE [TOP_P [SEED [MAX_TOKENS]]]]]
#include <minigpt.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace minigpt {

class Error : public std::runtime_error {
  public:
    explicit Error(minigpt_status status)
        : std::runtime_error(minigpt_status_text(status)), status(status) {}
    const minigpt_status status;
};

inline void check(minigpt_status status) {
    if (status != MINIGPT_OK) {
        throw Error(status);
    }
}

/// Bytes on a boundary that suits the library, which `new` promises since C++17 only.
class Memory {
  public:
    explicit Memory(std::size_t bytes) : raw_(bytes + MINIGPT_ALIGNMENT), begin_(raw_.data()), bytes_(bytes) {
        std::size_t room = raw_.size();
        std::align(MINIGPT_ALIGNMENT, bytes, begin_, room);
    }
    Memory(const Memory &) = delete;
    Memory &operator=(const Memory &) = delete;
    void *data() { return begin_; }
    std::size_t size() const { return bytes_; }

  private:
    std::vector<unsigned char> raw_;
    void *begin_;
    std::size_t bytes_;
};

/// A model and its file. Not copied, not moved: sessions refer to it.
class Model {
  public:
    explicit Model(const std::string &path) : file_(read(path)), memory_(minigpt_model_bytes()) {
        check(minigpt_model_open(file_->data(), file_->size(), memory_.data(), memory_.size(), &model_));
        check(minigpt_model_verify(model_));
    }
    ~Model() { minigpt_model_close(model_); }
    Model(const Model &) = delete;
    Model &operator=(const Model &) = delete;
    const minigpt_model *get() const { return model_; }

  private:
    static std::unique_ptr<Memory> read(const std::string &path) {
        std::ifstream in(path, std::ios::binary | std::ios::ate);
        if (!in) {
            throw std::runtime_error(path + " cannot be opened");
        }
        std::unique_ptr<Memory> file(new Memory(static_cast<std::size_t>(in.tellg())));
        in.seekg(0);
        in.read(static_cast<char *>(file->data()), static_cast<std::streamsize>(file->size()));
        return file;
    }
    std::unique_ptr<Memory> file_;
    Memory memory_;
    minigpt_model *model_ = nullptr;
};

class Session {
  public:
    Session(const Model &model, const minigpt_session_options &options)
        : memory_(bytes(model, options)) {
        check(minigpt_session_init(model.get(), &options, memory_.data(), memory_.size(), &session_));
        check(minigpt_session_context(session_, &n_ctx_));
    }
    Session(const Session &) = delete;
    Session &operator=(const Session &) = delete;

    /// Continues `prompt`; `on_text` gets each piece and returns whether to go on. What it throws comes
    /// out here, after the library has returned.
    minigpt_generated generate(const minigpt_sampler_options &sampling,
                               const minigpt_generate_options &options, const std::string &prompt,
                               const std::function<bool(const char *, std::size_t)> &on_text) {
        Memory room(minigpt_sampler_bytes());
        minigpt_sampler *sampler = nullptr;
        check(minigpt_sampler_init(&sampling, room.data(), room.size(), &sampler));
        std::vector<std::uint32_t> history(std::max<std::size_t>(prompt.size() + 2, n_ctx_ + 1));
        minigpt_generated generated = MINIGPT_GENERATED_INIT;
        Call call{&on_text, nullptr};
        check(minigpt_generate(session_, sampler, &options, prompt.data(), prompt.size(),
                               history.data(), history.size(), &Session::hear, &call, &generated));
        if (call.thrown) {
            std::rethrow_exception(call.thrown);
        }
        return generated;
    }

  private:
    struct Call {
        const std::function<bool(const char *, std::size_t)> *on_text;
        std::exception_ptr thrown;
    };
    static std::int32_t hear(void *user, const char *text, std::size_t bytes) {
        Call *call = static_cast<Call *>(user);
        try {
            return (*call->on_text)(text, bytes) ? 0 : 1;
        } catch (...) {
            call->thrown = std::current_exception();
            return 1;
        }
    }
    static std::size_t bytes(const Model &model, const minigpt_session_options &options) {
        std::size_t bytes = 0;
        check(minigpt_session_bytes(model.get(), &options, &bytes));
        return bytes;
    }
    Memory memory_;
    minigpt_session *session_ = nullptr;
    std::uint32_t n_ctx_ = 0;
};

} // namespace minigpt

int main(int argc, char **argv) try {
    if (argc < 2) {
        std::cerr << "usage: " << argv[0] << " MODEL [PROMPT [TEMPERATURE [TOP_P [SEED [MAX_TOKENS]]]]]\n";
        return 2;
    }
    minigpt_session_options options = MINIGPT_SESSION_OPTIONS_INIT;
    minigpt_sampler_options sampling = MINIGPT_SAMPLER_OPTIONS_INIT;
    minigpt_generate_options asked = MINIGPT_GENERATE_OPTIONS_INIT;
    options.n_chunk = 32;
    options.kv = MINIGPT_KV_F16;
    sampling.temperature = argc > 3 ? std::stof(argv[3]) : 0.8f;
    sampling.top_p = argc > 4 ? std::stof(argv[4]) : 0.95f;
    sampling.seed = argc > 5 ? std::stoull(argv[5]) : 1;
    asked.max_tokens = argc > 6 ? static_cast<std::uint32_t>(std::stoul(argv[6])) : 100;
    asked.echo = 1;
    minigpt::Model model(argv[1]);
    minigpt::Session session(model, options);
    session.generate(sampling, asked, argc > 2 ? argv[2] : "", [](const char *text, std::size_t bytes) {
        std::cout.write(text, static_cast<std::streamsize>(bytes)).flush();
        return std::cout.good();
    });
    std::cout << '\n';
    return 0;
} catch (const std::exception &error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
}
