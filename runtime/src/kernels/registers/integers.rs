//! Products of integer weights, and activations as integers.

use half::f16;

use super::{ROWS, Registers, all_have, at, tile};
use crate::kernels::{Output, scalar};
use crate::ops::LANES;
use crate::parts::{copy, part, part_mut};
use crate::quant::{BLOCK, Q4_BYTES, Q4Matrix, Q8Activations, Q8Matrix};

/// See [`crate::kernels::Isa::matmul_q8`].
#[inline(always)]
pub(in crate::kernels) fn matmul_q8<R: Registers>(
    isa: R,
    out: Output<'_>,
    w: Q8Matrix<'_>,
    x: Q8Activations<'_>,
) {
    let block = |w: &[i8; BLOCK]| isa.block(w);
    matmul(isa, out, w.stored(), x, block, |x| isa.exact(x));
}

/// See [`crate::kernels::Isa::matmul_q4`].
#[inline(always)]
pub(in crate::kernels) fn matmul_q4<R: Registers>(
    isa: R,
    out: Output<'_>,
    w: Q4Matrix<'_>,
    x: Q8Activations<'_>,
) {
    let block = |w: &[i8; Q4_BYTES]| isa.block_q4(w);
    matmul(isa, out, w.stored(), x, block, |x| isa.exact_q4(x));
}

/// Integers and scales of a token.
type Token<'x> = (&'x [[i8; BLOCK]], &'x [f32]);

/// Four rows of blocks of `BYTES`.
struct Tile<'w, const BYTES: usize> {
    blocks: [&'w [[i8; BYTES]]; ROWS],
    scales: [&'w [f16]; ROWS],
}

/// Every row with every token, four rows with two tokens at a time.
#[inline(always)]
fn matmul<R: Registers, const BYTES: usize>(
    isa: R,
    out: Output<'_>,
    (bytes, scales): (&[i8], &[f16]),
    x: Q8Activations<'_>,
    block: impl Fn(&[i8; BYTES]) -> R::Block,
    exact: impl Fn(R::Integers) -> R::Floats,
) {
    let n = x.blocks.n.max(1);
    let rows = bytes.as_chunks::<BYTES>().0.chunks(ROWS * n);
    let token = |t: usize| -> Token<'_> {
        let quants = part(x.quants, t * x.blocks.quants, x.blocks.quants);
        (quants.as_chunks().0, part(x.scales, t * n, n))
    };
    let n_tokens = x.scales.len() / n;
    for (i, (rows, scales)) in rows.zip(scales.chunks(ROWS * n)).enumerate() {
        let w = Tile {
            blocks: tile(rows, n),
            scales: tile(scales, n),
        };
        let mut put = |t: usize, sums| {
            let mut four = [0.0; ROWS];
            isa.store(&mut four, sums);
            let place = t * out.stride + out.first + i * ROWS;
            copy(part_mut(out.values, place, rows.len() / n), &four);
        };
        let mut t = 0;
        while t + 2 <= n_tokens {
            let [a, b] = sums(isa, &w, [token(t), token(t + 1)], n, &block, &exact);
            put(t, a);
            put(t + 1, b);
            t += 2;
        }
        if t < n_tokens {
            let [a] = sums(isa, &w, [token(t)], n, &block, &exact);
            put(t, a);
        }
    }
}

/// The products of four rows with each token.
#[inline(always)]
fn sums<R: Registers, const BYTES: usize, const T: usize>(
    isa: R,
    w: &Tile<'_, BYTES>,
    tokens: [Token<'_>; T],
    n: usize,
    block: impl Fn(&[i8; BYTES]) -> R::Block,
    exact: impl Fn(R::Integers) -> R::Floats,
) -> [R::Floats; T] {
    let zero = isa.splat(0.0);
    let whole = tokens
        .iter()
        .all(|x| all_have(n, &[x.0]) && all_have(n, &[x.1]));
    if !whole || !all_have(n, &w.blocks) || !all_have(n, &w.scales) {
        return [zero; T];
    }
    let mut lanes = [[zero; LANES]; T];
    let mut add = |lane: usize, i: usize, w_scales: R::Floats| {
        // SAFETY: all rows and tokens have `n` blocks and scales, and `i` is less.
        let rows = w.blocks.map(|row| block(unsafe { at(row, i) }));
        for (x, lanes) in tokens.iter().zip(&mut lanes) {
            // SAFETY: as above.
            let x_block = isa.block(unsafe { at(x.0, i) });
            // SAFETY: as above.
            let x_scale = isa.splat(*unsafe { at(x.1, i) });
            let products = exact(isa.dots(rows, x_block));
            let scaled = isa.mul(products, isa.mul(w_scales, x_scale));
            lanes[lane] = isa.add(lanes[lane], scaled);
        }
    };
    let groups = w.scales.map(|scales| scales.as_chunks::<LANES>().0);
    for group in 0..n / LANES {
        // SAFETY: all rows have as many scales, and so as many groups.
        let scales = groups.map(|groups| isa.load_f16(unsafe { at(groups, group) }));
        let [first, second] = [0, 1].map(|i| isa.transpose(scales.map(|scales| scales[i])));
        for lane in 0..LANES {
            let scales = if lane < 4 {
                first[lane]
            } else {
                second[lane - 4]
            };
            add(lane, group * LANES + lane, scales);
        }
    }
    let start = n / LANES * LANES;
    for lane in 0..n - start {
        // SAFETY: all rows have `n` scales.
        let scales = w.scales.map(|scales| *unsafe { at(scales, start + lane) });
        add(lane, start + lane, isa.widen(scales));
    }
    lanes.map(|lanes| reduce(isa, lanes))
}

/// [`crate::ops::reduce`] of four rows.
#[inline(always)]
fn reduce<R: Registers>(isa: R, [a, b, c, d, e, f, g, h]: [R::Floats; LANES]) -> R::Floats {
    let even = isa.add(isa.add(a, e), isa.add(c, g));
    isa.add(even, isa.add(isa.add(b, f), isa.add(d, h)))
}

/// See [`crate::kernels::Isa::quantize`].
#[inline(always)]
pub(in crate::kernels) fn quantize<R: Registers>(
    isa: R,
    quants: &mut [i8],
    scales: &mut [f32],
    x: &[f32],
    cols: usize,
) {
    let blocks = x.chunks_exact(cols.max(1));
    let blocks = blocks.flat_map(|row| row.chunks(BLOCK));
    let quants = quants.as_chunks_mut::<BLOCK>().0.iter_mut();
    for ((x, quants), scale) in blocks.zip(quants).zip(scales) {
        *scale = match x.as_array::<BLOCK>() {
            Some(x) => isa.quantize_block(quants, x),
            None => scalar::quantize_block(quants, x),
        };
    }
}
