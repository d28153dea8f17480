// minigpt in a browser or in Node: `open` a model, `generate` text.
//
//     import { open } from "./minigpt.mjs";
//     const model = await open(libraryBytes, modelBytes, { kv: "f16" });
//     for (const text of model.generate("Once upon a time", { seed: 7 })) show(text);
//
// The library allocates nothing, so this file says where everything lies in its memory: the model and
// its objects in pages behind what the library itself uses. See include/minigpt.h for the functions.

const ALIGNMENT = 16;
const PAGE = 65536;
const OK = 0;
const BUFFER_TOO_SMALL = 9;
const NO_TOKEN = 0xffffffff;
const KV = { f32: 0, f16: 1, q8: 2 };
const CHUNK = 32;
// Fields of minigpt_model_facts, which are 4 bytes each.
const FACTS = { bytes: 96, n_vocab: 2, n_tokens: 3, n_ctx: 4, bos: 19, eos: 20 };

/** A status that is not MINIGPT_OK, with the library's text for it. */
export class MinigptError extends Error {
  constructor(status, text) {
    super(text);
    this.name = "MinigptError";
    this.status = status;
  }
}

/**
 * Opens a model.
 *
 * @param library bytes of minigpt.wasm, or a WebAssembly.Module
 * @param file bytes of a .mgpt file
 * @param options `context` in tokens (the model's own if not given), `kv`: "f32", "f16" or "q8"
 * @throws MinigptError if the file is no model, or damaged
 */
export async function open(library, file, { context = 0, kv = "f32" } = {}) {
  const opened = await WebAssembly.instantiate(library);
  const instance = opened.instance ?? opened;
  return new Model(new Heap(instance.exports), file, { context, kv });
}

/** The library's memory: pages behind its own, given out once and never taken back. */
class Heap {
  constructor(library) {
    this.library = library;
    this.next = library.memory.buffer.byteLength;
    this.end = this.next;
  }

  /** The address of `bytes` bytes, aligned. */
  take(bytes) {
    const at = this.next;
    this.next = Math.ceil((at + bytes) / ALIGNMENT) * ALIGNMENT;
    if (this.next > this.end) {
      const pages = Math.ceil((this.next - this.end) / PAGE);
      this.library.memory.grow(pages);
      this.end += pages * PAGE;
    }
    return at;
  }

  // Growing moves the memory, so views are made when they are used.
  view() {
    return new DataView(this.library.memory.buffer);
  }

  bytes(at, length) {
    return new Uint8Array(this.library.memory.buffer, at, length);
  }

  u32(at) {
    return this.view().getUint32(at, true);
  }

  /** Writes consecutive 32-bit numbers. */
  write(at, numbers) {
    const view = this.view();
    numbers.forEach((number, i) => view.setUint32(at + 4 * i, number, true));
  }

  /** Calls a function that returns a status. */
  call(name, ...args) {
    const status = this.library[name](...args);
    if (status === OK) return;
    throw new MinigptError(status, this.text(this.library.minigpt_status_text(status)));
  }

  /** A text that ends in a zero. */
  text(at) {
    const all = new Uint8Array(this.library.memory.buffer, at);
    return new TextDecoder().decode(all.subarray(0, all.indexOf(0)));
  }
}

/** Room that is used again and again, and grows by doubling. */
class Room {
  constructor(heap) {
    this.heap = heap;
    this.length = 0;
    this.at = 0;
  }

  /** The address of at least `bytes` bytes; what was there may be gone. */
  of(bytes) {
    if (bytes > this.length) {
      this.length = Math.max(bytes, 2 * this.length, 256);
      this.at = this.heap.take(this.length);
    }
    return this.at;
  }

  /** The same, with `bytes` in it. */
  with(bytes) {
    this.heap.bytes(this.of(bytes.length), bytes.length).set(bytes);
    return this.at;
  }
}

/** A model, a session on it, and room for what they are asked. */
class Model {
  constructor(heap, file, { context, kv }) {
    if (!(kv in KV)) throw new RangeError(`kv is ${kv}; it must be f32, f16 or q8`);
    this.heap = heap;
    this.library = heap.library;
    this.out = heap.take(16);
    const at = heap.take(file.byteLength);
    heap.bytes(at, file.byteLength).set(file);
    this.model = this.object("minigpt_model_open", this.library.minigpt_model_bytes(), at, file.byteLength);
    heap.call("minigpt_model_verify", this.model);
    this.readFacts();
    const options = heap.take(16);
    heap.write(options, [16, context, CHUNK, KV[kv]]);
    heap.call("minigpt_session_bytes", this.model, options, this.out);
    this.session = this.object("minigpt_session_init", heap.u32(this.out), this.model, options);
    heap.call("minigpt_session_context", this.session, this.out);
    this.n_ctx = heap.u32(this.out);
    this.sampling = heap.take(24);
    this.samplerMemory = heap.take(this.library.minigpt_sampler_bytes());
    this.decoderMemory = heap.take(this.library.minigpt_decoder_bytes());
    this.prompt = new Room(heap);
    this.tokens = new Room(heap);
    this.text = new Room(heap);
  }

  /** Makes an object in memory of its own. */
  object(name, bytes, ...args) {
    return this.objectIn(this.heap.take(bytes), name, bytes, ...args);
  }

  objectIn(memory, name, bytes, ...args) {
    this.heap.call(name, ...args, memory, bytes, this.out);
    return this.heap.u32(this.out);
  }

  readFacts() {
    const at = this.heap.take(FACTS.bytes);
    this.heap.write(at, [FACTS.bytes]);
    this.heap.call("minigpt_model_facts_of", this.model, at);
    for (const name of ["n_vocab", "n_tokens", "bos", "eos"]) {
      this[name] = this.heap.u32(at + 4 * FACTS[name]);
    }
  }

  /**
   * Continues `prompt`, which comes first, and yields text as it is made: whole characters.
   *
   * The same seed and options make the text that `minigpt generate` makes.
   */
  *generate(prompt = "", { temperature = 0.8, topK = 0, topP = 1, seed = 0n, maxTokens = 256 } = {}) {
    const { heap } = this;
    const bytes = new TextEncoder().encode(prompt);
    const sampler = this.sampler(temperature, topK, topP, BigInt(seed));
    const length = this.library.minigpt_decoder_bytes();
    const decoder = this.objectIn(this.decoderMemory, "minigpt_decoder_init", length, this.model, 0);
    const history = this.encode(bytes);
    heap.call("minigpt_session_reset", this.session);
    yield* this.decoded("minigpt_decoder_push_bytes", decoder, this.prompt.with(bytes), bytes.length);
    let position = 0;
    for (let made = 0; made < maxTokens; made++) {
      const logits = this.next(history, position);
      heap.call("minigpt_sampler_sample", sampler, logits, this.n_tokens, this.out);
      const token = heap.u32(this.out);
      if (token === this.eos || token === this.bos) break;
      position = history.length;
      history.push(token);
      yield* this.decoded("minigpt_decoder_push", decoder, token);
    }
    yield* this.decoded("minigpt_decoder_finish", decoder);
  }

  sampler(temperature, topK, topP, seed) {
    const view = this.heap.view();
    view.setUint32(this.sampling, 24, true);
    view.setFloat32(this.sampling + 4, temperature, true);
    view.setUint32(this.sampling + 8, topK, true);
    view.setFloat32(this.sampling + 12, topP, true);
    view.setBigUint64(this.sampling + 16, seed, true);
    const length = this.library.minigpt_sampler_bytes();
    return this.objectIn(this.samplerMemory, "minigpt_sampler_init", length, this.sampling);
  }

  /** The tokens of the beginning of a text. */
  encode(bytes) {
    const { heap } = this;
    const [text, most] = [this.prompt.with(bytes), bytes.length + 2];
    const tokens = this.tokens.of(4 * most);
    heap.call("minigpt_encode_prompt", this.model, text, bytes.length, tokens, most, this.out);
    const n = heap.u32(this.out);
    if (n > this.n_ctx) {
      throw new RangeError(`the prompt has ${n} tokens and the context holds ${this.n_ctx}; shorten the prompt`);
    }
    return Array.from(new Uint32Array(this.library.memory.buffer, tokens, n));
  }

  /** The address of the logits behind `history`, which is shortened where it has outgrown the context. */
  next(history, position) {
    const { heap } = this;
    const full = position === this.n_ctx;
    const tokens = full ? history : history.slice(position);
    const at = this.tokens.of(4 * tokens.length);
    heap.write(at, tokens);
    if (!full) {
      heap.call("minigpt_session_forward", this.session, at, tokens.length, this.out);
      return heap.u32(this.out);
    }
    const keep = this.bos === NO_TOKEN ? 0 : 1;
    const [kept, logits] = [this.out, this.out + 4];
    heap.call("minigpt_session_slide", this.session, at, history.length, keep, kept, logits);
    const n = heap.u32(kept);
    history.splice(0, history.length, ...new Uint32Array(this.library.memory.buffer, at, n));
    return heap.u32(logits);
  }

  /** What a function of the decoder writes; with more room if it does not fit. */
  *decoded(name, ...args) {
    const { heap } = this;
    const call = (bytes) => this.library[name](...args, this.text.of(bytes), this.text.length, this.out);
    let status = call(256);
    if (status === BUFFER_TOO_SMALL) status = call(heap.u32(this.out));
    if (status !== OK) throw new MinigptError(status, heap.text(this.library.minigpt_status_text(status)));
    const n = heap.u32(this.out);
    if (n > 0) yield new TextDecoder("utf-8", { ignoreBOM: true }).decode(heap.bytes(this.text.at, n));
  }
}
