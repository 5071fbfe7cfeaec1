//! Scatter plots, a panel each, that share their vertical axis.

use super::axis::Axis;
use super::frame::{Frame, INK, PALE_INK, PALETTE, document, escaped, put, text};

/// Panels of points.
#[derive(Debug, Clone, PartialEq)]
pub struct Scatter {
    /// Of every horizontal axis.
    pub x_label: String,
    /// Of every vertical axis.
    pub y_label: String,
    /// What marked points have in common, for the legend.
    pub marked: String,
    /// In reading order.
    pub panels: Vec<Panel>,
}

/// One plot, with a horizontal axis of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Above the plot.
    pub title: String,
    /// Below the title.
    pub subtitle: String,
    /// The points; one that is not finite is not drawn.
    pub dots: Vec<Dot>,
}

/// A point.
#[derive(Debug, Clone, PartialEq)]
pub struct Dot {
    /// Across.
    pub x: f64,
    /// Up.
    pub y: f64,
    /// Whether it is marked.
    pub marked: bool,
    /// Shown when pointed at; empty where the point needs no name.
    pub label: String,
}

/// Side lengths of a plot, in pixels.
const PLOT: (f64, f64) = (220.0, 190.0);

/// Room around a plot for titles and labels: left, top, right, bottom.
const ROOM: (f64, f64, f64, f64) = (62.0, 44.0, 14.0, 46.0);

/// Room for the legend, in pixels.
const LEGEND: f64 = 26.0;

/// The most panels side by side.
const MOST_COLUMNS: usize = 4;

impl Scatter {
    /// The drawing.
    pub fn to_svg(&self) -> String {
        let dots = || self.panels.iter().flat_map(|panel| &panel.dots);
        let y = Axis::linear(dots().map(|dot| dot.y), 5);
        let count = self.panels.len().max(1);
        let columns = (1..MOST_COLUMNS).find(|n| n * n >= count).unwrap_or(MOST_COLUMNS);
        let (width, height) = (ROOM.0 + PLOT.0 + ROOM.2, ROOM.1 + PLOT.1 + ROOM.3);
        let mut svg = String::new();
        self.legend(&mut svg);
        for (index, panel) in self.panels.iter().enumerate() {
            let frame = Frame {
                left: ROOM.0 + (index % columns) as f64 * width,
                top: LEGEND + ROOM.1 + (index / columns) as f64 * height,
                width: PLOT.0,
                height: PLOT.1,
                x: Axis::linear(panel.dots.iter().map(|dot| dot.x), 4),
                y: y.clone(),
            };
            self.panel(&mut svg, panel, &frame);
        }
        let rows = count.div_ceil(columns);
        document(columns as f64 * width, LEGEND + rows as f64 * height, &svg)
    }

    fn legend(&self, svg: &mut String) {
        circle(svg, (ROOM.0 + 5.0, 18.0), true, "");
        text(svg, (ROOM.0 + 14.0, 22.0), "start", INK, &self.marked);
        // Letters are about six pixels wide.
        let second = ROOM.0 + 40.0 + 6.0 * self.marked.chars().count() as f64;
        circle(svg, (second, 18.0), false, "");
        text(svg, (second + 9.0, 22.0), "start", INK, "others");
    }

    fn panel(&self, svg: &mut String, panel: &Panel, frame: &Frame) {
        put(svg, format_args!("<g class=\"panel\">"));
        frame.write(svg, &self.x_label, &self.y_label);
        put(
            svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" font-weight=\"600\" font-size=\"12\" \
                 fill=\"{INK}\">{}</text>",
                frame.left,
                frame.top - 24.0,
                escaped(&panel.title)
            ),
        );
        text(svg, (frame.left, frame.top - 9.0), "start", PALE_INK, &panel.subtitle);
        for dot in &panel.dots {
            if dot.x.is_finite() && dot.y.is_finite() {
                circle(svg, frame.place(dot.x, dot.y), dot.marked, &dot.label);
            }
        }
        put(svg, format_args!("</g>"));
    }
}

fn circle(svg: &mut String, (x, y): (f64, f64), marked: bool, label: &str) {
    let fill = if marked { PALETTE[0] } else { "#94a3b8" };
    let title = match label {
        "" => String::new(),
        label => format!("<title>{}</title>", escaped(label)),
    };
    put(
        svg,
        format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\" fill=\"{fill}\" \
             fill-opacity=\"0.75\">{title}</circle>"
        ),
    );
}
