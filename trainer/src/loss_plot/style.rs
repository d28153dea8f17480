//! How the runs of a picture are told apart.

use core::fmt::{Result, Write};

use super::axes::Point;

/// Colours that most people can tell apart (Okabe and Ito 2008, without yellow).
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000",
];

/// Lines and marks of runs that share a colour.
const DASHES: [&str; 4] = ["none", "7 3", "2 2", "9 3 2 3"];
const MARKS: [Mark; 4] = [Mark::Circle, Mark::Square, Mark::Triangle, Mark::Diamond];

/// Half the size of a mark.
const RADIUS: f64 = 3.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Mark {
    Circle,
    Square,
    Triangle,
    Diamond,
}

/// How a run is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Style {
    pub(super) colour: &'static str,
    /// As `stroke-dasharray` has it.
    pub(super) dash: &'static str,
    mark: Mark,
}

impl Style {
    /// That of run `index`. Marks alone tell 28 runs apart, lines with their marks 112.
    pub(super) const fn of(index: usize) -> Self {
        let round = index / COLOURS.len();
        Self {
            colour: COLOURS[index % COLOURS.len()],
            dash: DASHES[(round + round / MARKS.len()) % DASHES.len()],
            mark: MARKS[round % MARKS.len()],
        }
    }

    /// Draws the mark at a place in the picture.
    pub(super) fn mark(self, svg: &mut String, (x, y): Point) -> Result {
        let Self { colour, .. } = self;
        let (left, right, top, bottom) = (x - RADIUS, x + RADIUS, y - RADIUS, y + RADIUS);
        let corners: &[Point] = match self.mark {
            Mark::Circle => {
                return writeln!(
                    svg,
                    r#"<circle cx="{x:.1}" cy="{y:.1}" r="{RADIUS}" fill="{colour}"/>"#
                );
            }
            Mark::Square => &[(left, top), (right, top), (right, bottom), (left, bottom)],
            Mark::Triangle => &[(x, top), (right, bottom), (left, bottom)],
            Mark::Diamond => &[(x, top), (right, y), (x, bottom), (left, y)],
        };
        write!(svg, r#"<polygon fill="{colour}" points=""#)?;
        for (x, y) in corners {
            write!(svg, "{x:.1},{y:.1} ")?;
        }
        writeln!(svg, r#""/>"#)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_runs_look_alike() {
        let looks: HashSet<Style> = (0..112).map(Style::of).collect();
        assert_eq!(looks.len(), 112);
        // Against parameters a run is a mark without a line.
        let marks: HashSet<String> = (0..28)
            .map(|i| {
                let mut svg = String::new();
                Style::of(i).mark(&mut svg, (1.0, 2.0)).unwrap();
                svg
            })
            .collect();
        assert_eq!(marks.len(), 28);
    }
}
