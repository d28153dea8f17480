//! The words of a text and which pair of neighbours to merge next.
//!
//! Words are kept with their counts, and there are counts of pairs of neighbours, and a heap of
//! pairs with the words they stand in. A heap entry whose count is out of date goes back with the
//! right one.

use core::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use minigpt_runtime::tokenizer::Words;
use rayon::prelude::*;

use super::Pair;
use crate::tokenizer::chunks;

/// The state of the loop.
pub(super) struct Learner {
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
pub(super) struct Top {
    pub(super) pair: Pair,
    words: Vec<u32>,
}

impl Learner {
    pub(super) fn new(texts: &[&[u8]], byte_ids: &[u32; 256]) -> Self {
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
    pub(super) fn pop(&mut self) -> Option<Top> {
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
    pub(super) fn merge(&mut self, top: &Top, id: u32) {
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
