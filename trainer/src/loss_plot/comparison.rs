//! Several runs in one picture: quality against tokens, seconds and parameters.

use core::fmt::{Result, Write};

use super::axes::{Axes, Point, curve, escaped};
use super::begin;
use super::style::Style;

/// Size of a plot, and the room around it.
const PLOT: [f64; 2] = [340.0, 300.0];
const LEFT: f64 = 64.0;
const TOP: f64 = 44.0;
const GAP: f64 = 76.0;
/// Height of a line of the legend, and from the plots to it.
const LINE: f64 = 18.0;
const BELOW: f64 = 60.0;

/// Width of the line that stands before a name in the legend.
const SAMPLE: f64 = 34.0;

/// Room beside points that need not begin at 0, as a share of their range, and of a single one.
const MARGIN: f64 = 0.08;

/// A run: how good it was when.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_structs, reason = "plain data, all of it needed")]
pub struct Curve {
    /// What it is called.
    pub name: String,
    /// Trained values of the model.
    pub n_params: u64,
    /// Tokens, seconds of training and bits per byte of each validation.
    pub points: Vec<[f64; 3]>,
    /// Whether training diverged behind them.
    pub diverged: bool,
}

/// Draws validations in bits per byte against tokens and seconds, and the best of each run that did not
/// diverge against its parameters. Those that did do not flatten the others: where they are worse, they
/// stand at the upper edge.
///
/// # Panics
/// Never: a `String` takes whatever is written.
#[must_use]
pub fn comparison_plot(title: &str, runs: &[Curve]) -> String {
    let mut svg = String::new();
    draw(&mut svg, title, runs).expect("a String takes whatever is written");
    svg
}

fn draw(svg: &mut String, title: &str, runs: &[Curve]) -> Result {
    let width = LEFT + 3.0 * PLOT[0] + 2.0 * GAP + 16.0;
    let legend = TOP + PLOT[1] + BELOW;
    begin(svg, [width, legend + LINE * runs.len() as f64], title)?;
    let against = |column: usize| -> Vec<Vec<Point>> {
        let points = |run: &Curve| run.points.iter().map(|p| (p[column], p[2])).collect();
        runs.iter().map(points).collect()
    };
    let heights = heights(runs);
    for (column, what) in ["tokens", "seconds"].into_iter().enumerate() {
        let points = against(column);
        plot(svg, column, what, &points, from_0(&points), &heights)?;
    }
    let best = |run: &Curve| {
        let points = run.points.iter().filter(|_| !run.diverged);
        let bits = points.map(|point| point[2]);
        let best = bits.reduce(f64::min);
        best.map(|best| (run.n_params as f64, best))
            .into_iter()
            .collect()
    };
    let best: Vec<Vec<Point>> = runs.iter().map(best).collect();
    let heights: Vec<f64> = best.iter().flatten().map(|(_, bits)| *bits).collect();
    plot(svg, 2, "parameters", &best, around(&best), &heights)?;
    for (i, run) in runs.iter().enumerate() {
        entry(svg, legend + LINE * i as f64, Style::of(i), &run.name)?;
    }
    writeln!(svg, "</svg>")
}

/// A line of the legend.
fn entry(svg: &mut String, y: f64, style: Style, name: &str) -> Result {
    let (middle, right) = (y - 4.0, LEFT + SAMPLE);
    let Style { colour, dash, .. } = style;
    writeln!(
        svg,
        r#"<line x1="{LEFT}" y1="{middle}" x2="{right}" y2="{middle}" stroke="{colour}" stroke-width="1.5" stroke-dasharray="{dash}"/>"#
    )?;
    style.mark(svg, (LEFT + SAMPLE / 2.0, middle))?;
    let (x, name) = (right + 8.0, escaped(name));
    writeln!(svg, r#"<text x="{x}" y="{y}">{name}</text>"#)
}

/// What a plot has to have room for: all that is no worse than the worst of runs that did not diverge.
fn heights(runs: &[Curve]) -> Vec<f64> {
    let of = |run: &Curve| run.points.iter().map(|point| point[2]).collect::<Vec<_>>();
    let finished = runs.iter().filter(|run| !run.diverged).flat_map(of);
    let worst = finished.reduce(f64::max).unwrap_or(f64::INFINITY);
    let mut heights: Vec<f64> = runs.iter().flat_map(of).collect();
    heights.retain(|bits| *bits <= worst);
    heights
}

/// The range of a plot that begins at 0.
fn from_0(runs: &[Vec<Point>]) -> [f64; 2] {
    let places = runs.iter().flatten().map(|(x, _)| *x);
    let last = places.fold(0.0, f64::max);
    [0.0, if last > 0.0 { last } else { 1.0 }]
}

/// The range of a plot of numbers that may be close to each other.
fn around(runs: &[Vec<Point>]) -> [f64; 2] {
    let places = || runs.iter().flatten().map(|(x, _)| *x);
    let Some((low, high)) = places().reduce(f64::min).zip(places().reduce(f64::max)) else {
        return [0.0, 1.0];
    };
    let extent = if high > low { high - low } else { high };
    let margin = (extent * MARGIN).max(1.0);
    [(low - margin).max(0.0), high + margin]
}

/// Plot number `index`: a line and marks for each run, with room for `x` and `heights`.
fn plot(
    svg: &mut String,
    index: usize,
    what: &str,
    runs: &[Vec<Point>],
    x: [f64; 2],
    heights: &[f64],
) -> Result {
    let (unit, name) = unit(x[1]);
    let left = LEFT + (PLOT[0] + GAP) * index as f64;
    let frame = [left, TOP, left + PLOT[0], TOP + PLOT[1]];
    let axes = Axes::new(frame, x.map(|end| end / unit), heights.iter().copied());
    axes.draw(svg, &format!("{what}{name}"), "validation (bits per byte)")?;
    for (i, run) in runs.iter().enumerate() {
        let run: Vec<Point> = run.iter().map(|(x, y)| (x / unit, *y)).collect();
        let style = Style::of(i);
        curve(svg, &axes, &run, style.colour, style.dash)?;
        for point in &run {
            style.mark(svg, axes.place(*point))?;
        }
    }
    Ok(())
}

/// What numbers up to `last` are counted in.
fn unit(last: f64) -> (f64, &'static str) {
    match last {
        last if last >= 1e9 => (1e9, " (billions)"),
        last if last >= 1e6 => (1e6, " (millions)"),
        last if last >= 1e4 => (1e3, " (thousands)"),
        _ => (1.0, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_its_curve_and_its_name() {
        let run = |name: &str, n_points: u64| Curve {
            name: name.to_owned(),
            n_params: 800_000,
            points: (1..=n_points)
                .map(|i| [i as f64 * 1e6, i as f64, 3.0 - i as f64 / 10.0])
                .collect(),
            diverged: false,
        };
        let svg = comparison_plot(
            "a & b",
            &[run("one<two", 5), run("three", 1), run("none", 0)],
        );
        // A dot for each validation in two plots, one for each run with any in the third, and the legend.
        assert_eq!(svg.matches("<circle").count(), 2 * 6 + 2 + 3);
        assert_eq!(svg.matches("<polyline").count(), 9);
        for words in [
            "one&lt;two",
            "three",
            "none",
            "a &amp; b",
            "tokens (millions)",
        ] {
            assert!(svg.contains(words), "{words}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert!(!comparison_plot("", &[]).contains("NaN"));
    }

    #[test]
    fn parameters_have_room_on_both_sides() {
        let place = |x: u64| (x as f64, 2.0);
        let [from, to] = around(&[vec![place(800_000)], vec![place(900_000)]]);
        assert!((from, to) == (792_000.0, 908_000.0), "{from} {to}");
        let [from, to] = around(&[vec![place(500)], vec![], vec![place(500)]]);
        assert!((from, to) == (460.0, 540.0), "{from} {to}");
        assert_eq!(around(&[vec![], vec![]]), [0.0, 1.0]);
    }

    #[test]
    fn a_run_that_diverged_does_not_flatten_the_others() {
        let run = |points: &[f64], diverged| Curve {
            name: "a".to_owned(),
            n_params: 1000,
            points: points.iter().map(|bits| [1.0, 1.0, *bits]).collect(),
            diverged,
        };
        let good = run(&[3.0, 2.0], false);
        let svg = comparison_plot("", &[good, run(&[1.0, 90.0], true)]);
        assert!(svg.contains(">1.0<"), "{svg}");
        // The worst of it, in two plots, at the upper edge of the frame; no best for its parameters.
        assert_eq!(svg.matches(r#"cy="44.0""#).count(), 2);
        assert_eq!(svg.matches("<circle").count(), 2 * 4 + 1 + 2);
        assert!(!svg.contains(">90<"), "{svg}");
        let alone = comparison_plot("", &[run(&[3.0, 90.0], true)]);
        assert!(alone.contains(">80<"), "{alone}");
    }
}
