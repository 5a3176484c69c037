//! Prometheus' text format, version 0.0.4, written by hand: it is a few lines, and the crates for it are larger than this
//! room.

use std::fmt::{Display, Write as _};

use super::family::Label;
use super::histogram::Buckets;

/// What a page in this format is sent as.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A page being written. Names, help and labels are ours, and need no escapes.
#[derive(Default)]
pub(super) struct Text(String);

/// The samples of one metric.
pub(super) struct Samples<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Text {
    /// Begins a metric.
    pub(super) fn metric(&mut self, kind: Kind, name: &'static str, help: &str) -> Samples<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Samples { text: &mut self.0, name }
    }

    /// A metric of one sample.
    pub(super) fn single(&mut self, kind: Kind, name: &'static str, help: &str, value: impl Display) {
        self.metric(kind, name, help).sample(&[], value);
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

impl Samples<'_> {
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.suffixed("", labels, value);
    }

    /// A sample for each value of a label.
    pub(super) fn each<L: Label>(&mut self, value: impl Fn(L) -> u64) {
        for label in (0..L::LEN).filter_map(L::at) {
            self.sample(&shown(label), value(label));
        }
    }

    /// A histogram for each value of a label. Its sum is in seconds.
    pub(super) fn histograms<L: Label>(&mut self, buckets: impl Fn(L) -> Buckets) {
        for label in (0..L::LEN).filter_map(L::at) {
            let (labels, buckets) = (shown(label), buckets(label));
            let mut count = 0;
            for (bound, up_to) in buckets.cumulated() {
                let with_bound = [&*labels, &[("le", bound)]].concat();
                self.suffixed("_bucket", &with_bound, up_to);
                count = up_to;
            }
            self.suffixed("_sum", &labels, buckets.sum().as_secs_f64());
            self.suffixed("_count", &labels, count);
        }
    }

    fn suffixed(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (at, (key, word)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{key}=\"{word}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }
}

fn shown(label: impl Label) -> Vec<(&'static str, &'static str)> {
    let mut shown = Vec::new();
    label.show(&mut |key, word| shown.push((key, word)));
    shown
}
