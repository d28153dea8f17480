use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::rng::Rng;

#[test]
fn biases_are_added_and_bans_are_final() {
    let mut logits = [1.0, 2.0, 3.0];
    bias(
        &mut logits,
        &[(0, 0.5), (2, f32::NEG_INFINITY), (3, 1.0), (0, 0.25)],
    );
    assert_eq!(logits, [1.75, 2.0, f32::NEG_INFINITY]);
}

#[test]
fn min_p_follows_the_definition() {
    let mut rng = Rng::new(3, 0);
    for temperature in [0.25, 1.0, 3.0] {
        for share in [0.01, 0.3, 1.0] {
            let logits: Vec<f32> = (0..200).map(|_| 8.0 * rng.next_unit() - 4.0).collect();
            let weights: Vec<f64> = logits
                .iter()
                .map(|l| (f64::from(*l) / f64::from(temperature)).exp())
                .collect();
            let largest = weights.iter().copied().fold(0.0, f64::max);
            let mut kept = logits.clone();
            keep_min_p(&mut kept, share, temperature);
            let mut n = 0;
            for i in 0..logits.len() {
                let ratio = weights[i] / largest / f64::from(share);
                assert!((ratio - 1.0).abs() < 1e-4 || (ratio > 1.0) == (kept[i] == logits[i]));
                assert!(kept[i] == logits[i] || kept[i] == f32::NEG_INFINITY);
                n += usize::from(kept[i] == logits[i]);
            }
            assert!(n > 0);
        }
    }
    for (share, temperature) in [(0.0, 1.0), (0.5, 0.0)] {
        let mut logits = [0.0, -1e30];
        keep_min_p(&mut logits, share, temperature);
        assert_eq!(logits, [0.0, -1e30]);
    }
}

fn penalized(options: PenaltyOptions, history: &[u32]) -> [f32; 4] {
    let mut logits = [2.0, -2.0, 4.0, 0.0];
    Penalties::new(options).unwrap().apply(&mut logits, history);
    logits
}

#[test]
fn penalties_follow_the_definition() {
    let none = PenaltyOptions::NONE;
    let history = [2, 0, 1, 1, 9];
    assert_eq!(penalized(none, &history), [2.0, -2.0, 4.0, 0.0]);
    let repetition = PenaltyOptions {
        repetition: 2.0,
        ..none
    };
    assert_eq!(penalized(repetition, &history), [1.0, -4.0, 2.0, 0.0]);
    let presence = PenaltyOptions {
        presence: 0.5,
        ..none
    };
    assert_eq!(penalized(presence, &history), [1.5, -2.5, 3.5, 0.0]);
    let frequency = PenaltyOptions {
        frequency: 0.5,
        ..none
    };
    assert_eq!(penalized(frequency, &history), [1.5, -3.0, 3.5, 0.0]);
    let all = PenaltyOptions {
        repetition: 2.0,
        presence: 1.0,
        frequency: -0.5,
        window: 3,
    };
    assert_eq!(penalized(all, &history), [2.0, -4.0, 4.0, 0.0]);
    assert_eq!(
        penalized(PenaltyOptions { window: 0, ..all }, &history),
        [2.0, -2.0, 4.0, 0.0]
    );
    assert_eq!(
        penalized(PenaltyOptions { window: 99, ..all }, &[]),
        [2.0, -2.0, 4.0, 0.0]
    );
}

#[test]
fn penalties_are_checked() {
    let none = PenaltyOptions::NONE;
    for (options, message) in [
        (
            PenaltyOptions {
                repetition: 0.0,
                ..none
            },
            "the repetition penalty is 0; it must be a number above 0, and 1 is none",
        ),
        (
            PenaltyOptions {
                presence: f32::NAN,
                ..none
            },
            "the presence penalty is NaN; it must be a finite number, and 0 is none",
        ),
        (
            PenaltyOptions {
                frequency: f32::INFINITY,
                ..none
            },
            "the frequency penalty is inf; it must be a finite number, and 0 is none",
        ),
    ] {
        assert_eq!(Penalties::new(options).unwrap_err().to_string(), message);
    }
}
