//! Several runs in one picture: quality against tokens, seconds and parameters.

use core::fmt::{Result, Write};

use super::axes::{Axes, Point, curve, dot, escaped};
use super::begin;

/// Size of a plot, and the room around it.
const PLOT: [f64; 2] = [340.0, 300.0];
const LEFT: f64 = 64.0;
const TOP: f64 = 44.0;
const GAP: f64 = 76.0;
/// Height of a line of the legend, and from the plots to it.
const LINE: f64 = 18.0;
const BELOW: f64 = 60.0;

/// Colours that most people can tell apart (Okabe and Ito 2008, without yellow).
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000",
];

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
    plot(svg, 0, "tokens", &against(0), &heights)?;
    plot(svg, 1, "seconds", &against(1), &heights)?;
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
    plot(svg, 2, "parameters", &best, &heights)?;
    for (i, run) in runs.iter().enumerate() {
        let y = legend + LINE * i as f64;
        writeln!(
            svg,
            r#"<rect x="{LEFT}" y="{}" width="14" height="4" fill="{}"/><text x="{}" y="{y}">{}</text>"#,
            y - 6.0,
            colour(i),
            LEFT + 20.0,
            escaped(&run.name)
        )?;
    }
    writeln!(svg, "</svg>")
}

/// What a plot has to have room for: runs that did not diverge, or all where there are no others.
fn heights(runs: &[Curve]) -> Vec<f64> {
    let all_diverged = runs.iter().all(|run| run.diverged);
    let counted = runs.iter().filter(|run| all_diverged || !run.diverged);
    let points = counted.flat_map(|run| &run.points);
    points.map(|point| point[2]).collect()
}

/// Plot number `index`: a line and dots for each run, with room for `heights`.
fn plot(
    svg: &mut String,
    index: usize,
    what: &str,
    runs: &[Vec<Point>],
    heights: &[f64],
) -> Result {
    let points = || runs.iter().flatten();
    let last = points().map(|(x, _)| *x).fold(0.0, f64::max);
    let (unit, name) = unit(last);
    let left = LEFT + (PLOT[0] + GAP) * index as f64;
    let frame = [left, TOP, left + PLOT[0], TOP + PLOT[1]];
    let last = if last > 0.0 { last / unit } else { 1.0 };
    let axes = Axes::new(frame, last, heights.iter().copied());
    axes.draw(svg, &format!("{what}{name}"), "validation (bits per byte)")?;
    for (i, run) in runs.iter().enumerate() {
        let run: Vec<Point> = run.iter().map(|(x, y)| (x / unit, *y)).collect();
        curve(svg, &axes, &run, colour(i))?;
        for point in &run {
            dot(svg, &axes, *point, 3.0, colour(i))?;
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

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
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
        // A dot for each validation in two plots, and one for each run with any in the third.
        assert_eq!(svg.matches("<circle").count(), 2 * 6 + 2);
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
    fn a_run_that_diverged_does_not_flatten_the_others() {
        let run = |points: &[f64], diverged| Curve {
            name: "a".to_owned(),
            n_params: 1000,
            points: points.iter().map(|bits| [1.0, 1.0, *bits]).collect(),
            diverged,
        };
        let good = run(&[3.0, 2.0], false);
        let svg = comparison_plot("", &[good.clone(), run(&[3.0, 90.0], true)]);
        // The worst of it, in two plots, at the upper edge of the frame; no best for its parameters.
        assert_eq!(svg.matches(r#"cy="44.0""#).count(), 2);
        assert_eq!(svg.matches("<circle").count(), 2 * 4 + 1);
        assert!(!svg.contains(">90<"), "{svg}");
        let alone = comparison_plot("", &[run(&[3.0, 90.0], true)]);
        assert!(alone.contains(">80<"), "{alone}");
    }
}
