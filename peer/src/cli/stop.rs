//! Stopping, in bounded time: a disk may hang.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use torrent_common::patient::THREAD;

use super::Failure;
use crate::Running;

/// Threads that are named of those that did not end in time.
const MAX_NAMED: usize = 8;
/// Threads that are no work: the first, this room's own, who hears signals, and who writes the log and the live lines.
const NO_WORK: [&str; 5] = ["torrent-daemon", STOP, "signals", THREAD, LINES];
const STOP: &str = "stop";
pub(super) const LINES: &str = "live";

/// Who stops the daemon: a thread that is made beforehand, since at the end there may be no room for one.
pub(super) struct Stopper {
    running: Sender<Running>,
    told: Receiver<()>,
}

impl Stopper {
    /// # Errors
    /// [`Failure`] when the system has no room for the thread.
    pub fn new() -> Result<Self, Failure> {
        let (running, to_stop) = crossbeam_channel::bounded::<Running>(1);
        let (tell, told) = crossbeam_channel::bounded(1);
        let stop = move || {
            if let Ok(running) = to_stop.recv() {
                running.stop();
                // Fails when nobody waits any more.
                let _ = tell.send(());
            }
        };
        let spawned = std::thread::Builder::new().name(STOP.into()).spawn(stop);
        spawned.map_err(|error| Failure::failed(format!("no room for a thread: {error}")))?;
        Ok(Self { running, told })
    }

    /// Stops it, and waits no longer than `limit`.
    ///
    /// # Errors
    /// [`Failure`] says what was still at work then. Checkpoints and journals are such that nothing is lost by it.
    pub fn stop(self, running: Running, limit: Duration) -> Result<(), Failure> {
        // It waits for just this.
        let _ = self.running.send(running);
        match self.told.recv_timeout(limit) {
            Err(RecvTimeoutError::Timeout) => Err(Failure::failed(format!(
                "not all could be stopped within STOP_TIMEOUT: is a disk hanging? What was written is not lost{}",
                still_at_work(Path::new("/proc/self/task"))
            ))),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Ok(()),
        }
    }
}

/// The threads that are left, for the end of a message; nothing where the system does not tell.
fn still_at_work(tasks: &Path) -> String {
    let Ok(entries) = fs::read_dir(tasks) else { return String::new() };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| thread(&entry.path())).collect();
    if names.is_empty() {
        return String::new();
    }
    names.sort_unstable();
    let more = names.len().saturating_sub(MAX_NAMED);
    names.truncate(MAX_NAMED);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    format!(". Still at work: {}", names.join(", "))
}

/// A thread's name, and whether the system makes it wait for a device: proc(5).
fn thread(task: &Path) -> Option<String> {
    let name = fs::read_to_string(task.join("comm")).ok()?;
    let name = name.trim_end();
    if NO_WORK.contains(&name) {
        return None;
    }
    let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
    // The name stands in brackets before it, and may have any character in it.
    let waits = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('D'));
    Some(if waits { format!("{name} (waits for a device)") } else { name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_named_and_who_waits_for_a_device() {
        let tasks = tempfile::tempdir().unwrap();
        let add = |number: u32, name: &str, state: char| {
            let task = tasks.path().join(number.to_string());
            fs::create_dir(&task).unwrap();
            fs::write(task.join("comm"), format!("{name}\n")).unwrap();
            fs::write(task.join("stat"), format!("{number} ({name}) {state} 1 1 1")).unwrap();
        };
        add(1, "torrent-daemon", 'S');
        add(2, "stop", 'S');
        assert_eq!(still_at_work(tasks.path()), "");
        add(3, "disk-0", 'D');
        add(4, "a) D (b", 'S');
        assert_eq!(still_at_work(tasks.path()), ". Still at work: a) D (b, disk-0 (waits for a device)");
        (10..20).for_each(|number| add(number, &format!("e-{number}"), 'S'));
        let text = still_at_work(tasks.path());
        assert!(text.ends_with("e-14, e-15, 4 more"), "{text}");
        assert_eq!(still_at_work(&tasks.path().join("none")), "");
    }
}
