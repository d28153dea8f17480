//! Learns a byte-level BPE from text.
//!
//! Ours, because the learner is one loop of two pages, whereas Hugging Face's `tokenizers` crate
//! brings 77 packages, two regular-expression engines and a C library among them. Merges are the
//! same as its `BpeTrainer` makes with the `ByteLevel` pre-tokeniser; a test compares them.
//!
//! The loop keeps words with their counts, counts of pairs of neighbours, and a heap of pairs with
//! the words they stand in. A heap entry whose count is out of date goes back with the right one.
//! Merging is sequential and words are sorted first: the result does not depend on threads.

use core::cmp::Reverse;
use core::fmt;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use minigpt_runtime::Specials;
use minigpt_runtime::tokenizer::Words;
use rayon::prelude::*;

use crate::tokenizer::chunks;

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

struct Learner {
    words: Vec<Vec<u32>>,
    counts: Vec<i64>,
    pair_counts: HashMap<Pair, i64>,
    heap: BinaryHeap<Candidate>,
    n_pushed: u64,
}

/// A pair to merge. The order is that of the fields: most frequent first, then the lowest pair.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    count: i64,
    pair: Reverse<Pair>,
    /// Makes the order total.
    pushed: Reverse<u64>,
    /// Words that the pair stands in, or stood in.
    words: Vec<u32>,
}

/// A candidate whose count is right.
struct Top {
    pair: Pair,
    words: Vec<u32>,
}

impl Learner {
    fn new(texts: &[&[u8]], byte_ids: &[u32; 256]) -> Self {
        let mut learner = Self {
            words: Vec::new(),
            counts: Vec::new(),
            pair_counts: HashMap::new(),
            heap: BinaryHeap::new(),
            n_pushed: 0,
        };
        let mut found: HashMap<Pair, Vec<u32>> = HashMap::new();
        for (index, (word, count)) in (0..).zip(count_words(texts)) {
            let ids: Vec<u32> = word.iter().map(|b| byte_ids[usize::from(*b)]).collect();
            for pair in ids.windows(2) {
                let pair = (pair[0], pair[1]);
                *learner.pair_counts.entry(pair).or_default() += count;
                note(found.entry(pair).or_default(), index);
            }
            learner.words.push(ids);
            learner.counts.push(count);
        }
        learner.push(found);
        learner
    }

    fn push(&mut self, found: HashMap<Pair, Vec<u32>>) {
        for (pair, words) in found {
            let count = self.pair_counts[&pair];
            if count > 0 {
                self.push_one(count, pair, words);
            }
        }
    }

    fn push_one(&mut self, count: i64, pair: Pair, words: Vec<u32>) {
        self.n_pushed += 1;
        self.heap.push(Candidate {
            count,
            pair: Reverse(pair),
            pushed: Reverse(self.n_pushed),
            words,
        });
    }

    /// The pair to merge next.
    fn pop(&mut self) -> Option<Top> {
        loop {
            let Candidate {
                count, pair, words, ..
            } = self.heap.pop()?;
            let pair = pair.0;
            let now = self.pair_counts[&pair];
            if now == count {
                return Some(Top { pair, words });
            }
            if now > 0 {
                self.push_one(now, pair, words);
            }
        }
    }

    /// Replaces the pair by `id` in its words and brings counts up to date.
    fn merge(&mut self, top: &Top, id: u32) {
        let mut found: HashMap<Pair, Vec<u32>> = HashMap::new();
        for &index in &top.words {
            let count = self.counts[index as usize];
            let pair_counts = &mut self.pair_counts;
            merge_word(&mut self.words[index as usize], top.pair, id, |old, new| {
                *pair_counts.entry(old).or_default() -= count;
                *pair_counts.entry(new).or_default() += count;
                note(found.entry(new).or_default(), index);
            });
        }
        self.push(found);
    }
}

/// Adds a word to a list that is filled word by word.
fn note(words: &mut Vec<u32>, index: u32) {
    if words.last() != Some(&index) {
        words.push(index);
    }
}

/// Merges `pair` in a word from left to right and reports each pair that another one replaces.
fn merge_word(word: &mut Vec<u32>, pair: Pair, id: u32, mut replace: impl FnMut(Pair, Pair)) {
    let (left, right) = pair;
    let mut kept = 0;
    let mut read = 0;
    while read < word.len() {
        if word[read] == left && word.get(read + 1) == Some(&right) {
            if kept > 0 {
                replace((word[kept - 1], left), (word[kept - 1], id));
            }
            if let Some(&after) = word.get(read + 2) {
                replace((right, after), (id, after));
            }
            word[kept] = id;
            read += 2;
        } else {
            word[kept] = word[read];
            read += 1;
        }
        kept += 1;
    }
    word.truncate(kept);
}

/// Distinct words, sorted, with how often each occurs.
fn count_words<'t>(texts: &[&'t [u8]]) -> Vec<(&'t [u8], i64)> {
    let chunks: Vec<&[u8]> = texts.iter().flat_map(|text| chunks(text)).collect();
    let counts = chunks
        .into_par_iter()
        .fold(HashMap::new, |mut counts, chunk| {
            for word in Words::new(chunk) {
                *counts.entry(word).or_insert(0) += 1;
            }
            counts
        })
        .reduce(HashMap::new, |mut counts: HashMap<&[u8], i64>, more| {
            for (word, count) in more {
                *counts.entry(word).or_insert(0) += count;
            }
            counts
        });
    let mut words: Vec<_> = counts.into_iter().collect();
    words.sort_unstable();
    words
}
