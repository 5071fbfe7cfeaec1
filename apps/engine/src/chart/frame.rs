//! The frame of a plot: border, grid, ticks and labels; colours and text of all charts.

use std::fmt::Write;

use super::axis::Axis;
pub(super) use crate::draw::escaped;

/// Text and rules.
pub(super) const INK: &str = "#1e293b";

/// Labels.
pub(super) const PALE_INK: &str = "#64748b";

const GRID: &str = "#e2e8f0";

/// Okabe and Ito's colours, which the colour-blind can tell apart too.
pub(super) const PALETTE: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000"];

/// A plot's rectangle on the page, in pixels, with its axes.
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

impl Frame {
    /// Where a point stands on the page.
    pub(super) fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let across = self.left + self.x.place(x) * self.width;
        (across, self.top + (1.0 - self.y.place(y)) * self.height)
    }

    /// Grid, border, ticks and labels.
    pub(super) fn write(&self, svg: &mut String, x_label: &str, y_label: &str) {
        let Self { left, top, width, height, .. } = *self;
        let (right, bottom) = (left + width, top + height);
        for (value, label) in &self.x.ticks {
            let x = left + self.x.place(*value) * width;
            line(svg, (x, top), (x, bottom));
            text(svg, (x, bottom + 15.0), "middle", PALE_INK, label);
        }
        for (value, label) in &self.y.ticks {
            let y = top + (1.0 - self.y.place(*value)) * height;
            line(svg, (left, y), (right, y));
            text(svg, (left - 6.0, y + 4.0), "end", PALE_INK, label);
        }
        put(
            svg,
            format_args!(
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
                 fill=\"none\" stroke=\"#94a3b8\"/>"
            ),
        );
        text(svg, (left + width / 2.0, bottom + 33.0), "middle", INK, x_label);
        let (x, y) = (left - 46.0, top + height / 2.0);
        put(
            svg,
            format_args!(
                "<text transform=\"translate({x:.1} {y:.1}) rotate(-90)\" text-anchor=\"middle\" \
                 fill=\"{INK}\">{}</text>",
                escaped(y_label)
            ),
        );
    }
}

/// The whole document.
pub(super) fn document(width: f64, height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// One line of text; `anchor` is `start`, `middle` or `end`.
pub(super) fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, fill: &str, words: &str) {
    put(
        svg,
        format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{fill}\">{}</text>",
            escaped(words)
        ),
    );
}

/// One element.
pub(super) fn put(svg: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(svg, "{element}").expect("writing to a string");
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    put(
        svg,
        format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{GRID}\"/>"
        ),
    );
}
