//! Learns a byte-level BPE from text.
//!
//! Ours, because the learner is one loop of two pages, whereas Hugging Face's `tokenizers` crate
//! brings 77 packages, two regular-expression engines and a C library among them. Merges are the
//! same as its `BpeTrainer` makes with the `ByteLevel` pre-tokeniser; a test compares them.
//!
//! Merging is sequential and words are sorted first: the result does not depend on threads.

use core::fmt;
use std::collections::{BTreeMap, HashMap};

use minigpt_runtime::Specials;

use learner::Learner;

mod learner;

/// Special tokens and bytes: the smallest vocabulary.
pub const MIN_VOCAB: usize = 4 + 256;

/// Two neighbours.
type Pair = (u32, u32);

/// A byte-level BPE as plain data: what a learner or an importer makes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "plain data that importers write")]
pub struct BpeTables {
    /// The tokens that stand for no text.
    pub specials: Specials,
    /// The text of each token.
    pub texts: Vec<Vec<u8>>,
    /// The token of each byte.
    pub byte_ids: [u32; 256],
    /// Two neighbours -> rank of their merge and the token it makes.
    pub merges: BTreeMap<(u32, u32), (u32, u32)>,
}

/// Why nothing was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LearnError {
    /// The vocabulary has no room for the special tokens and the bytes.
    VocabTooSmall {
        /// Tokens asked for.
        n_vocab: usize,
    },
    /// The vocabulary is larger than any model's.
    VocabTooLarge {
        /// Tokens asked for.
        n_vocab: usize,
    },
}

impl fmt::Display for LearnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::VocabTooSmall { n_vocab } => write!(
                f,
                "a BPE vocabulary of {n_vocab} is too small; 4 special tokens and 256 bytes need {MIN_VOCAB}"
            ),
            Self::VocabTooLarge { n_vocab } => write!(
                f,
                "a BPE vocabulary of {n_vocab} is too large; the largest is {}",
                minigpt_runtime::tokenizer::MAX_VOCAB
            ),
        }
    }
}

impl core::error::Error for LearnError {}

/// Learns at most `n_vocab` tokens from `texts`: pad, unk, bos and eos, the bytes in GPT-2's order,
/// and the merges. Fewer where the texts have no more pairs to merge.
///
/// # Errors
/// [`LearnError`] for a vocabulary size that is impossible.
///
/// # Source
/// Sennrich et al. 2016, algorithm 1; ties and repeated results as in Hugging Face `tokenizers`,
/// `models/bpe/trainer.rs`, `do_train`.
pub fn learn(texts: &[&[u8]], n_vocab: usize) -> Result<BpeTables, LearnError> {
    if n_vocab < MIN_VOCAB {
        return Err(LearnError::VocabTooSmall { n_vocab });
    }
    if n_vocab > minigpt_runtime::tokenizer::MAX_VOCAB {
        return Err(LearnError::VocabTooLarge { n_vocab });
    }
    let mut tables = BpeTables::without_merges();
    let mut learner = Learner::new(texts, &tables.byte_ids);
    let mut by_text: HashMap<Vec<u8>, u32> = (4u32..)
        .zip(&tables.texts[4..])
        .map(|(id, text)| (text.clone(), id))
        .collect();
    let mut rank = 0;
    while tables.texts.len() < n_vocab
        && let Some(top) = learner.pop()
    {
        let (left, right) = top.pair;
        let text = [left, right].map(|id| tables.texts[id as usize].as_slice());
        let text = text.concat();
        let next = tables.texts.len() as u32;
        // Two merges may make one token: `a|bc` and `ab|c`.
        let id = *by_text.entry(text).or_insert_with_key(|text| {
            tables.texts.push(text.clone());
            next
        });
        tables.merges.insert(top.pair, (rank, id));
        rank += 1;
        learner.merge(&top, id);
    }
    Ok(tables)
}

impl BpeTables {
    /// Special tokens and bytes alone.
    fn without_merges() -> Self {
        let mut byte_ids = [0; 256];
        let mut texts = vec![Vec::new(); 4];
        for byte in gpt2_byte_order() {
            byte_ids[usize::from(byte)] = texts.len() as u32;
            texts.push(vec![byte]);
        }
        Self {
            specials: Specials {
                pad: Some(0),
                unk: Some(1),
                bos: Some(2),
                eos: Some(3),
            },
            texts,
            byte_ids,
            merges: BTreeMap::new(),
        }
    }
}

/// The bytes in the order of the characters that GPT-2 writes for them: printable ones first.
///
/// # Source
/// GPT-2, `encoder.py`, `bytes_to_unicode`.
pub fn gpt2_byte_order() -> impl Iterator<Item = u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let all = 0..=u8::MAX;
    all.clone()
        .filter(printable)
        .chain(all.filter(move |byte| !printable(byte)))
}
