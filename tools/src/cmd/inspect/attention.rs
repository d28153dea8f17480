//! What each head looks at, as a page.

mod forward;

use core::fmt::Write;
use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::path::Path;

use minigpt_runtime::{ModelFile, Tokenizer};

use self::forward::Seen;
use crate::failure::{Failure, Outcome};
use crate::generation::prompt::{check_length, prompt_tokens, utf8};
use crate::output::{self, escaped, say};

/// Tokens that the page names as likely to follow.
const N_NEXT: usize = 5;

/// Draws the maps, and tells the weight under the pointer.
const SCRIPT: &str = "\
const names = JSON.parse(document.getElementById('tokens').textContent), n = names.length;
const told = document.getElementById('told');
for (const canvas of document.querySelectorAll('canvas')) {
  const weight = (row, column) => parseInt(canvas.dataset.weights.substr(2 * (row * n + column), 2), 16);
  const context = canvas.getContext('2d'), image = context.createImageData(n, n);
  for (let i = 0; i < n * n; i++) {
    const w = weight(Math.floor(i / n), i % n);
    image.data.set([255 - w, 255 - 0.7 * w, 255 - 0.35 * w, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
  canvas.onmousemove = (event) => {
    const at = (place, size) => Math.min(n - 1, Math.max(0, Math.floor(place / size * n)));
    const row = at(event.offsetY, canvas.clientHeight), column = at(event.offsetX, canvas.clientWidth);
    const share = (100 * weight(row, column) / 255).toFixed(0);
    told.textContent = `${canvas.title}: ${names[row]} looks at ${names[column]} with ${share}%`;
  };
}";

const STYLE: &str = "\
body{margin:1em;font:14px sans-serif}#told{position:sticky;top:0;padding:.5em;background:#eee;min-height:1.2em}\
canvas{width:11em;height:11em;border:1px solid #999;image-rendering:pixelated;margin:2px}\
td:first-child{font-weight:bold;padding-right:.5em}";

/// Writes the page to `path`, or to standard output.
pub(super) fn run(
    name: &str,
    file: &ModelFile<'_>,
    prompt: &OsStr,
    path: Option<&Path>,
) -> Outcome {
    if path.is_none() && io::stdout().is_terminal() {
        return Err(Failure::Misuse(
            "--attention makes a page and not a text for the terminal; give it a file with -o"
                .to_owned(),
        ));
    }
    let prompt = utf8("--attention", prompt)?;
    let tokens = prompt_tokens(file.tokenizer(), prompt, "--attention")?;
    let n_ctx = file.config().n_ctx();
    check_length(tokens.len(), n_ctx, n_ctx, "the prompt")?;
    let page = page(
        name,
        file.tokenizer(),
        &tokens,
        &forward::run(file, &tokens),
    );
    match path {
        None => output::print(&page),
        Some(path) => {
            let done = output::replace_alike(path, page.as_bytes(), "page")?;
            say!("{done} {}", path.display());
            Ok(())
        }
    }
}

fn page(name: &str, tokenizer: &Tokenizer<'_>, tokens: &[u32], seen: &Seen) -> String {
    let names: Vec<String> = tokens
        .iter()
        .map(|token| label(tokenizer, *token))
        .collect();
    let json = serde_json::to_string(&names).unwrap_or_default();
    let title = escaped(&format!("What the heads of {name} look at"));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <h1>{title}</h1>\n<p>{} tokens: <code>{}</code></p>\n<p>Next: {}</p>\n\
         <p>A row for each token that looks, a column for each that is looked at, first ones first; the darker, \
         the more.</p>\n<div id=\"told\">Point at a map.</div>\n<table>\n",
        tokens.len(),
        escaped(&names.concat()),
        next(tokenizer, &seen.logits),
    );
    let n = tokens.len();
    for (layer, heads) in seen.layers.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(out, "<tr><td>layer {layer}</td><td>");
        for (head, weights) in heads.iter().enumerate() {
            let _ = write!(
                out,
                "<canvas width=\"{n}\" height=\"{n}\" title=\"layer {layer}, head {head}\" data-weights=\"{}\"></canvas>",
                hex(weights)
            );
        }
        out += "</td></tr>\n";
    }
    // Nothing in the texts of tokens ends the element.
    let json = json.replace('<', "\\u003c");
    let data = format!("<script type=\"application/json\" id=\"tokens\">{json}</script>");
    out + &format!("</table>\n{data}\n<script>\n{SCRIPT}\n</script>\n</html>\n")
}

/// Two digits for each weight: 00 is none, ff is all.
fn hex(weights: &[f32]) -> String {
    let mut out = String::with_capacity(2 * weights.len());
    for weight in weights {
        let _ = write!(out, "{:02x}", (255.0 * weight).round() as u8);
    }
    out
}

/// The likeliest tokens to follow, with their probabilities.
fn next(tokenizer: &Tokenizer<'_>, logits: &[f32]) -> String {
    let mut probabilities = logits.to_vec();
    minigpt_runtime::ops::softmax(&mut probabilities);
    let mut tokens: Vec<u32> = (0..tokenizer.n_vocab() as u32).collect();
    tokens.sort_by(|a, b| probabilities[*b as usize].total_cmp(&probabilities[*a as usize]));
    let named = tokens.iter().take(N_NEXT).map(|token| {
        let share = 100.0 * probabilities[*token as usize];
        format!(
            "<code>{}</code> {share:.1}%",
            escaped(&label(tokenizer, *token))
        )
    });
    named.collect::<Vec<_>>().join(", ")
}

/// The text of a token, or its number where it has none.
fn label(tokenizer: &Tokenizer<'_>, token: u32) -> String {
    let mut buffer = [0; 4];
    match tokenizer.token_bytes(token, &mut buffer) {
        None | Some([]) => format!("\u{2039}{token}\u{203a}"),
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}
