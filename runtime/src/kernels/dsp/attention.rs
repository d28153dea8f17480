//! Attention of the heads of a group in integers.

mod narrow;
mod parts;
mod wide;

use super::integers::largest;
use super::{Dsp, NARROW_HEADS, ODD_HEADS, WIDE_HEADS};
use crate::kernels::attention::{Attention, Heads, PIECE};
use crate::kernels::scalar;

/// Columns that go through together.
const COLUMNS: usize = 8;

/// Score of what comes after the last token: so far below any other that its weight is 0.
const NOTHING: i32 = 1 << 20;

/// What sums begin with.
static ZEROS: [f32; COLUMNS] = [0.0; COLUMNS];

impl Dsp {
    /// See [`crate::kernels::Isa::attend`].
    pub(in crate::kernels) fn attend(self, attention: Attention<'_>, heads: Heads<'_>) {
        let Attention {
            n, n_ctx, width, ..
        } = attention;
        let last = heads.first + heads.exponents.len().max(1) - 1;
        let room = (last / attention.group_size.max(1) + 1) * n_ctx;
        let fits = attention.keys.len() >= room * width
            && attention.key_exponents.len() >= room
            && attention.values.len() >= room * width
            && attention.value_exponents.len() >= room
            && attention.scores.len() >= n_ctx
            && n_ctx >= n.next_multiple_of(2)
            && heads.queries.len() == heads.exponents.len() * width
            && heads.out.len() == heads.queries.len();
        let fits = fits && n > 0 && !heads.out.is_empty() && width.is_multiple_of(COLUMNS);
        if NARROW_HEADS && fits && width == COLUMNS && n <= PIECE {
            // SAFETY: the lengths were checked, and that there is a head; a value of `Dsp` proves the instructions.
            return unsafe { narrow::attend(attention, heads) };
        }
        if WIDE_HEADS || ODD_HEADS {
            each_group(attention, heads, fits);
        }
    }
}

/// Group by group, by `scalar` where not all `fits`.
// By itself, so that its room on the stack is not that of `narrow`.
#[inline(never)]
fn each_group(attention: Attention<'_>, heads: Heads<'_>, fits: bool) {
    attention.each_group(heads, |group, heads| match WIDE_HEADS && fits {
        // SAFETY: the caller checked the lengths, and a group has the room that its part of the layer has; a value of
        // `Dsp` proves the instructions.
        true => unsafe { wide::attend(group, heads) },
        false if ODD_HEADS => scalar::attend(group, heads),
        false => {}
    });
}

/// The largest exponents of `n` keys and values, at least one.
///
/// # Safety
/// There are so many, and the instructions.
unsafe fn largest_of(keys: *const i8, values: *const i8, n: usize) -> [i32; 2] {
    // SAFETY: as the caller promises.
    let key = unsafe { largest(keys, n) };
    // SAFETY: as above.
    [key, unsafe { largest(values, n) }]
}
