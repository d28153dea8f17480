//! Errors as sentences, without `core::fmt`, which would be half of the program.

use minigpt_runtime::format::{self, HeaderError};
use minigpt_runtime::self_test::SelfTestError;
use minigpt_runtime::tokenizer::TokenizeError;
use minigpt_runtime::{LoadError, SamplerError, SessionError};

use crate::command::CommandError;
use crate::console::{Hex, Say, parts};
use crate::line::{LineError, MAX_LINE};

impl Say for LoadError {
    fn say(&self) {
        match *self {
            Self::Version { found } => parts!(
                "it has version ",
                u32::from(found),
                " and this program reads version ",
                u32::from(format::VERSION),
                "; write a newer program, or export the model with an older minigpt",
            ),
            Self::Truncated => "it is cut short; write it again".say(),
            Self::Header(error) => error.say(),
            Self::WeightsLength { needed, given } => parts!(
                "its weights have ",
                given,
                " bytes and need ",
                needed,
                "; write it again",
            ),
            Self::Misaligned { offset } => parts!(
                "its weights lie ",
                offset,
                " bytes past a multiple of 16; export it again",
            ),
            Self::Checksum { stored, computed } => parts!(
                "it is damaged: its checksum is ",
                Hex(stored as usize),
                " and its bytes give ",
                Hex(computed as usize),
                "; write it again",
            ),
            Self::Format { file, asked } => parts!(
                "its weights are ",
                file.name(),
                " and this program runs ",
                asked.name(),
                "; export it with --format ",
                asked.name(),
            ),
            _ => "it is damaged; write it again".say(),
        }
    }
}

impl Say for HeaderError {
    fn say(&self) {
        match *self {
            Self::Vocabulary { n_vocab, tokens } => parts!(
                "its tokenizer has ",
                tokens,
                " tokens and the model only ",
                n_vocab,
                "; export it again",
            ),
            _ => "what stands before its weights is no model's; write it again, or export it again"
                .say(),
        }
    }
}

impl Say for SessionError {
    fn say(&self) {
        match *self {
            Self::ArenaTooSmall { needed, given } => parts!(
                "even with a context of one token the model needs ",
                needed,
                " bytes of RAM and the board has ",
                given,
                " for it; take a smaller model",
            ),
            Self::ContextFull { n_ctx, added, .. } => parts!(
                "the prompt has ",
                added,
                " tokens and the context ",
                n_ctx,
                "; send a shorter one",
            ),
            _ => "the session refused the tokens; reset the board".say(),
        }
    }
}

impl Say for TokenizeError {
    fn say(&self) {
        match *self {
            Self::UnknownChar { ch, offset } => parts!(
                "the model has no character ",
                &*ch.encode_utf8(&mut [0; 4]),
                ", which stands at byte ",
                offset,
                "; send a line without it",
            ),
            Self::InvalidUtf8 { offset } => LineError::NotText(offset).say(),
            _ => LineError::TooLong.say(),
        }
    }
}

impl Say for LineError {
    fn say(&self) {
        match *self {
            Self::TooLong => parts!(
                "the line is longer than ",
                MAX_LINE,
                " bytes; send a shorter one",
            ),
            Self::NotText(at) => parts!("the line is not UTF-8 at byte ", at, "; send it again"),
        }
    }
}

impl Say for CommandError {
    fn say(&self) {
        match *self {
            Self::Unknown => "no such command; /help lists them".say(),
            Self::Number => "this needs a number, such as 40 or 0.8".say(),
            Self::Sampler(error) => error.say(),
        }
    }
}

impl Say for SamplerError {
    fn say(&self) {
        match *self {
            Self::TopK { max, .. } => parts!("top-k must be 0 (all) to ", max),
            Self::TopP { .. } => "top-p must be above 0 and at most 1".say(),
            _ => "the temperature must be 0 (always the likeliest token) or more".say(),
        }
    }
}

impl Say for SelfTestError {
    fn say(&self) {
        parts!(
            "the self test failed: ",
            self.part,
            " give ",
            Hex(self.computed as usize),
            " and not ",
            Hex(self.expected as usize),
            "; build the program anew, and if that fails too, tell its authors",
        );
    }
}
