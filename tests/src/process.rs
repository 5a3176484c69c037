//! A running program: started in a folder of its own, with nothing of the user's environment, killed on drop.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::room::Place;
use crate::wait::{PATIENCE, wait_for, wait_until};

/// How long a program may take until it is ready, in a debug build on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long a program may take to end when told to: more than STOP_TIMEOUT by what a busy machine takes. Who hangs never ends.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How much of a log is shown when a test fails.
const LOG_LINES: usize = 60;

/// A program that runs until it is stopped. When the test fails, the end of its log is printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// Locked, so that many threads may use one process.
    lines: Mutex<Receiver<String>>,
    log: PathBuf,
}

/// A command for `program` that knows nothing of the user who runs the tests: its home, its temporary folder and its
/// working folder are in `folder`.
///
/// # Panics
/// If the folders cannot be made.
pub fn hermetic(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    for (variable, subfolder) in [("HOME", "home"), ("TMPDIR", "tmp"), ("XDG_CONFIG_HOME", "home/.config")] {
        let path = folder.join(subfolder);
        std::fs::create_dir_all(&path).unwrap();
        command.env(variable, path);
    }
    for inherited in ["PATH", "RUST_LOG", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(inherited) {
            command.env(inherited, value);
        }
    }
    command.env("RUST_BACKTRACE", "1");
    command
}

/// What a process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, in KiB.
    pub memory_kib: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

impl Process {
    /// Starts `command` in `place`. What it writes goes to `log` (appended).
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(name: &str, command: &mut Command, log: &Path, place: &Place) -> Self {
        let mut file = File::options().create(true).append(true).open(log).unwrap();
        command.stdout(Stdio::piped()).stderr(file.try_clone().unwrap());
        let spawned = place.run(|| command.spawn());
        let mut child = spawned.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        // Ends with the child's standard output.
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = writeln!(file, "{line}");
                let _ = sender.send(line);
            }
        });
        Self { name: name.to_owned(), child, lines: Mutex::new(lines), log: log.to_owned() }
    }

    /// Waits for the line that begins with `ready ` on standard output, and gives the rest of it.
    ///
    /// # Panics
    /// If it does not come in time.
    pub fn ready(&self) -> String {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            match self.lines.lock().unwrap().recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => match line.strip_prefix("ready ") {
                    Some(rest) => return rest.to_owned(),
                    None => continue,
                },
                Err(RecvTimeoutError::Timeout) => panic!("{} was not ready in {READY_LIMIT:?}", self.name),
                Err(RecvTimeoutError::Disconnected) => panic!("{} ended before it was ready", self.name),
            }
        }
    }

    /// The address after `key=` in the ready line.
    ///
    /// # Panics
    /// If there is none.
    pub fn address(&self, ready: &str, key: &str) -> std::net::SocketAddr {
        let mut words = ready.split_whitespace();
        let value = words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let address = value.and_then(|value| value.parse().ok());
        address.unwrap_or_else(|| panic!("no address {key:?} in the ready line of {}: {ready:?}", self.name))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs.
    ///
    /// # Panics
    /// Never on Linux.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The most memory that it has had at once so far, in KiB.
    ///
    /// # Panics
    /// If it does not run.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse().ok()).expect("it runs")
    }

    /// What it uses now.
    ///
    /// # Panics
    /// If it does not run.
    pub fn usage(&self) -> Usage {
        let folder = PathBuf::from(format!("/proc/{}", self.id()));
        let status = std::fs::read_to_string(folder.join("status")).unwrap();
        let number = |key: &str| -> u64 {
            let value = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            value.split_whitespace().next().unwrap().parse().unwrap()
        };
        Usage {
            memory_kib: number("VmRSS:"),
            threads: number("Threads:"),
            descriptors: std::fs::read_dir(folder.join("fd")).unwrap().count() as u64,
        }
    }

    /// Waits until none of its threads wakes for two seconds: what looks at something several times a second never lets so
    /// much time pass.
    ///
    /// # Panics
    /// If that does not come.
    pub fn wait_until_asleep(&self) {
        wait_until("two seconds without a wake-up", PATIENCE, || {
            let before = self.sleeps();
            std::thread::sleep(Duration::from_secs(2));
            self.sleeps() == before
        });
    }

    /// How often its threads have gone to sleep so far.
    fn sleeps(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        let of_task = |path: PathBuf| {
            // A thread may end while we look.
            let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
            let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            count.map_or(0, |count| count.trim().parse::<u64>().unwrap())
        };
        tasks.map(|task| of_task(task.unwrap().path())).sum()
    }

    /// The end of what it wrote.
    pub fn log(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If it does not within `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        let child = &mut self.child;
        wait_for(&what, limit, || child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned()))
    }

    /// Asks it to end (SIGTERM), and waits.
    ///
    /// # Panics
    /// If it does not end within [`STOP_LIMIT`], or not with exit code 0.
    pub fn terminate(&mut self) {
        let status = self.end();
        assert_eq!(status.code(), Some(0), "{} was asked to stop and ended with {status}", self.name);
    }

    /// Asks it to end (SIGTERM), and waits. How it ended is for whoever asks.
    ///
    /// # Panics
    /// If it does not end within [`STOP_LIMIT`].
    pub fn end(&mut self) -> ExitStatus {
        self.signal();
        self.wait(STOP_LIMIT)
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Panics
    /// Never on Linux.
    pub fn signal(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Tells it that its terminal was closed (SIGHUP).
    ///
    /// # Panics
    /// Never on Linux.
    pub fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// Kills it on the spot (SIGKILL), and waits.
    ///
    /// # Panics
    /// Never on Linux.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- the end of the log of {} ----\n{}\n----", self.name, self.log());
        }
    }
}

/// Processor time that a process has used so far, to a hundredth of a second.
///
/// # Panics
/// If it does not run.
pub fn processor_time(id: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // The name, in brackets, may have spaces. User and system time are the 14th and the 15th field, in hundredths on Linux.
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Asserts that a program that ended left in its folder nothing but what is expected of it, and in its home and its
/// temporary folder nothing at all.
///
/// # Panics
/// With what else is there.
pub fn assert_left_only(folder: &Path, expected: &[&str]) {
    let names = |folder: &Path| -> Vec<String> {
        let entries = folder.read_dir().into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    let mut left = names(folder);
    left.retain(|name| !expected.contains(&name.as_str()));
    left.extend(names(&folder.join("tmp")));
    left.extend(names(&folder.join("home")).into_iter().filter(|name| name != ".config"));
    left.extend(names(&folder.join("home/.config")));
    assert!(left.is_empty(), "left behind in {}: {left:?}", folder.display());
}
