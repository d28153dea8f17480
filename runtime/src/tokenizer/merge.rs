//! Merging of neighbours, in place and without a heap.

/// Merges the neighbours with the lowest key, the leftmost of equals first, until none can merge;
/// returns how many tokens remain at the front of `ids`.
///
/// `merge` gives, for two neighbours, their key and the token they become. Hugging Face and llama2.c
/// merge one pair at a time. Here one pass from left to right merges every pair with the lowest key,
/// which is the same: the pass ends early in the one case that differs, when a new token and its
/// neighbour have a still lower key (two merges with one result, or scores that grow along a merge).
///
/// A pass looks up each pair of neighbours once, and learns the next key as it goes. That key is a
/// lower bound: its pair may be gone by then, and the pass for it only raises the bound.
///
/// Passes are bounded by twice the merges made, and in tables where results have higher keys than
/// their parts by twice the number of different keys that occur: a long run of one letter takes
/// about two passes for each doubling. A word costs its length times the number of different merges
/// in it, which is the price of having no heap; real words are short, and hosts have the trainer's.
pub(super) fn merge_all<K: PartialOrd + Copy>(
    ids: &mut [u32],
    merge: impl Fn(u32, u32) -> Option<(K, u32)>,
) -> usize {
    let mut n = ids.len();
    let mut lowest = None;
    for (left, right) in ids.iter().zip(ids.iter().skip(1)) {
        lower(&mut lowest, merge(*left, *right).map(|(key, _)| key));
    }
    while let (Some(key), Some(word)) = (lowest, ids.get_mut(..n)) {
        (n, lowest) = pass(word, key, &merge);
    }
    n
}

/// One pass: tokens left and the next key.
fn pass<K: PartialOrd + Copy>(
    ids: &mut [u32],
    key: K,
    merge: &impl Fn(u32, u32) -> Option<(K, u32)>,
) -> (usize, Option<K>) {
    let mut next = None;
    // `ids[..kept]` is done; its last token waits for a right neighbour.
    let mut kept = 0;
    for read in 0..ids.len() {
        ids[kept] = ids[read];
        kept += 1;
        while let Some(pair) = kept.checked_sub(2) {
            let Some((found, id)) = merge(ids[pair], ids[pair + 1]) else {
                break;
            };
            if found > key {
                lower(&mut next, Some(found));
                break;
            }
            ids[pair] = id;
            kept -= 1;
            if let Some(lowest) = around(ids, pair, read + 1, merge).filter(|new| *new < key) {
                ids.copy_within(read + 1.., kept);
                return (kept + ids.len() - (read + 1), Some(lowest));
            }
        }
    }
    (kept, next)
}

/// The lowest key of the pairs that the token at `at` forms with the tokens before it and at `right`.
fn around<K: PartialOrd + Copy>(
    ids: &[u32],
    at: usize,
    right: usize,
    merge: &impl Fn(u32, u32) -> Option<(K, u32)>,
) -> Option<K> {
    let key = |left: usize, right: usize| {
        let (left, right) = (ids.get(left)?, ids.get(right)?);
        merge(*left, *right).map(|(key, _)| key)
    };
    let mut lowest = key(at, right);
    if let Some(left) = at.checked_sub(1) {
        lower(&mut lowest, key(left, at));
    }
    lowest
}

fn lower<K: PartialOrd>(lowest: &mut Option<K>, key: Option<K>) {
    if let Some(key) = key
        && lowest.as_ref().is_none_or(|lowest| key < *lowest)
    {
        *lowest = Some(key);
    }
}
