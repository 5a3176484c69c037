"""Where programs run: hosts of a private network (a namespace each, joined by a bridge), or all on loopback.

Namespaces are made inside a namespace of the script's own (bench.sh sees to that), so nothing of them is seen outside,
nothing leaves the machine, and everything is gone when the script is.
"""
import ctypes
import http.client
import os
import socket
import subprocess
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
BRIDGE = "switch"
libc = ctypes.CDLL(None, use_errno=True)


class Loopback:
    """Every host is 127.0.0.1: the fallback where namespaces cannot be made."""

    separate = False
    name = "loopback"

    def up(self, _count, _rate_mbit=None):
        pass

    def down(self):
        pass

    def host(self, _number):
        return Host("127.0.0.1", None)


class Namespaces:
    """Hosts of their own, numbered from 1, with the addresses 10.77.0.number."""

    separate = True
    name = "network namespaces"

    def __init__(self):
        self.names = []
        # Over the system's own, which is not seen any more from here.
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        os.makedirs("/run/netns")
        run("ip", "link", "set", "lo", "up")

    def up(self, count, rate_mbit=None):
        """Makes `count` hosts. With a rate, each one's upload is limited to it."""
        self.down()
        self._add(BRIDGE)
        run("ip", "-n", BRIDGE, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", BRIDGE, "link", "set", "br0", "up")
        for number in range(1, count + 1):
            name = f"host{number}"
            self._add(name)
            run("ip", "-n", BRIDGE, "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "-n", BRIDGE, "link", "set", f"port{number}", "master", "br0", "up")
            run("ip", "-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
            if rate_mbit:
                run("tc", "-n", name, "qdisc", "replace", "dev", "eth0", "root", "tbf",
                    "rate", f"{rate_mbit}mbit", "burst", "64kb", "latency", "100ms")

    def _add(self, name):
        run("ip", "netns", "add", name)
        self.names.append(name)

    def down(self):
        while self.names:
            run("ip", "netns", "del", self.names.pop())

    def host(self, number):
        return Host(f"10.77.0.{number}", f"/run/netns/host{number}")


class Host:
    """An address, and how to get at what runs there."""

    def __init__(self, address, namespace):
        self.address, self.namespace = address, namespace

    def inside(self, args):
        """The command that runs `args` on this host, as the same process."""
        return ["nsenter", f"--net={self.namespace}", "--", *args] if self.namespace else list(args)

    @contextmanager
    def _entered(self):
        """A socket stays on the host it was made on, so this thread need only be there for a moment."""
        if not self.namespace:
            yield
            return
        with open("/proc/thread-self/ns/net") as home, open(self.namespace) as away:
            enter(away)
            try:
                yield
            finally:
                enter(home)

    def connect(self, address, port, timeout=5):
        with self._entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect((address, port))
        except OSError:
            sock.close()
            raise
        return sock

    def free_port(self):
        with self._entered(), socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.bind(("", 0))
            return sock.getsockname()[1]

    def http(self, port):
        """A connection to a program's control port on this host: cheap to ask often."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection._create_connection = lambda *_: self.connect("127.0.0.1", port)
        return connection


def enter(namespace):
    if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace")


def run(*args):
    done = subprocess.run(args, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"{' '.join(args)}: {done.stderr.strip()}")
