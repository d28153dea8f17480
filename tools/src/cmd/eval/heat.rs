//! A text in colours: the redder, the less the model expected it.

use core::fmt::Write;
use std::path::PathBuf;

use minigpt_runtime::{StreamDecoder, Tokenizer};
use minigpt_trainer::evaluate::Scored;
use serde::Serialize;

use crate::output::escaped;

/// Bits that are shown in full red.
const REDDEST: f64 = 12.0;

/// A text with what a model made of it.
pub(super) struct Heat<'a> {
    tokenizer: &'a Tokenizer<'a>,
    tokens: &'a [u32],
    /// Of all tokens but the first.
    scores: &'a [Scored],
}

/// A token of `--per-token --json`.
#[derive(Serialize)]
pub(super) struct TokenReport {
    index: usize,
    id: u32,
    bits: f64,
    /// Tokens that the model held for likelier.
    rank: usize,
    text: String,
}

/// Whole characters, and the tokens that spell them: the first and last.
struct Span {
    text: String,
    first: usize,
    last: usize,
}

impl<'a> Heat<'a> {
    /// `scores` are those of `tokens` from the second on, in order.
    pub(super) fn new(
        tokenizer: &'a Tokenizer<'a>,
        tokens: &'a [u32],
        scores: &'a [Scored],
    ) -> Self {
        Self {
            tokenizer,
            tokens,
            scores,
        }
    }

    /// Each token by itself.
    pub(super) fn tokens(&self) -> Vec<TokenReport> {
        let report = |scored: &Scored| {
            let id = self.tokens[scored.index];
            let mut buffer = [0; 4];
            let bytes = self
                .tokenizer
                .token_bytes(id, &mut buffer)
                .unwrap_or_default();
            TokenReport {
                index: scored.index,
                id,
                bits: bits(scored),
                rank: scored.rank,
                text: String::from_utf8_lossy(bytes).into_owned(),
            }
        };
        self.scores.iter().map(report).collect()
    }

    /// A line for each token, its columns apart by tabs, its text as JSON.
    pub(super) fn table(&self) -> String {
        let mut out = "index\tid\tbits\trank\ttext\n".to_owned();
        for token in self.tokens() {
            let TokenReport {
                index,
                id,
                bits,
                rank,
                text,
            } = token;
            let text = serde_json::to_string(&text).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{index}\t{id}\t{bits:.4}\t{rank}\t{text}");
        }
        out
    }

    /// With the control sequences of terminals.
    pub(super) fn terminal(&self) -> String {
        let mut out = String::new();
        for span in self.spans() {
            let Some((bits, _)) = self.hardest(&span) else {
                out += &span.text;
                continue;
            };
            let (red, green, blue) = color(bits);
            for (i, line) in span.text.split('\n').enumerate() {
                if i > 0 {
                    out.push('\n');
                }
                if !line.is_empty() {
                    let _ = write!(out, "\x1b[30;48;2;{red};{green};{blue}m{line}\x1b[0m");
                }
            }
        }
        if !out.ends_with('\n') {
            out.push('\n');
        }
        out
    }

    /// As a page; `report` stands above the text.
    pub(super) fn html(&self, data: &[PathBuf], report: &str) -> String {
        let names: Vec<String> = data.iter().map(|path| path.display().to_string()).collect();
        let title = escaped(&names.join(", "));
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
             <style>body{{max-width:50em;margin:2em auto;font:16px/1.6 serif}}\
             .text{{white-space:pre-wrap;overflow-wrap:anywhere;color:#000;background:#fff}}</style>\n\
             <h1>{title}</h1>\n<pre>{}</pre>\n<p>The redder, the harder: white is 0 bits, red {REDDEST} and \
             more. Point at a word for its figures.</p>\n<div class=\"text\">",
            escaped(report)
        );
        for span in self.spans() {
            let text = escaped(&span.text);
            let Some((bits, rank)) = self.hardest(&span) else {
                out += &text;
                continue;
            };
            let (red, green, blue) = color(bits);
            let _ = write!(
                out,
                "<span style=\"background:rgb({red},{green},{blue})\" title=\"{bits:.2} bits, {rank} likelier\">\
                 {text}</span>"
            );
        }
        out + "</div>\n</html>\n"
    }

    /// The text in whole characters: tokens that end inside one go with those that complete it.
    fn spans(&self) -> Vec<Span> {
        let mut decoder = StreamDecoder::new();
        let mut spans: Vec<Span> = Vec::new();
        let mut first = 0;
        for (last, &token) in self.tokens.iter().enumerate() {
            let mut text = match self.special(token) {
                Some(name) => format!("\u{2039}{name}\u{203a}"),
                None => String::new(),
            };
            // Tokens come from the tokenizer itself.
            let _ = decoder.push(self.tokenizer, token, &mut |part| text.push_str(part));
            if decoder.n_pending() == 0 && !text.is_empty() {
                spans.push(Span { text, first, last });
                first = last + 1;
            } else if let Some(span) = spans.last_mut()
                && !text.is_empty()
            {
                span.text += &text;
            }
        }
        spans
    }

    fn special(&self, token: u32) -> Option<&'static str> {
        let specials = self.tokenizer.specials();
        match Some(token) {
            id if id == specials.bos => Some("bos"),
            id if id == specials.eos => Some("eos"),
            id if id == specials.unk => Some("unk"),
            id if id == specials.pad => Some("pad"),
            _ => None,
        }
    }

    /// Bits and rank of the hardest token of a span; none where nothing was predicted.
    fn hardest(&self, span: &Span) -> Option<(f64, usize)> {
        let scores =
            (span.first..=span.last).filter_map(|index| self.scores.get(index.checked_sub(1)?));
        let figures = scores.map(|scored| (bits(scored), scored.rank));
        figures.max_by(|a, b| a.0.total_cmp(&b.0))
    }
}

fn bits(scored: &Scored) -> f64 {
    scored.nats / core::f64::consts::LN_2
}

/// White for 0 bits, red for many.
fn color(bits: f64) -> (u8, u8, u8) {
    let share = (bits / REDDEST).clamp(0.0, 1.0);
    let fade = |to: f64| (255.0 + (to - 255.0) * share) as u8;
    (fade(240.0), fade(80.0), fade(64.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_stay_whole_and_every_token_counts() {
        let text = "a<🐟>\né";
        let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
        let scores: Vec<Scored> = (1..tokens.len())
            .map(|index| Scored {
                index,
                nats: index as f64,
                rank: index,
            })
            .collect();
        let tokenizer = Tokenizer::Byte;
        let heat = Heat::new(&tokenizer, &tokens, &scores);
        let spans: Vec<_> = heat
            .spans()
            .into_iter()
            .map(|s| (s.text, s.first, s.last))
            .collect();
        let expected = [
            ("a", 0, 0),
            ("<", 1, 1),
            ("🐟", 2, 5),
            (">", 6, 6),
            ("\n", 7, 7),
            ("é", 8, 9),
        ];
        assert_eq!(
            spans,
            expected.map(|(text, first, last)| (text.to_owned(), first, last))
        );
        let terminal = heat.terminal();
        let mut plain = String::new();
        for part in terminal.split('\x1b') {
            plain += part.split_once('m').map_or(part, |(_, rest)| rest);
        }
        assert_eq!(plain, format!("{text}\n"));
        let page = heat.html(&[], "");
        // The fish is as hard as its hardest byte.
        assert!(
            page.contains("title=\"7.21 bits, 5 likelier\">🐟</span>"),
            "{page}"
        );
        assert!(page.contains(">a<span") && page.contains(">&lt;</span>"));
        assert_eq!(heat.table().lines().count(), tokens.len());
    }
}
