use std::vec;
use std::vec::Vec;

use super::{F16, F32, Format, Q4, Q8, Q8Dsp, WeightFormat, reorder};
use crate::bytes::Buffer;
use crate::kernels::Isa;
use crate::rng::Rng;

fn round_trip<W: WeightFormat>(values: &[f32], cols: usize) -> Vec<f32> {
    let rows = values.len() / cols;
    let mut buffer = Buffer::new(W::FORMAT.matrix_bytes(rows, cols) as usize);
    let bytes = buffer.bytes();
    bytes.fill(0xAA);
    W::FORMAT.encode(bytes, values, cols);
    let matrix = W::matrix(bytes, rows, cols);
    let mut out = vec![0.0; values.len()];
    for (row, out) in out.chunks_exact_mut(cols).enumerate() {
        W::row(Isa::detect(), out, matrix, row);
    }
    out
}

fn random(n: usize) -> Vec<f32> {
    let mut rng = Rng::new(n as u64, 1);
    (0..n).map(|_| rng.next_unit() * 2.0 - 1.0).collect()
}

#[test]
fn values_survive_to_the_format_s_precision() {
    for (rows, cols) in [(1, 1), (3, 7), (2, 32), (5, 33), (4, 172)] {
        let values = random(rows * cols);
        assert_eq!(round_trip::<F32>(&values, cols), values);
        for (a, b) in round_trip::<F16>(&values, cols).iter().zip(&values) {
            assert!((a - b).abs() <= b.abs() / 2048.0 + 1e-7);
        }
        for (a, b) in round_trip::<Q8>(&values, cols).iter().zip(&values) {
            assert!((a - b).abs() <= 0.5001 / 127.0, "{a} {b}");
        }
    }
}

#[test]
fn rounding_is_storing_and_reading_back() {
    let extremes = [0.0, -0.0, 1e-30, -1e30, 3e38, 65504.0, f32::NAN, -1e-7];
    // Miri has no time for the last of them.
    let sizes = [(1, 1), (3, 7), (2, 32), (5, 33), (40, 172)];
    let sizes = &sizes[..if cfg!(miri) { 4 } else { 5 }];
    let all = sizes
        .iter()
        .map(|(rows, cols)| (random(rows * cols), *cols));
    for (values, cols) in all.chain([(extremes.to_vec(), 8)]) {
        let rounded = |format: Format| {
            let mut out = vec![0.5; values.len()];
            format.round(&mut out, &values, cols);
            let bits = |value: &f32| value.to_bits();
            out.iter().map(bits).collect::<Vec<_>>()
        };
        let bits = |stored: Vec<f32>| stored.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(rounded(Format::F32), bits(round_trip::<F32>(&values, cols)));
        assert_eq!(rounded(Format::F16), bits(round_trip::<F16>(&values, cols)));
        assert_eq!(rounded(Format::Q8), bits(round_trip::<Q8>(&values, cols)));
        assert_eq!(
            rounded(Format::Q8Dsp),
            bits(round_trip::<Q8Dsp>(&values, cols))
        );
        assert_eq!(rounded(Format::Q4), bits(round_trip::<Q4>(&values, cols)));
    }
}

/// The definition, one scale after the other.
fn searched(values: &[f32]) -> Vec<f32> {
    let larger = |a: f32, b: f32| if b.abs() > a.abs() { b } else { a };
    let largest = values.iter().copied().fold(0.0, larger);
    let (mut best, mut least) = (vec![0.0; values.len()], f32::INFINITY);
    for eighth in (-76..-51).chain(48..65) {
        let scale = half::f16::from_f32(largest / (eighth as f32 / 8.0)).to_f32();
        if scale == 0.0 {
            continue;
        }
        let scaled = values.iter().map(|value| value * (1.0 / scale));
        let rounded = scaled.clone().map(|x| libm::rintf(x).clamp(-8.0, 7.0));
        let squares = scaled.zip(rounded.clone()).map(|(a, b)| (a - b) * (a - b));
        let error = squares.fold(0.0, |sum, square| sum + square) * (scale / largest).powi(2);
        if error < least {
            (best, least) = (rounded.map(|q| q * scale).collect(), error);
        }
    }
    best
}

#[test]
#[cfg_attr(miri, ignore = "numbers alone, and minutes of them")]
fn q4_takes_the_best_of_its_scales() {
    let mut rng = Rng::new(3, 0);
    for n in (1..=32).cycle().take(2000) {
        let size = 10f32.powi(rng.next_below(12) as i32 - 6);
        let value = |_| size * (rng.next_unit() + rng.next_unit() - 1.0).powi(3);
        let values: Vec<f32> = (0..n).map(value).collect();
        assert_eq!(
            round_trip::<Q4>(&values, n),
            searched(&values),
            "{values:?}"
        );
    }
}

/// Against the scale that makes the largest magnitude -8, without a search.
#[test]
#[cfg_attr(miri, ignore = "numbers alone, and minutes of them")]
fn q4_loses_less_than_plain_rounding() {
    let (mut searched, mut plain) = (0.0, 0.0);
    for (rows, cols) in [(1, 1), (3, 7), (2, 32), (5, 33), (40, 172)] {
        let values = random(rows * cols);
        let stored = round_trip::<Q4>(&values, cols);
        for (values, stored) in values.chunks(cols).zip(stored.chunks(cols)) {
            for (values, stored) in values.chunks(32).zip(stored.chunks(32)) {
                let largest = values
                    .iter()
                    .fold(0.0f32, |a, b| if b.abs() > a.abs() { *b } else { a });
                let scale = half::f16::from_f32(largest / -8.0).to_f32();
                for (value, stored) in values.iter().zip(stored) {
                    assert!((value - stored).abs() <= 0.2 * largest.abs());
                    let rounded = (value / scale).round().clamp(-8.0, 7.0) * scale;
                    searched += (value - stored).powi(2);
                    plain += (value - rounded).powi(2);
                }
            }
        }
    }
    assert!(searched < 0.95 * plain, "{searched} {plain}");
}

#[test]
fn extremes_stay_finite() {
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    let values = [0.0, -0.0, 1e-30, -1e30, 3e38, 65504.0, nan, -infinity];
    let half = round_trip::<F16>(&values, 8);
    assert!(half.iter().all(|value| value.is_finite()));
    assert_eq!(half[3..], [-65504.0, 65504.0, 65504.0, 0.0, -65504.0]);
    let q8 = round_trip::<Q8>(&values, 8);
    assert!(q8.iter().all(|value| value.is_finite()));
    assert_eq!(q8[6], 0.0);
    assert_eq!(round_trip::<Q8>(&[0.0; 5], 5), [0.0; 5]);
    let q4 = round_trip::<Q4>(&values, 8);
    assert!(q4.iter().all(|value| value.is_finite()), "{q4:?}");
    assert_eq!(round_trip::<Q4>(&[0.0; 5], 5), [0.0; 5]);
}

#[test]
fn the_order_of_dsp_holds_the_same_numbers() {
    for (rows, cols) in [(1, 1), (3, 7), (4, 32), (5, 33), (9, 172)] {
        let values = random(rows * cols);
        let mut q8 = Buffer::new(Format::Q8.matrix_bytes(rows, cols) as usize);
        Format::Q8.encode(q8.bytes(), &values, cols);
        let len = Format::Q8Dsp.matrix_bytes(rows, cols) as usize;
        let (mut encoded, mut reordered) = (Buffer::new(len), Buffer::new(len));
        Format::Q8Dsp.encode(encoded.bytes(), &values, cols);
        reorder(reordered.bytes(), q8.bytes(), rows, cols).unwrap();
        assert!(encoded.bytes() == reordered.bytes(), "{rows} x {cols}");
        let stored = round_trip::<Q8>(&values, cols);
        assert_eq!(round_trip::<Q8Dsp>(&values, cols), stored);
        q8.bytes()[rows / 2 * cols.next_multiple_of(32)] = 0x80;
        let refused = reorder(reordered.bytes(), q8.bytes(), rows, cols);
        assert_eq!(refused, Err(rows / 2));
    }
}
