//! Waiting for a condition, with a bound: nowhere else a test sleeps until something is so.

use std::time::{Duration, Instant};

/// Long enough for anything on a busy machine with two cores; nothing waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Asks `probe` again and again until it answers `Ok`, and gives that. `Err` tells what is still missing.
///
/// # Panics
/// After `limit`, with `what` and the last `Err`.
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        match probe() {
            Ok(value) => return value,
            Err(missing) if start.elapsed() >= limit => {
                panic!("waited {limit:?} in vain for {what}: {missing}")
            }
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// The same for a plain condition.
///
/// # Panics
/// After `limit`, with `what`.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, limit, || condition().then_some(()).ok_or_else(|| "not yet".to_owned()));
}
