//! `metrics.csv`: the record as a table.

use core::iter::once;

use super::Metrics;

/// The lines of a record as comma-separated values under their names; what was not measured is empty.
///
/// Every number reads back as the same bits.
#[must_use]
pub fn csv(history: &[Metrics]) -> String {
    let names = Metrics::COLUMNS.map(|(name, _)| name);
    let header = once("step").chain(names).collect::<Vec<_>>().join(",");
    let row = |line: &Metrics| {
        let numbers = Metrics::COLUMNS.map(|(_, number)| number(line));
        let cells = numbers.map(|number| number.map_or_else(String::new, |n| n.to_string()));
        once(line.step.to_string())
            .chain(cells)
            .collect::<Vec<_>>()
            .join(",")
    };
    let mut table = String::new();
    for row in once(header).chain(history.iter().map(row)) {
        table += &row;
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_and_gaps_stay_empty() {
        let line = Metrics {
            step: 7,
            tokens: 70,
            seconds: 0.1 + 0.2,
            train_loss: 1.0 / 3.0,
            learning_rate: 1e-7,
            grad_norm: 0.1,
            skipped: 0,
            tokens_per_second: 5.0,
            val_loss: None,
            val_bits_per_byte: None,
        };
        let table = csv(&[line]);
        let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split(',').collect()).collect();
        assert_eq!(rows[0].len(), rows[1].len());
        let cell = |name| rows[1][rows[0].iter().position(|n| *n == name).unwrap()];
        assert_eq!(cell("step"), "7");
        assert_eq!(cell("seconds").parse(), Ok(line.seconds));
        assert_eq!(cell("train_loss").parse(), Ok(line.train_loss));
        assert_eq!(cell("learning_rate").parse(), Ok(line.learning_rate));
        assert_eq!(cell("grad_norm").parse(), Ok(line.grad_norm));
        assert_eq!(cell("val_loss"), "");
        assert_eq!(csv(&[]).lines().count(), 1);
    }
}
