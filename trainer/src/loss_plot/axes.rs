//! The frame of a plot, and what is drawn in it.

use core::fmt::{Result, Write};

/// Widths of a digit and of the space between two numbers.
const DIGIT: f64 = 7.0;
const SPACE: f64 = 6.0;

/// A point in the numbers of the data.
pub(super) type Point = (f64, f64);

/// Where a plot is in the picture, and the ranges of the data that it shows.
pub(super) struct Axes {
    /// Left, top, right and bottom.
    frame: [f64; 4],
    x: [f64; 2],
    pub(super) y: [f64; 2],
}

impl Axes {
    /// For data in the range `x`, with room for all `heights`.
    pub(super) fn new(frame: [f64; 4], x: [f64; 2], heights: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for height in heights {
            (low, high) = (low.min(height), high.max(height));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let margin = ((high - low) * 0.05).max(0.01);
        Self {
            frame,
            x,
            y: [(low - margin).max(0.0), high + margin],
        }
    }

    /// Where a point of the data is in the picture; what is too high stands at the upper edge.
    pub(super) fn place(&self, (x, y): Point) -> Point {
        let [left, top, right, bottom] = self.frame;
        let share = |v: f64, [from, to]: [f64; 2]| (v - from) / (to - from);
        (
            left + share(x, self.x) * (right - left),
            bottom - share(y.min(self.y[1]), self.y) * (bottom - top),
        )
    }

    /// Draws the frame with round numbers and what they are of.
    pub(super) fn draw(&self, svg: &mut String, x_label: &str, y_label: &str) -> Result {
        let [left, top, right, bottom] = self.frame;
        for (value, label) in thinned(ticks(self.x), right - left) {
            let (x, _) = self.place((value, self.y[0]));
            line(svg, [x, top, x, bottom])?;
            let y = bottom + 18.0;
            writeln!(
                svg,
                r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{label}</text>"#
            )?;
        }
        for (value, label) in ticks(self.y) {
            let (_, y) = self.place((self.x[0], value));
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
        )?;
        let (x, y) = (f64::midpoint(left, right), bottom + 38.0);
        writeln!(
            svg,
            r#"<text x="{x}" y="{y}" text-anchor="middle">{x_label}</text>"#
        )?;
        let (x, y) = (left - 50.0, f64::midpoint(top, bottom));
        writeln!(
            svg,
            r#"<text transform="translate({x} {y}) rotate(-90)" text-anchor="middle">{y_label}</text>"#
        )
    }
}

/// A line through `points`; `dash` is its `stroke-dasharray`.
pub(super) fn curve(
    svg: &mut String,
    axes: &Axes,
    points: &[Point],
    colour: &str,
    dash: &str,
) -> Result {
    write!(
        svg,
        r#"<polyline fill="none" stroke="{colour}" stroke-width="1.5" stroke-dasharray="{dash}" points=""#
    )?;
    for point in points {
        let (x, y) = axes.place(*point);
        write!(svg, "{x:.1},{y:.1} ")?;
    }
    writeln!(svg, r#""/>"#)
}

/// `text` as the text of an element.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn line(svg: &mut String, [x1, y1, x2, y2]: [f64; 4]) -> Result {
    writeln!(
        svg,
        r##"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="#e5e5e5"/>"##
    )
}

/// As many of `ticks` as have room for their labels beside each other in `width`.
fn thinned(ticks: Vec<(f64, String)>, width: f64) -> impl Iterator<Item = (f64, String)> {
    let longest = ticks.iter().map(|(_, label)| label.len()).max();
    let needed = ticks.len() as f64 * (longest.unwrap_or(0) as f64 * DIGIT + SPACE);
    let every = (needed / width).ceil().max(1.0) as usize;
    ticks.into_iter().step_by(every)
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
    fn numbers_stand_beside_each_other() {
        let shown = |width| -> Vec<String> {
            let ticks = ticks([0.0, 0.0185]);
            thinned(ticks, width).map(|tick| tick.1).collect()
        };
        assert_eq!(shown(340.0), ["0.000", "0.004", "0.008", "0.012", "0.016"]);
        assert_eq!(shown(680.0).len(), 10);
    }
}
