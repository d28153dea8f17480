//! The loss over the steps of a run, in characters.

use minigpt_trainer::metrics::Metrics;

/// Size of the picture in characters, and the dots of one: Braille has two columns of four.
const WIDTH: usize = 64;
/// What stands left of it.
const LABEL: usize = 9;
/// The narrowest picture that shows anything.
const NARROWEST: usize = 16;
const HEIGHT: usize = 8;
const DOTS: (usize, usize) = (2, 4);
const COLUMNS: usize = WIDTH * DOTS.0;
const ROWS: usize = HEIGHT * DOTS.1;

/// The character without dots; each dot is a bit of the number behind it.
const BLANK: u32 = 0x2800;
const BITS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// Stands where validation was measured.
const VALIDATION: char = '●';

/// Share of the run whose loss may lie above the picture: the first fall would flatten the rest.
const UNSEEN: usize = COLUMNS / 50;

/// A curve that grows to the right as the run goes on.
pub(super) struct Curve {
    steps: u64,
    /// Sum and number of training losses of each column of dots.
    train: [(f64, u32); COLUMNS],
    /// The latest validation of each column of characters.
    validation: [Option<f64>; WIDTH],
}

impl Curve {
    /// For a run of `steps` steps.
    pub(super) const fn new(steps: u64) -> Self {
        Self {
            steps,
            train: [(0.0, 0); COLUMNS],
            validation: [None; WIDTH],
        }
    }

    /// Adds what a step was like.
    pub(super) fn add(&mut self, line: &Metrics) {
        let share = line.step.saturating_sub(1) as f64 / self.steps.max(1) as f64;
        let column = ((share * COLUMNS as f64) as usize).min(COLUMNS - 1);
        let (sum, count) = &mut self.train[column];
        (*sum, *count) = (*sum + line.train_loss, *count + 1);
        if line.val_loss.is_some() {
            self.validation[column / DOTS.0] = line.val_loss;
        }
    }

    /// The picture in lines of at most `width` characters, with the range of the losses at the left; empty
    /// before the first step and where there is no room.
    pub(super) fn picture(&self, width: usize) -> String {
        let width = width.saturating_sub(LABEL).min(WIDTH);
        let Some([low, high]) = self.range().filter(|_| width >= NARROWEST) else {
            return String::new();
        };
        // Row 0 is the highest.
        let row = |loss: f64, rows: usize| {
            let share = ((high - loss) / (high - low)).clamp(0.0, 1.0);
            ((share * rows as f64) as usize).min(rows - 1)
        };
        let mut cells = vec![vec![BLANK; width]; HEIGHT];
        for (column, loss) in self.means(width * DOTS.0) {
            let row = row(loss, ROWS);
            cells[row / DOTS.1][column / DOTS.0] |= BITS[column % DOTS.0][row % DOTS.1];
        }
        let mut validation = vec![None; width];
        for (column, loss) in self.validation.iter().enumerate() {
            let latest = &mut validation[column * width / WIDTH];
            *latest = loss.or(*latest);
        }
        for (column, loss) in validation.iter().enumerate() {
            if let Some(loss) = loss {
                cells[row(*loss, HEIGHT)][column] = VALIDATION.into();
            }
        }
        let mut lines = Vec::new();
        for (i, cells) in cells.iter().enumerate() {
            let label = match i {
                0 => format!("{high:7.3} ┤"),
                _ if i == HEIGHT - 1 => format!("{low:7.3} ┤"),
                _ => format!("{:7} │", ""),
            };
            let cells = cells.iter().filter_map(|cell| char::from_u32(*cell));
            lines.push(label + &cells.collect::<String>());
        }
        lines.join("\n")
    }

    /// Those of `columns` columns of dots that have a loss, each with its mean.
    fn means(&self, columns: usize) -> impl Iterator<Item = (usize, f64)> {
        let mut joined = vec![(0.0, 0); columns];
        for (column, (sum, count)) in self.train.iter().enumerate() {
            let (all, n) = &mut joined[column * columns / COLUMNS];
            (*all, *n) = (*all + sum, *n + count);
        }
        let joined = joined.into_iter().enumerate();
        let seen = joined.filter(|(_, (_, count))| *count > 0);
        seen.map(|(column, (sum, count))| (column, sum / f64::from(count)))
    }

    /// Lowest and highest loss that are shown.
    fn range(&self) -> Option<[f64; 2]> {
        let last = self.means(COLUMNS).last()?.0;
        let shown = self
            .means(COLUMNS)
            .filter(|(column, _)| *column >= UNSEEN || last < UNSEEN);
        let losses = shown
            .map(|(_, loss)| loss)
            .chain(self.validation.iter().flatten().copied());
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for loss in losses {
            (low, high) = (low.min(loss), high.max(loss));
        }
        Some([low, high.max(low + 1e-3)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal with room for all of it.
    const WIDE: usize = 100;

    fn line(step: u64, train_loss: f64, val_loss: Option<f64>) -> Metrics {
        Metrics {
            step,
            tokens: step,
            seconds: 0.0,
            train_loss,
            learning_rate: 1.0,
            grad_norm: 1.0,
            skipped: 0,
            tokens_per_second: 1.0,
            val_loss,
            val_bits_per_byte: None,
        }
    }

    #[test]
    fn a_falling_loss_falls_from_left_to_right() {
        let mut curve = Curve::new(1000);
        for step in 1..=1000 {
            curve.add(&line(step, 5.0 - step as f64 / 250.0, None));
        }
        let picture = curve.picture(WIDE);
        let lines: Vec<Vec<char>> = picture.lines().map(|line| line.chars().collect()).collect();
        assert_eq!(lines.len(), HEIGHT);
        let width = lines[0].len();
        assert!(lines.iter().all(|line| line.len() == width), "{picture}");
        let dots = |line: &[char]| {
            let dotted = |c: &char| u32::from(*c) > BLANK && *c != VALIDATION;
            let first = line.iter().position(dotted).unwrap();
            (first, line.iter().rposition(dotted).unwrap())
        };
        for pair in lines.windows(2) {
            let (above, below) = (dots(&pair[0]), dots(&pair[1]));
            assert!(above.0 <= below.0 && above.1 <= below.1, "{picture}");
        }
        assert!(
            picture.contains("  1.0") && picture.contains("  4.9"),
            "{picture}"
        );
    }

    #[test]
    fn the_curve_takes_as_much_room_as_the_run_has_gone() {
        let mut curve = Curve::new(1000);
        assert_eq!(curve.picture(WIDE), "");
        for step in 1..=500 {
            curve.add(&line(
                step,
                2.0 + (step % 7) as f64,
                (step == 500).then_some(3.0),
            ));
        }
        let picture = curve.picture(WIDE);
        assert_eq!(picture.matches(VALIDATION).count(), 1);
        let reached = |line: &str| {
            let drawn = |c: char| u32::from(c) > BLANK || c == VALIDATION;
            line.chars()
                .skip(9)
                .collect::<Vec<_>>()
                .iter()
                .rposition(|c| drawn(*c))
        };
        let last = picture.lines().filter_map(reached).max();
        assert_eq!(last, Some(WIDTH / 2 - 1), "{picture}");
    }

    #[test]
    fn a_narrow_terminal_has_a_narrow_picture_or_none() {
        let mut curve = Curve::new(1000);
        for step in 1..=500 {
            let validation = (step % 50 == 0).then_some(4.5);
            curve.add(&line(step, 5.0 - step as f64 / 250.0, validation));
        }
        for width in [NARROWEST + LABEL, 40, 80, WIDE] {
            let picture = curve.picture(width);
            let plot = (width - LABEL).min(WIDTH);
            let lines: Vec<Vec<char>> = picture.lines().map(|l| l.chars().collect()).collect();
            assert_eq!(lines.len(), HEIGHT);
            assert!(lines.iter().all(|l| l.len() == LABEL + plot), "{picture}");
            let drawn = |line: &Vec<char>| line.iter().rposition(|c| u32::from(*c) > BLANK);
            let last = lines.iter().filter_map(drawn).max().unwrap();
            assert_eq!(last, LABEL + plot.div_ceil(2) - 1, "{picture}");
            let validations = picture.matches(VALIDATION).count();
            assert!((5..=10).contains(&validations), "{picture}");
        }
        assert_eq!(curve.picture(NARROWEST + LABEL - 1), "");
        assert_eq!(curve.picture(0), "");
    }

    #[test]
    fn one_step_and_equal_losses_have_a_picture() {
        let mut curve = Curve::new(1);
        curve.add(&line(1, 2.0, Some(2.0)));
        assert_eq!(curve.picture(WIDE).lines().count(), HEIGHT);
        assert!(!curve.picture(WIDE).contains("NaN"));
    }
}
