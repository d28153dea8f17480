//! Least squares with coefficients that are not negative.

/// Sweeps over the coefficients; far more than it takes to settle.
const SWEEPS: usize = 100_000;

/// The `x >= 0` that makes `sum((rows[i] . x / wanted[i] - 1)^2)` least: relative errors count.
///
/// Descends along one coefficient after the other, which is exact for a convex problem and needs no
/// matrix to be inverted.
pub(super) fn fit<const N: usize>(rows: &[[f64; N]], wanted: &[f64]) -> [f64; N] {
    let (mut gram, mut right) = ([[0.0; N]; N], [0.0; N]);
    for (row, wanted) in rows.iter().zip(wanted) {
        let row = row.map(|value| value / wanted);
        for i in 0..N {
            right[i] += row[i];
            for j in 0..N {
                gram[i][j] += row[i] * row[j];
            }
        }
    }
    let mut x = [0.0; N];
    for _ in 0..SWEEPS {
        for i in 0..N {
            let predicted: f64 = gram[i].iter().zip(&x).map(|(g, x)| g * x).sum();
            if gram[i][i] > 0.0 {
                x[i] = f64::max(0.0, x[i] + (right[i] - predicted) / gram[i][i]);
            }
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coefficients_come_back() {
        let rows = [
            [1.0, 0.0, 2.0],
            [1.0, 3.0, 0.0],
            [1.0, 1.0, 1.0],
            [1.0, 5.0, 2.0],
        ];
        let wanted = rows.map(|[a, b, c]| 7.0 * a + 2.0 * b + 0.5 * c);
        let found = fit(&rows, &wanted);
        for (found, right) in found.iter().zip([7.0, 2.0, 0.5]) {
            assert!((found - right).abs() < 1e-6, "{found} {right}");
        }
    }

    #[test]
    fn none_is_negative() {
        let found = fit(&[[1.0, 0.0], [1.0, 1.0]], &[2.0, 1.0]);
        assert!(found[0] > 1.0 && found[1] == 0.0, "{found:?}");
    }
}
