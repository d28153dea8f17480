// Continues a text with Node, as `minigpt generate` does:
//
//     node generate.mjs MODEL --prompt TEXT --temperature T --top-p P --seed S --max-tokens N --kv f16
//
// The text goes to standard output as it is made.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { open } from "./minigpt.mjs";

const USAGE =
  "usage: node generate.mjs MODEL [--prompt TEXT] [--temperature T] [--top-k K] [--top-p P] [--seed S] " +
  "[--max-tokens N] [--context N] [--kv f32|f16|q8] [--library minigpt.wasm]";

function fail(message, status = 1) {
  console.error(`error: ${message}`);
  process.exit(status);
}

function parse() {
  const text = (value) => ({ type: "string", default: value });
  const options = {
    prompt: text(""),
    temperature: text("0.8"),
    "top-k": text("0"),
    "top-p": text("1"),
    seed: text("0"),
    "max-tokens": text("256"),
    context: text("0"),
    kv: text("f32"),
    library: text(fileURLToPath(new URL("../../lib/minigpt.wasm", import.meta.url))),
  };
  try {
    const parsed = parseArgs({ options, allowPositionals: true });
    if (parsed.positionals.length === 1) return { model: parsed.positionals[0], ...parsed.values };
  } catch (error) {
    fail(`${error.message}\n${USAGE}`, 2);
  }
  return fail(`one model is needed\n${USAGE}`, 2);
}

/** A number from `least` up, or the end of the program. */
function number(args, name, least, whole) {
  const value = Number(args[name]);
  if (args[name] === "" || !(value >= least) || (whole && !Number.isSafeInteger(value))) {
    fail(`--${name} is ${args[name]}; it must be a ${whole ? "whole " : ""}number from ${least} up`, 2);
  }
  return value;
}

function read(path, remedy) {
  try {
    return readFileSync(path);
  } catch (error) {
    return fail(`${error.message}; ${remedy}`);
  }
}

const args = parse();
const sampling = {
  temperature: number(args, "temperature", 0, false),
  topK: number(args, "top-k", 0, true),
  topP: number(args, "top-p", 0, false),
  seed: number(args, "seed", 0, true),
  maxTokens: number(args, "max-tokens", 0, true),
};
try {
  const context = number(args, "context", 0, true);
  const library = read(args.library, "cargo xtask capi --target wasm32-unknown-unknown -o DIR makes it");
  const file = read(args.model, "give the path of a .mgpt file");
  const model = await open(library, file, { context, kv: args.kv });
  for (const text of model.generate(args.prompt, sampling)) process.stdout.write(text);
  process.stdout.write("\n");
} catch (error) {
  fail(error.message);
}
