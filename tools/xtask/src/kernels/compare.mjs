// Compares modules for WebAssembly: node compare.mjs MODEL KV TOKENS FOLDER... with folders of `cargo xtask capi`.
// Prints processor time of a token in microseconds, medians of seven alternating runs, and refuses unequal texts.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const RUNS = 7;
const [file, kv, count, ...folders] = process.argv.slice(2);
const maxTokens = Number(count);
const modules = [];
for (const folder of folders) {
  const { open } = await import(pathToFileURL(`${folder}/examples/wasm/minigpt.mjs`));
  const model = await open(readFileSync(`${folder}/lib/minigpt.wasm`), readFileSync(file), { kv });
  modules.push({ folder, model, times: [] });
}
// The first two runs are not counted: until then Node compiles.
for (let run = -2; run < RUNS; run++) {
  for (const module of modules) {
    const before = process.cpuUsage();
    module.text = [...module.model.generate("Once upon", { temperature: 0, maxTokens })].join("");
    const { user, system } = process.cpuUsage(before);
    if (run >= 0) module.times.push((user + system) / maxTokens);
  }
}
for (const { folder, times, text } of modules) {
  if (text !== modules[0].text) throw new Error(`${folder} tells another text`);
  times.sort((a, b) => a - b);
  console.log(`${folder},${times[RUNS >> 1].toFixed(0)}`);
}
