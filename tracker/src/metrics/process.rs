//! What the system says of this process, under the names that all Prometheus clients give it.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::text::{Kind, Text};

/// Lines of /proc/self/status, which are in KiB.
#[derive(Debug, Default, PartialEq, Eq)]
struct Status {
    resident_kib: Option<u64>,
    virtual_kib: Option<u64>,
    threads: Option<u64>,
}

/// Writes them. What the system does not say is left out.
pub(super) fn write(text: &mut Text, started_s: u64) {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let spent = Duration::try_from(spent).unwrap_or_default();
    text.single(
        Kind::Counter,
        "process_cpu_seconds_total",
        "Processor time spent, in the program and in the system for it.",
        spent.as_secs_f64(),
    );
    text.single(Kind::Gauge, "process_start_time_seconds", "When it was started, since 1970.", started_s);
    let status = fs::read_to_string("/proc/self/status").map_or_else(|_| Status::default(), |s| parse(&s));
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Memory in use.", status.resident_kib.map(|kib| kib * 1024)),
        ("process_virtual_memory_bytes", "Addresses in use.", status.virtual_kib.map(|kib| kib * 1024)),
        ("process_threads", "Threads.", status.threads),
        ("process_open_fds", "Open files, connections among them.", open_files()),
        ("process_max_fds", "As many may be open.", getrlimit(Resource::Nofile).current),
    ] {
        if let Some(value) = value {
            text.single(Kind::Gauge, name, help, value);
        }
    }
}

fn parse(status: &str) -> Status {
    let value = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    Status { resident_kib: value("VmRSS"), virtual_kib: value("VmSize"), threads: value("Threads") }
}

/// Their number is the length of the folder that lists them (Linux 6.2), or they have to be counted.
fn open_files() -> Option<u64> {
    let folder = "/proc/self/fd";
    match fs::metadata(folder).ok()?.len() {
        0 => Some(fs::read_dir(folder).ok()?.count() as u64),
        len => Some(len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read() {
        let status = parse(
            "Name:\ttorrent-tracker\nVmPeak:\t    9000 kB\nVmSize:\t    8000 kB\nVmRSS:\t    5124 kB\nThreads:\t12\n",
        );
        assert_eq!(status, Status { resident_kib: Some(5124), virtual_kib: Some(8000), threads: Some(12) });
        assert_eq!(parse("VmRSS:\nThreads: many\n"), Status::default());
    }

    #[test]
    fn this_process_has_all_of_it() {
        let mut text = Text::default();
        write(&mut text, 7);
        let text = text.finish();
        for name in ["cpu_seconds_total", "resident_memory_bytes", "threads", "open_fds", "max_fds"] {
            let line = text.lines().find(|line| line.starts_with(&format!("process_{name} "))).unwrap();
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() > 0.0, "{line}");
        }
        assert!(text.contains("\nprocess_start_time_seconds 7\n"));
    }
}
