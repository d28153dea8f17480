//! `loss.svg`: the loss over the steps, as a picture.

use core::fmt::Write;

use crate::metrics::Metrics;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
/// Left, top, right and bottom of the plot inside the picture.
const FRAME: [f64; 4] = [64.0, 44.0, 744.0, 368.0];
/// Most points of a curve; longer ones are averaged down to it.
const MOST_POINTS: usize = 400;
const TRAIN: &str = "#7aa6c2";
const VALIDATION: &str = "#c2410c";

/// Draws the training loss, averaged where there are more steps than the picture can show, and the
/// validation loss with a dot at each measurement.
///
/// # Panics
/// Never: a `String` takes whatever is written.
#[must_use]
pub fn loss_plot(title: &str, history: &[Metrics]) -> String {
    let train = averaged(history);
    let validation: Vec<Point> = history
        .iter()
        .filter_map(|line| Some((line.step as f64, line.val_loss?)))
        .collect();
    let axes = Axes::around(&train, &validation);
    let mut svg = String::new();
    let written = draw(&mut svg, title, history, &axes, &train, &validation);
    written.expect("a String takes whatever is written");
    svg
}

type Point = (f64, f64);

fn draw(
    svg: &mut String,
    title: &str,
    history: &[Metrics],
    axes: &Axes,
    train: &[Point],
    validation: &[Point],
) -> core::fmt::Result {
    let [left, top, right, bottom] = FRAME;
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">"##
    )?;
    writeln!(
        svg,
        r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>"##
    )?;
    writeln!(
        svg,
        r#"<text x="{left}" y="20" font-size="14">{}</text>"#,
        escaped(title)
    )?;
    axes.draw(svg)?;
    let middle = f64::midpoint(left, right);
    writeln!(
        svg,
        r#"<text x="{middle}" y="{}" text-anchor="middle">step</text>"#,
        bottom + 38.0
    )?;
    let middle = f64::midpoint(top, bottom);
    writeln!(
        svg,
        r#"<text transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">loss (nats per token)</text>"#
    )?;
    curve(svg, axes, train, TRAIN)?;
    curve(svg, axes, validation, VALIDATION)?;
    for point in validation {
        let (x, y) = axes.place(*point);
        writeln!(
            svg,
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="2.5" fill="{VALIDATION}"/>"#
        )?;
    }
    legend(svg, history)?;
    writeln!(svg, "</svg>")
}

fn legend(svg: &mut String, history: &[Metrics]) -> core::fmt::Result {
    let mut entries = Vec::new();
    if let Some(line) = history.last() {
        entries.push((TRAIN, format!("training {:.3}", line.train_loss)));
    }
    let validated = |line: &Metrics| Some((line.val_loss?, line.val_bits_per_byte?));
    if let Some((loss, bits)) = history.iter().rev().find_map(validated) {
        let text = format!("validation {loss:.3} ({bits:.3} bits per byte)");
        entries.push((VALIDATION, text));
    }
    for (i, (colour, text)) in entries.iter().enumerate() {
        let y = FRAME[1] + 16.0 + 18.0 * i as f64;
        writeln!(
            svg,
            r#"<rect x="{}" y="{}" width="14" height="4" fill="{colour}"/><text x="{}" y="{y}">{text}</text>"#,
            FRAME[2] - 270.0,
            y - 6.0,
            FRAME[2] - 250.0
        )?;
    }
    Ok(())
}

fn curve(svg: &mut String, axes: &Axes, points: &[Point], colour: &str) -> core::fmt::Result {
    write!(
        svg,
        r#"<polyline fill="none" stroke="{colour}" stroke-width="1.5" points=""#
    )?;
    for point in points {
        let (x, y) = axes.place(*point);
        write!(svg, "{x:.1},{y:.1} ")?;
    }
    writeln!(svg, r#""/>"#)
}

fn averaged(history: &[Metrics]) -> Vec<Point> {
    let group = history.len().div_ceil(MOST_POINTS).max(1);
    let mean = |lines: &[Metrics]| {
        let n = lines.len() as f64;
        let step: f64 = lines.iter().map(|line| line.step as f64).sum();
        let loss: f64 = lines.iter().map(|line| line.train_loss).sum();
        (step / n, loss / n)
    };
    history.chunks(group).map(mean).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Ranges of the data and the round numbers in them.
struct Axes {
    x: [f64; 2],
    y: [f64; 2],
}

impl Axes {
    fn around(train: &[Point], validation: &[Point]) -> Self {
        let points = || train.iter().chain(validation);
        // The fall of the first steps would flatten all that follows: it begins above the frame.
        let shown = train[train.len() / 50..].iter().chain(validation);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for (_, loss) in shown {
            (low, high) = (low.min(*loss), high.max(*loss));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let margin = ((high - low) * 0.05).max(0.01);
        let last = points().map(|(step, _)| *step).fold(1.0, f64::max);
        Self {
            x: [0.0, last],
            y: [(low - margin).max(0.0), high + margin],
        }
    }

    fn place(&self, (x, y): Point) -> Point {
        let [left, top, right, bottom] = FRAME;
        let share = |v: f64, [from, to]: [f64; 2]| (v - from) / (to - from);
        (
            left + share(x, self.x) * (right - left),
            bottom - share(y.min(self.y[1]), self.y) * (bottom - top),
        )
    }

    fn draw(&self, svg: &mut String) -> core::fmt::Result {
        let [left, top, right, bottom] = FRAME;
        for (value, label) in ticks(self.x) {
            let (x, _) = self.place((value, self.y[0]));
            line(svg, [x, top, x, bottom])?;
            let y = bottom + 18.0;
            writeln!(
                svg,
                r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{label}</text>"#
            )?;
        }
        for (value, label) in ticks(self.y) {
            let (_, y) = self.place((0.0, value));
            line(svg, [left, y, right, y])?;
            let (x, y) = (left - 8.0, y + 4.0);
            writeln!(
                svg,
                r#"<text x="{x}" y="{y:.1}" text-anchor="end">{label}</text>"#
            )?;
        }
        let (width, height) = (right - left, bottom - top);
        writeln!(
            svg,
            r##"<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#888"/>"##
        )
    }
}

fn line(svg: &mut String, [x1, y1, x2, y2]: [f64; 4]) -> core::fmt::Result {
    writeln!(
        svg,
        r##"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="#e5e5e5"/>"##
    )
}

/// Four to ten multiples of 1, 2 or 5 times a power of ten inside the range, with labels.
fn ticks([from, to]: [f64; 2]) -> Vec<(f64, String)> {
    let power = 10f64.powf(((to - from) / 5.0).log10().floor());
    let rough = (to - from) / 5.0 / power;
    let step = power
        * [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .rfind(|s| *s <= rough)
            .unwrap_or(1.0);
    let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    let (first, last) = (
        (from / step).ceil() as i64,
        (to / step + 1e-9).floor() as i64,
    );
    (first..=last)
        .map(|i| (i as f64 * step, format!("{:.digits$}", i as f64 * step)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(n: u64) -> Vec<Metrics> {
        let line = |step| Metrics {
            step,
            tokens: step,
            train_loss: 4.0 - step as f64 / n as f64,
            learning_rate: 1.0,
            grad_norm: 1.0,
            skipped: 0,
            tokens_per_second: 1.0,
            val_loss: (step % 250 == 0).then_some(3.5),
            val_bits_per_byte: (step % 250 == 0).then_some(2.5),
        };
        (1..=n).map(line).collect()
    }

    #[test]
    fn axes_have_round_numbers() {
        let labels = |range| -> Vec<String> { ticks(range).into_iter().map(|t| t.1).collect() };
        assert_eq!(
            labels([0.0, 2000.0]),
            [
                "0", "200", "400", "600", "800", "1000", "1200", "1400", "1600", "1800", "2000"
            ]
        );
        assert_eq!(
            labels([1.37, 4.2]),
            ["1.5", "2.0", "2.5", "3.0", "3.5", "4.0"]
        );
        assert_eq!(
            labels([0.0, 1.0]),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
    }

    #[test]
    fn pictures_of_every_length_are_small_and_finite() {
        for n in [0, 1, 2, 250, 100_000] {
            let svg = loss_plot("a < b", &history(n));
            assert!(svg.len() < 40_000, "{n}: {}", svg.len());
            assert!(svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{n}");
        }
        assert!(loss_plot("", &history(250)).contains("validation 3.500 (2.500 bits per byte)"));
    }
    #[test]
    fn the_first_fall_does_not_flatten_the_rest() {
        let train: Vec<Point> = (1..=100)
            .map(|step| (f64::from(step), if step < 3 { 50.0 } else { 2.0 }))
            .collect();
        let axes = Axes::around(&train, &[]);
        assert!(axes.y[1] < 3.0, "{:?}", axes.y);
        assert_eq!(axes.place(train[0]).1, FRAME[1]);
        assert!(Axes::around(&train[..40], &[]).y[1] > 50.0);
    }
}
