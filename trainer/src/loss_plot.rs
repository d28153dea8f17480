//! `loss.svg`: the loss over the steps, as a picture; and a picture of several runs.

mod axes;
mod comparison;
mod style;

use core::fmt::Write;

use self::axes::{Axes, Point, curve, escaped};
use crate::metrics::Metrics;

pub use comparison::{Curve, comparison_plot};

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
    let axes = around(&train, &validation);
    let mut svg = String::new();
    let written = draw(&mut svg, title, history, &axes, &train, &validation);
    written.expect("a String takes whatever is written");
    svg
}

fn draw(
    svg: &mut String,
    title: &str,
    history: &[Metrics],
    axes: &Axes,
    train: &[Point],
    validation: &[Point],
) -> core::fmt::Result {
    begin(svg, [WIDTH, HEIGHT], title)?;
    axes.draw(svg, "step", "loss (nats per token)")?;
    curve(svg, axes, train, TRAIN, "none")?;
    curve(svg, axes, validation, VALIDATION, "none")?;
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

/// An empty picture with a title.
fn begin(svg: &mut String, [width, height]: [f64; 2], title: &str) -> core::fmt::Result {
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" fill="#333">"##
    )?;
    writeln!(
        svg,
        r##"<rect width="{width}" height="{height}" fill="#fff"/>"##
    )?;
    writeln!(
        svg,
        r#"<text x="{}" y="20" font-size="14">{}</text>"#,
        FRAME[0],
        escaped(title)
    )
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

/// Axes that show both curves.
fn around(train: &[Point], validation: &[Point]) -> Axes {
    let points = || train.iter().chain(validation);
    // The fall of the first steps would flatten all that follows: it begins above the frame.
    let shown = train[train.len() / 50..].iter().chain(validation);
    let last = points().map(|(step, _)| *step).fold(1.0, f64::max);
    Axes::new(FRAME, [0.0, last], shown.map(|(_, loss)| *loss))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(n: u64) -> Vec<Metrics> {
        let line = |step| Metrics {
            step,
            tokens: step,
            seconds: step as f64,
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
        let axes = around(&train, &[]);
        assert!(axes.y[1] < 3.0, "{:?}", axes.y);
        assert_eq!(axes.place(train[0]).1, FRAME[1]);
        assert!(around(&train[..40], &[]).y[1] > 50.0);
    }
}
