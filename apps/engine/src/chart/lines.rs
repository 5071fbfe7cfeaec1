//! Lines with shaded intervals: regret and training curves.

use std::fmt::Write;

use super::axis::Axis;
use super::frame::{Frame, INK, PALETTE, document, escaped, put, text};

/// Several series over one horizontal axis.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChart {
    /// Above the plot.
    pub title: String,
    /// Below the plot.
    pub x_label: String,
    /// Beside the plot.
    pub y_label: String,
    /// Whether the horizontal axis is logarithmic; points at 0 or below are not drawn then.
    pub logarithmic_x: bool,
    /// In the legend's order.
    pub series: Vec<Series>,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// By ascending `x`. The line is broken where a value is not finite.
    pub points: Vec<LinePoint>,
}

/// A point of a line, with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinePoint {
    /// Across.
    pub x: f64,
    /// Where the line passes.
    pub mean: f64,
    /// Where the shade begins; the mean itself where there is no interval.
    pub low: f64,
    /// Where the shade ends.
    pub high: f64,
}

impl LinePoint {
    /// A point without an interval.
    pub fn exact(x: f64, mean: f64) -> Self {
        Self { x, mean, low: mean, high: mean }
    }
}

/// Side lengths of the plot, in pixels.
const PLOT: (f64, f64) = (520.0, 320.0);

/// Where the plot begins, in pixels.
const CORNER: (f64, f64) = (66.0, 36.0);

impl LineChart {
    /// The drawing.
    pub fn to_svg(&self) -> String {
        let visible = |point: &&LinePoint| self.visible(point);
        let points: Vec<&LinePoint> =
            self.series.iter().flat_map(|series| &series.points).filter(visible).collect();
        let across = points.iter().map(|point| point.x);
        let frame = Frame {
            left: CORNER.0,
            top: CORNER.1,
            width: PLOT.0,
            height: PLOT.1,
            x: if self.logarithmic_x { Axis::logarithmic(across) } else { Axis::linear(across, 6) },
            y: Axis::linear(points.iter().flat_map(|p| [p.low, p.mean, p.high]), 6),
        };
        let mut svg = String::new();
        frame.write(&mut svg, &self.x_label, &self.y_label);
        put(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"22\" font-weight=\"600\" font-size=\"13\" \
                 fill=\"{INK}\">{}</text>",
                CORNER.0,
                escaped(&self.title)
            ),
        );
        for (index, series) in self.series.iter().enumerate() {
            let pieces = series.points.chunk_by(|a, b| self.visible(a) && self.visible(b));
            let pieces: Vec<&[LinePoint]> =
                pieces.filter(|piece| self.visible(&piece[0])).collect();
            put(&mut svg, format_args!("<g class=\"series\">"));
            pieces.iter().for_each(|piece| shade(&mut svg, &frame, piece, index));
            pieces.iter().for_each(|piece| stroke(&mut svg, &frame, piece, index));
            put(&mut svg, format_args!("</g>"));
        }
        let longest = self.series.iter().map(|series| series.name.chars().count()).max();
        let legend = frame.left + frame.width + 18.0;
        for (index, series) in self.series.iter().enumerate() {
            let y = frame.top + 10.0 + 18.0 * index as f64;
            let key = [(legend, y), (legend + 22.0, y)];
            polyline(&mut svg, &key, index);
            text(&mut svg, (legend + 29.0, y + 4.0), "start", INK, &series.name);
        }
        // Letters are about seven pixels wide.
        let width = legend + 40.0 + 7.0 * longest.unwrap_or(0) as f64;
        let rows = frame.top + 24.0 + 18.0 * self.series.len() as f64;
        document(width, rows.max(frame.top + frame.height + 46.0), &svg)
    }

    fn visible(&self, point: &LinePoint) -> bool {
        let values = [point.x, point.mean, point.low, point.high];
        values.iter().all(|value| value.is_finite()) && (!self.logarithmic_x || point.x > 0.0)
    }
}

/// The area between the ends of the intervals.
fn shade(svg: &mut String, frame: &Frame, points: &[LinePoint], index: usize) {
    if points.iter().all(|point| point.low == point.high) {
        return;
    }
    let high = points.iter().map(|point| frame.place(point.x, point.high));
    let low = points.iter().rev().map(|point| frame.place(point.x, point.low));
    let (outline, colour) = (joined(high.chain(low)), PALETTE[index % PALETTE.len()]);
    let area =
        format_args!("<polygon points=\"{outline}\" fill=\"{colour}\" fill-opacity=\"0.15\"/>");
    put(svg, area);
}

/// The line, or a dot where it has but one point.
fn stroke(svg: &mut String, frame: &Frame, points: &[LinePoint], index: usize) {
    let placed: Vec<(f64, f64)> =
        points.iter().map(|point| frame.place(point.x, point.mean)).collect();
    match placed[..] {
        [(x, y)] => {
            let colour = PALETTE[index % PALETTE.len()];
            put(
                svg,
                format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"),
            );
        }
        _ => polyline(svg, &placed, index),
    }
}

fn polyline(svg: &mut String, points: &[(f64, f64)], index: usize) {
    // When the colours begin again, the line is dashed.
    let (colour, dashes) = (PALETTE[index % PALETTE.len()], index / PALETTE.len());
    let dash = match dashes {
        0 => String::new(),
        n => format!(" stroke-dasharray=\"{} 3\"", 8 / n.min(4)),
    };
    put(
        svg,
        format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" \
             stroke-linejoin=\"round\"{dash}/>",
            joined(points.iter().copied())
        ),
    );
}

fn joined(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut text = String::new();
    for (x, y) in points {
        let gap = if text.is_empty() { "" } else { " " };
        write!(text, "{gap}{x:.1},{y:.1}").expect("writing to a string");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<LinePoint>, logarithmic_x: bool) -> String {
        LineChart {
            title: "a < b".into(),
            x_label: "x".into(),
            y_label: "y".into(),
            logarithmic_x,
            series: vec![Series { name: "one".into(), points }],
        }
        .to_svg()
    }

    #[test]
    fn a_value_that_is_not_finite_breaks_the_line() {
        let points = [1.0, 2.0, f64::NAN, 3.0, 4.0, f64::NAN, 5.0];
        let points = (1..).zip(points).map(|(x, y)| LinePoint::exact(f64::from(x), y)).collect();
        let svg = chart(points, false);
        // Two pieces and the legend's key, and a dot for the point that stands alone.
        assert_eq!(svg.matches("<polyline").count(), 3, "{svg}");
        assert_eq!(svg.matches("<circle").count(), 1);
        assert!(!svg.contains("NaN") && svg.contains("a &lt; b"));
    }

    #[test]
    fn intervals_are_shaded() {
        let point = |x: f64| LinePoint { x, mean: x, low: x - 1.0, high: x + 1.0 };
        let svg = chart(vec![point(1.0), point(2.0)], false);
        assert_eq!(svg.matches("<polygon").count(), 1);
    }

    #[test]
    fn nothing_at_or_below_zero_stands_on_a_logarithmic_axis() {
        let point = |x: f64| LinePoint::exact(x, x);
        let svg = chart(vec![point(0.0), point(10.0), point(100.0)], true);
        assert!(!svg.contains("inf") && !svg.contains("NaN"), "{svg}");
        assert_eq!(svg.matches("<polyline").count(), 2);
    }
}
