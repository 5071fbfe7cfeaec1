//! Progress on a terminal: a bar with loss, images a second and time left.

use std::time::Duration;

use ghnas_engine::{Observer, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Draws bars on standard error where that is a terminal, and prints messages.
pub(crate) struct Bars {
    quiet: bool,
    current: Option<Bar>,
}

/// The bar of one piece of work.
struct Bar {
    phase: &'static str,
    unit: &'static str,
    bar: ProgressBar,
}

impl Bars {
    /// Bars and messages, or neither where `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, current: None }
    }

    /// Removes the bar that is on the screen.
    pub(crate) fn clear(&mut self) {
        if let Some(Bar { bar, .. }) = self.current.take() {
            bar.finish_and_clear();
        }
    }

    fn update(&mut self, phase: &'static str, progress: &Progress) {
        if self.quiet {
            return;
        }
        let unit = progress.unit;
        let same = |current: &Bar| current.phase == phase && current.unit == unit;
        if !self.current.as_ref().is_some_and(same) {
            self.clear();
            self.current = Some(Bar { phase, unit, bar: bar(phase, unit, progress.of) });
        }
        let Some(Bar { bar, .. }) = &self.current else { return };
        let loss = progress.loss.map_or("-".into(), |loss| format!("{loss:.3}"));
        let left = indicatif::HumanDuration(seconds(progress.seconds_left));
        bar.set_message(match progress.images_per_second {
            // Runs against a table look at no images.
            0.0 => format!("{left} left"),
            speed => format!("loss {loss}  {speed:.0} images/s  {left} left"),
        });
        bar.set_position(progress.done);
    }
}

impl Observer for Bars {
    fn training_step(&mut self, progress: &Progress) {
        self.update("training", progress);
    }

    fn candidate_scored(&mut self, progress: &Progress) {
        self.update("scoring ", progress);
    }

    fn message(&mut self, text: &str) {
        match &self.current {
            _ if self.quiet => {}
            Some(Bar { bar, .. }) if !bar.is_hidden() => bar.println(text),
            _ => eprintln!("{text}"),
        }
    }
}

fn bar(phase: &'static str, unit: &'static str, of: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{phase} {wide_bar} {pos}/{len} {unit}  {msg}")
        .expect("the template is well formed")
        .with_key("phase", move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            // Nothing can be done about a terminal that takes no text.
            let _ = out.write_str(phase);
        })
        .with_key("unit", move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(unit);
        });
    ProgressBar::with_draw_target(Some(of), ProgressDrawTarget::stderr_with_hz(5)).with_style(style)
}

fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or_default()
}
