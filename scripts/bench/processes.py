"""Processes that are started here: each in a session of its own, ended by its number, and gone when the script is."""
import ctypes
import os
import re
import shutil
import signal
import subprocess
import time

TICK = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)

running = []


class Process:
    """A program in the background. `host` is where on the network it runs; `log` takes what it prints."""

    def __init__(self, args, host, log, cwd, env=None, cpu=None):
        self.name = os.path.basename(args[0])
        self.log_path = log
        with open(log, "ab") as out:
            self.child = subprocess.Popen(
                host.inside(args), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=cwd,
                env={**os.environ, **(env or {})}, start_new_session=True, preexec_fn=lambda: _prepare(cpu))
        self.pid = self.child.pid
        running.append(self)

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def is_alive(self):
        return self.child.poll() is None

    def wait_for(self, what, seconds, step=0.02):
        """Waits until `what()` is true; says what the program printed if that takes too long or the program ends."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            alive = self.is_alive()
            if what():
                return
            if not alive:
                raise Failed(f"{self.name} has ended: {self.log()[-500:].strip()}")
            time.sleep(step)
        raise Failed(f"{self.name} took longer than {seconds:.0f} s: {self.log()[-500:].strip()}")

    def cpu_s(self):
        """Seconds of processor time so far, its threads' together."""
        try:
            with open(f"/proc/{self.pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            raise Failed(f"{self.name} has ended: {self.log()[-500:].strip()}") from None
        return (int(fields[11]) + int(fields[12])) / TICK

    def peak_mib(self):
        """The most memory that was resident at a time, in MiB."""
        return _peak_mib(self.pid)

    def memory_mib(self):
        return _status_mib(self.pid, "VmRSS")

    def received_bytes(self):
        """Bytes that came in on its host's network so far."""
        total = 0
        with open(f"/proc/{self.pid}/net/dev") as file:
            for line in file.readlines()[2:]:
                total += int(line.split(":")[1].split()[0])
        return total

    def stop(self):
        if self in running:
            running.remove(self)
        for sign, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            if self.child.poll() is not None:
                break
            try:
                os.killpg(self.pid, sign)
                self.child.wait(seconds)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass


class Failed(Exception):
    """One measurement could not be made; the others go on."""


def _prepare(cpu):
    # However the script ends, what it started ends with it.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})


def _peak_mib(pid):
    return _status_mib(pid, "VmHWM")


def _status_mib(pid, key):
    try:
        with open(f"/proc/{pid}/status") as file:
            found = re.search(rf"{key}:\s+(\d+)", file.read())
    except OSError:
        return 0.0
    return int(found.group(1)) / 1024 if found else 0.0


def stop_all():
    for process in list(reversed(running)):
        process.stop()


def installed(program):
    """Its path, or None. Where cargo puts what it installs is not always in PATH."""
    return shutil.which(program) or shutil.which(program, path=os.path.expanduser("~/.cargo/bin"))


def output(*args, timeout=20, env=None):
    """What a program prints, or None if there is no such program or it fails."""
    try:
        done = subprocess.run(args, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
                              env={**os.environ, **(env or {})})
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr


def timed(args, cwd, timeout=120):
    """Runs a program to its end: wall seconds, processor seconds, and peak memory in MiB."""
    begin = time.monotonic()
    with open(os.path.join(cwd, "log"), "wb") as out:
        child = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=cwd,
                                 start_new_session=True, preexec_fn=lambda: _prepare(None))
    # Looked at while it runs: what wait tells also counts the script itself, before the program took its place.
    peak_mib = 0.0
    try:
        while True:
            peak_mib = max(peak_mib, _peak_mib(child.pid))
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                child.returncode = os.waitstatus_to_exitcode(status)
                break
            if time.monotonic() - begin > timeout:
                raise Failed(f"{args[0]} took longer than {timeout} s")
            time.sleep(0.005)
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if child.returncode != 0:
        with open(os.path.join(cwd, "log"), errors="replace") as log:
            raise Failed(f"{os.path.basename(args[0])} failed: {log.read()[-300:].strip()}")
    return time.monotonic() - begin, usage.ru_utime + usage.ru_stime, peak_mib
