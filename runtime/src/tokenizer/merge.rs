//! Merging of neighbours, in place and without a heap.

use crate::parts::part_mut;

/// Merges the neighbours with the lowest key, the leftmost of equals first, until none can merge;
/// returns how many tokens remain at the front of `ids`.
///
/// `merge` gives, for two neighbours, their key, which is never below `lowest`, and the token they become.
/// Hugging Face and llama2.c merge one pair at a time. Here one pass from left to right merges every pair
/// with the lowest key, which is the same: while it runs, only the token made last can have a still lower
/// key with a neighbour (two merges with one result, or scores that grow along a merge), and such merges
/// are made at once.
///
/// A pass learns the next key as it goes. That key is a lower bound: its pair may be gone by then,
/// and the pass for it only raises the bound.
///
/// # Cost
/// Keys rise from pass to pass, so there is at most one pass more than different keys occur, the first for
/// `lowest`, each of them one look-up a token; all passes together look up two more pairs for each merge
/// made. That holds for any table. A word costs its length times the number of different merges that occur
/// in it, which is the price of having no heap; real words are short, and hosts have the trainer's.
pub(super) fn merge_all<K: PartialOrd + Copy>(
    ids: &mut [u32],
    lowest: K,
    merge: impl Fn(u32, u32) -> Option<(K, u32)>,
) -> usize {
    let (mut n, mut next) = (ids.len(), Some(lowest));
    while let (Some(key), Some(word)) = (next, ids.get_mut(..n)) {
        (n, next) = pass(word, key, &merge);
    }
    n
}

/// One pass: tokens left and the next key.
///
/// `ids[..kept]` is done: pairs in it have keys above `key`. Pairs of what is
/// not read yet have none below it.
fn pass<K: PartialOrd + Copy>(
    ids: &mut [u32],
    key: K,
    merge: &impl Fn(u32, u32) -> Option<(K, u32)>,
) -> (usize, Option<K>) {
    let mut next = None;
    // The last token kept is `last`; `ids[..kept]` are those before it.
    let (mut kept, mut read) = (0usize, 0);
    while let Some(&token) = ids.get(read) {
        let mut last = token;
        read += 1;
        let mut made = false;
        loop {
            let left = kept.checked_sub(1).and_then(|left| ids.get(left));
            let left = left.and_then(|left| merge(*left, last));
            let right = ids.get(read).filter(|_| made);
            let right = right.and_then(|right| merge(last, *right));
            let bound = left.map_or(key, |(left, _)| if left < key { left } else { key });
            match (left, right) {
                (_, Some((found, id))) if found < bound => {
                    last = id;
                    read += 1;
                }
                (Some((found, id)), _) if found <= key => {
                    last = id;
                    kept -= 1;
                }
                _ => {
                    if let Some((key, _)) = left
                        && next.is_none_or(|next| key < next)
                    {
                        next = Some(key);
                    }
                    break;
                }
            }
            made = true;
        }
        part_mut(ids, kept, 1).fill(last);
        kept += 1;
    }
    (kept, next)
}
