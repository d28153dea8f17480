//! A check of the processor's arithmetic, small enough for firmware to run at every start.
//!
//! Texts are the same everywhere because every sum has one order and every operation one rounding.
//! A floating-point unit that rounds otherwise or flushes small numbers to zero, or a library that
//! replaces the compiler's arithmetic, breaks that without a word: [`run`] sees it.

use core::fmt;
use core::hint::black_box;

use xxhash_rust::xxh32::Xxh32;

use crate::Aligned;
use crate::kernels::{Isa, Output};
use crate::math;
use crate::ops;
use crate::parts::part_mut;
use crate::quant::{Activations, BLOCK, Format, Q8Activations, WeightFormat};
use crate::rng;

/// Rows of the matrix that is multiplied.
const ROWS: usize = 4;

/// Its columns: one whole block, and one that is filled up.
const COLS: usize = BLOCK + 8;

/// Bytes of it, and of a token's activations, in the integer format that takes the most.
const MATRIX_BYTES: usize = Format::Q8.matrix_bytes(ROWS, COLS) as usize;
const TOKEN_BYTES: usize = 3 * COLS;

/// What each part gives where the arithmetic is right.
const EXPECTED: [(&str, u32); 3] = [
    ("sums and products", 0xCD2A_D763),
    ("elementary functions", 0x4763_9E1C),
    ("matrix products", 0x11AD_66F7),
];

/// The last of [`EXPECTED`] with the integers of four bits.
const EXPECTED_Q4: u32 = 0xF2CF_17E8;

/// Arithmetic that is not the model's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SelfTestError {
    /// What differs.
    pub part: &'static str,
    /// Hash of the right results.
    pub expected: u32,
    /// Hash of the results here.
    pub computed: u32,
}

impl fmt::Display for SelfTestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            part,
            expected,
            computed,
        } = self;
        write!(
            f,
            "the self test failed: {part} give {computed:08x} and not {expected:08x}, so texts would differ from those \
             of other machines; build the program anew, and if that fails too, tell its authors"
        )
    }
}

impl core::error::Error for SelfTestError {}

/// Checks sums, products and elementary functions, and the matrix products of `W` where those are
/// the same bits everywhere, against results that are known. Takes about 1.5 KB of stack and the time
/// of a few thousand multiplications.
///
/// # Errors
/// A [`SelfTestError`] that says which part differs.
pub fn run<W: WeightFormat>() -> Result<(), SelfTestError> {
    let computed = hashes::<W>(Isa::detect());
    for ((part, expected), computed) in expected(W::FORMAT).into_iter().zip(computed) {
        if let Some(computed) = computed.filter(|computed| *computed != expected) {
            return Err(SelfTestError {
                part,
                expected,
                computed,
            });
        }
    }
    Ok(())
}

/// [`EXPECTED`] with weights of `format`.
fn expected(format: Format) -> [(&'static str, u32); EXPECTED.len()] {
    let mut expected = EXPECTED;
    if let (Format::Q4, [.., (_, products)]) = (format, &mut expected) {
        *products = EXPECTED_Q4;
    }
    expected
}

/// Hashes of the results, in the order of [`EXPECTED`]; none where other bits are right too.
fn hashes<W: WeightFormat>(isa: Isa) -> [Option<u32>; EXPECTED.len()] {
    let mut x = [0.0; COLS];
    fill(&mut x, 0, 4.0);
    let products = W::FORMAT.is_integer().then(|| products::<W>(isa, &x));
    [Some(sums(&x)), Some(functions(&x)), products]
}

/// Numbers in `-scale..scale` that the compiler cannot know.
#[inline(never)]
fn fill(out: &mut [f32], stream: u64, scale: f32) {
    for (i, value) in out.iter_mut().enumerate() {
        let unit = rng::unit(rng::random(black_box(1), stream, i as u64));
        *value = (unit * 2.0 - 1.0) * scale;
    }
}

#[inline(never)]
fn sums(x: &[f32; COLS]) -> u32 {
    let mut hash = Xxh32::new(0);
    let tiny = x.map(|value| value * 1e-20);
    let (mean, rstd) = ops::layer_norm_stats(x);
    let dots = [dot(x, x), dot(&tiny, x), dot(&tiny, &tiny)];
    update(&mut hash, &dots);
    update(&mut hash, &[mean, rstd, math::sqrt(dots[0]), x[0] / x[1]]);
    // Below the smallest normal number, as product and as sum.
    update(&mut hash, &[tiny[0] * tiny[1] + f32::MIN_POSITIVE]);
    hash.digest()
}

#[inline(never)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    ops::dot(a, b)
}

#[inline(never)]
fn functions(x: &[f32; COLS]) -> u32 {
    let mut hash = Xxh32::new(0);
    let mut values = *x;
    for value in &mut values {
        *value = ops::gelu(*value) + math::sigmoid(*value);
    }
    update(&mut hash, &values);
    ops::softmax(&mut values);
    update(&mut hash, &values);
    let (mut frequencies, mut table) = ([0.0; 4], [0.0; 8]);
    ops::frequencies(&mut frequencies, 10_000.0);
    ops::rope_table(&mut table, black_box(97), &frequencies);
    update(&mut hash, &table);
    hash.digest()
}

#[inline(never)]
fn products<W: WeightFormat>(isa: Isa, x: &[f32; COLS]) -> u32 {
    let mut weights = [0.0; ROWS * COLS];
    fill(&mut weights, 1, 0.5);
    let mut bytes = Aligned([0; MATRIX_BYTES]);
    let bytes = part_mut(&mut bytes.0, 0, W::FORMAT.matrix_bytes(ROWS, COLS) as usize);
    W::encode(bytes, &weights, COLS);
    let blocks = W::FORMAT.blocks(COLS);
    let (mut quants, mut scales) = (Aligned([0; TOKEN_BYTES]), [0.0; COLS.div_ceil(BLOCK)]);
    let quants = part_mut(&mut quants.0, 0, blocks.quants);
    let mut values = *x;
    W::quantize(isa, quants, &mut scales, &mut values, COLS);
    let q8 = Q8Activations {
        quants,
        scales: &scales,
        blocks,
    };
    let mut out = [0.0; ROWS];
    let output = Output {
        values: &mut out,
        stride: ROWS,
        first: 0,
    };
    let matrix = W::matrix(bytes, ROWS, COLS);
    let values = &values;
    W::matmul(isa, output, matrix, 0..ROWS, Activations { values, q8 });
    let mut hash = Xxh32::new(0);
    update(&mut hash, &out);
    hash.digest()
}

#[inline(never)]
fn update(hash: &mut Xxh32, values: &[f32]) {
    for value in values {
        hash.update(&value.to_bits().to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::{F16, F32, Q4, Q8, Q8Dsp};

    #[test]
    fn every_instruction_set_passes() {
        for isa in Isa::available() {
            let expected = EXPECTED.map(|(_, hash)| Some(hash));
            for computed in [hashes::<Q8>(isa), hashes::<Q8Dsp>(isa)] {
                assert_eq!(computed, expected, "{}: {computed:#x?}", isa.name());
            }
            let computed = hashes::<Q4>(isa);
            let expected = super::expected(Format::Q4).map(|(_, hash)| Some(hash));
            assert_eq!(computed, expected, "{}: {computed:#x?}", isa.name());
        }
        assert_eq!((run::<F32>(), run::<F16>()), (Ok(()), Ok(())));
    }
}
