//! Progress: a bar on a terminal; where nobody watches, a line now and then.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Columns of the bar.
const COLUMNS: usize = 30;

/// Where nobody watches, a line is due after so many tenths of the whole…
const LINE_STEP: f64 = 0.1;

/// …or after this time.
const LINE_TIME: Duration = Duration::from_secs(30);

/// A bar on standard error, or nothing when that is not a terminal.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// An empty one.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // The bar is part of the message, so that both are always of the same moment.
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// Whether nobody sees it.
    pub fn is_hidden(&self) -> bool {
        self.bar.is_hidden()
    }

    /// Shows `progress` (0 to 1) and a message, which must be safe to print.
    pub fn show(&self, progress: f64, message: &str) {
        self.bar.set_message(format!("{} {message}", drawn(progress)));
    }
}

/// `[======>   ]`
fn drawn(progress: f64) -> String {
    let full = (1..=COLUMNS).take_while(|column| *column as f64 <= progress * COLUMNS as f64).count();
    let tip = if full < COLUMNS { ">" } else { "" };
    format!("[{:<COLUMNS$}]", "=".repeat(full) + tip)
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}

/// The bar is gone when its work is.
impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Decides when a plain line is due.
#[derive(Debug, Default)]
pub struct Pace {
    last: Option<(Instant, f64)>,
}

impl Pace {
    /// Whether a line is due at `now` with `progress` (0 to 1): the first time, after each tenth, after 30 seconds.
    pub fn is_due(&mut self, now: Instant, progress: f64) -> bool {
        let due = self.last.is_none_or(|(at, shown)| {
            now.saturating_duration_since(at) >= LINE_TIME
                || (progress / LINE_STEP).floor() > (shown / LINE_STEP).floor()
                // Another phase began: first checking, then downloading.
                || progress < shown
        });
        if due {
            self.last = Some((now, progress));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_only_in_the_end() {
        for (progress, full) in
            [(f64::NAN, 0), (-1.0, 0), (0.0, 0), (0.5, 15), (0.999, 29), (1.0, 30), (7.0, 30)]
        {
            let bar = drawn(progress);
            assert_eq!((bar.len(), bar.matches('=').count()), (COLUMNS + 2, full), "{progress}");
        }
    }

    #[test]
    fn lines_come_by_tenths_and_by_time() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let seconds = |s| start + Duration::from_secs(s);
        assert!(pace.is_due(start, 0.0));
        assert!(!pace.is_due(seconds(1), 0.05));
        assert!(pace.is_due(seconds(2), 0.11));
        assert!(!pace.is_due(seconds(31), 0.12));
        assert!(pace.is_due(seconds(32), 0.12));
        assert!(pace.is_due(seconds(33), 0.0), "another phase");
    }
}
