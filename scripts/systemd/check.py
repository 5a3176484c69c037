#!/usr/bin/env python3
"""Runs torrent-tracker under what torrent-tracker.service says, without systemd, and sees whether it does its work.

    sudo scripts/systemd/check.py [PROGRAM]

The system calls that the unit allows, its address families, no namespaces, no memory that is both written and run, a
read-only machine but for its folder, /proc with processes alone, an unprivileged user without capabilities. Then
everything that touches the system: announces over HTTP and UDP, an upload, a search, metrics, SIGHUP, a stop and a start.
And once more without pidfd_getfd, as in some containers. Needs root, systemd-analyze and util-linux; Linux on x86-64.
"""
import ctypes
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
UNIT = os.path.join(HERE, "torrent-tracker.service")
ALLOW, DENY, NO_FAMILY, NO_CALL = 0x7FFF0000, 0x00050001, 0x00050061, 0x00050026  # EPERM, EAFNOSUPPORT, ENOSYS
MMAP, MPROTECT, SOCKET, CLONE, UNSHARE, SETNS, CLONE3 = 9, 10, 41, 56, 272, 308, 435
NAMESPACES = 0x7E020000
NOBODY = 65534
# What works outside.
FORBIDDEN = ["touch /etc/x", "touch /tmp/x", "cat /proc/meminfo", "unshare --user true", "setpriv --reuid=0 true"]


def setting(key):
    """The values of a key, line by line."""
    with open(UNIT, encoding="utf-8") as unit:
        return [line.split("=", 1)[1].split() for line in unit.read().splitlines() if line.startswith(key + "=")]


def expand(name):
    """The system calls of a group."""
    if not name.startswith("@"):
        return {name}
    out = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True).stdout
    words = [line.strip() for line in out.splitlines()[1:] if line.startswith("    ")]
    return set().union(*(expand(word) for word in words if not word.startswith("#")))


def allowed(without):
    """The numbers of the system calls that the unit allows."""
    names = expand("@default") | {"execve"}
    for words in setting("SystemCallFilter"):
        deny = words[0].startswith("~")
        group = set().union(*(expand(word.lstrip("~")) for word in words))
        names = names - group if deny else names | group
    header = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
    with open(header, encoding="ascii") as text:
        numbers = dict(re.findall(r"#define __NR_(\w+) (\d+)", text.read()))
    return sorted(int(numbers[name]) for name in names - without if name in numbers)


def program(numbers):
    """The filter, for the kernel."""
    def load(offset):
        return (0x20, 0, 0, offset)

    def jump(code, value, yes, no):
        return (code, yes, no, value)

    def end(value):
        return (0x06, 0, 0, value)
    equal, any_bit = 0x15, 0x45
    families = {"AF_INET": 2, "AF_INET6": 10, "AF_UNIX": 1}
    code = [load(4), jump(equal, 0xC000003E, 1, 0), end(DENY), load(0)]
    inner = [load(16)]
    for family in setting("RestrictAddressFamilies")[0]:
        inner += [jump(equal, families[family], 0, 1), end(ALLOW)]
    inner += [end(NO_FAMILY)]
    code += [jump(equal, SOCKET, 0, len(inner))] + inner
    inner = [load(32), jump(any_bit, 4, 0, 2), jump(any_bit, 2, 0, 1), end(DENY), end(ALLOW)]
    code += [jump(equal, MMAP, 0, len(inner))] + inner
    inner = [load(32), jump(any_bit, 4, 0, 1), end(DENY), end(ALLOW)]
    code += [jump(equal, MPROTECT, 0, len(inner))] + inner
    # RestrictNamespaces=: as systemd has it, without clone3, whose flags a filter cannot see.
    for number in (CLONE, UNSHARE):
        inner = [load(16), jump(any_bit, NAMESPACES, 0, 1), end(DENY), end(ALLOW)]
        code += [jump(equal, number, 0, len(inner))] + inner
    code += [jump(equal, SETNS, 0, 1), end(DENY), jump(equal, CLONE3, 0, 1), end(NO_CALL)]
    for number in numbers:
        code += [jump(equal, number, 0, 1), end(ALLOW)]
    return [struct.pack("HBBI", *step) for step in code + [end(DENY)]]


def enter(code, command):
    """Takes the filter, and becomes the command."""
    libc = ctypes.CDLL(None, use_errno=True)
    steps = ctypes.create_string_buffer(b"".join(code))
    fprog = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(steps))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, fprog, 0, 0):
        raise OSError(ctypes.get_errno(), "no filter")
    os.execv(command[0], command)


def confined(folder, command, without):
    """The command line that runs a command as the unit says."""
    mounts = f"""
        mount --bind {folder} {folder}
        for target in $(findmnt -rno TARGET | grep -v -e '^{folder}$' -e ^/proc -e ^/sys); do
            mount -o remount,bind,ro "$target" 2>/dev/null || true
        done
        mount -t proc -o subset=pid,hidepid=invisible proc /proc
        cd {folder}
        exec "$@\""""
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all",
            "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]
    inside = [sys.executable, os.path.abspath(__file__), "--inside", ",".join(sorted(without))]
    return priority() + ["unshare", "--mount", "--propagation", "private", "sh", "-ec", mounts, "sh"] + drop + inside + command


def priority():
    """The command that allows the priority; none where not even root may."""
    # It is counted from the lowest.
    command = ["prlimit", f"--nice={20 - int(setting('LimitNICE')[0][0])}"]
    allowed = subprocess.run(command + ["true"], stderr=subprocess.DEVNULL, check=False).returncode == 0
    return command if allowed else []


class Tracker:
    """The tracker at work."""

    def __init__(self, folder, binary, without):
        command = [binary, "--host", "127.0.0.1", "--port", "0"]
        self.log = open(os.path.join(folder, "log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(confined(folder, command, without), stdout=subprocess.PIPE, stderr=self.log,
                                        env={"PATH": os.environ["PATH"]})
        ready = self.process.stdout.readline().decode()
        if "http=" not in ready:
            self.log.seek(0)
            sys.exit(f"it did not start: {self.log.read()}")
        self.port = int(ready.rsplit(":", 1)[1])

    def get(self, target, body=None, kind=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{target}", body)
        if kind:
            request.add_header("Content-Type", kind)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()

    def priorities(self):
        """The nice values of the threads, by name."""
        tasks = f"/proc/{self.process.pid}/task"
        found = {}
        for task in os.listdir(tasks):
            with open(os.path.join(tasks, task, "stat"), encoding="ascii") as stat:
                name, rest = stat.read().split("(", 1)[1].rsplit(")", 1)
            found[name] = int(rest.split()[16])
        return found

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.process.returncode
        self.log.seek(0)
        return self.log.read()


def announce(tracker, peer, left):
    query = f"info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port={peer}&left={left}&ip=10.0.0.1"
    return tracker.get("/announce?" + query)


def works(folder, binary, without):
    """Everything that touches the system."""
    tracker = Tracker(folder, binary, without)
    assert b"8:completei1e" in announce(tracker, 1, 0)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.settimeout(20)
    udp.sendto(struct.pack(">QII", 0x41727101980, 0, 7), ("127.0.0.1", tracker.port))
    assert len(udp.recv(100)) == 16
    info = b"d6:lengthi5e4:name5:hello12:piece lengthi16384e6:pieces20:" + b"x" * 20 + b"e"
    form = b'--b\r\nContent-Disposition: form-data; name="torrent"\r\n\r\nd4:info' + info + b"e\r\n--b--\r\n"
    assert b"8:interval" in tracker.get("/announce", form, "multipart/form-data; boundary=b")
    assert b'"hello"' in tracker.get("/torrents?q=hello")
    assert b"torrent_tracker_degraded{part=\"uploads\"} 0" in tracker.get("/metrics")
    wanted = int(setting("LimitNICE")[0][0]) if priority() else os.nice(0)
    assert tracker.priorities()["http-guard"] == wanted, tracker.priorities()
    tracker.process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    # It may execute itself.
    tracker.process.send_signal(signal.SIGUSR2)
    time.sleep(2)
    assert b"8:completei1e" in announce(tracker, 4, 1), "begun anew"
    # A body that never ends holds up nobody, and is over when the tracker stops.
    slow = socket.create_connection(("127.0.0.1", tracker.port))
    slow.sendall(b"POST /announce HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nx")
    announce(tracker, 2, 1)
    log = tracker.stop()
    tracker = Tracker(folder, binary, without)
    assert b"8:completei1e" in announce(tracker, 3, 1), "peers survive"
    assert b'"hello"' in tracker.get("/torrents?q=hello"), "and torrents"
    return log + tracker.stop()


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "../../target/release/torrent-tracker")
    binary = os.path.abspath(binary)
    for without in [set(), {"pidfd_getfd"}]:
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o700)
            os.chown(folder, NOBODY, NOBODY)
            for command in FORBIDDEN:
                shell = confined(folder, ["/bin/sh", "-c", command], without)
                done = subprocess.run(shell, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
                assert done.returncode != 0, command
            log = works(folder, binary, without)
            problems = [line for line in log.splitlines() if re.search(" WARN | ERROR |panicked", line)
                        and "beginning anew" not in line]
            print("without pidfd_getfd:" if without else "as the unit says:", *problems or ["all is well"], sep="\n    ")
            assert without or not problems


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        enter(program(allowed(set(sys.argv[2].split(",")))), sys.argv[3:])
    main()
