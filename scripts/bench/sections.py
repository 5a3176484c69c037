"""What is measured, in which order, and how long that takes. A section is one table and one part of the plot."""
import os
import sys

import clients
import measure
import trackers
from processes import installed, output

HERE = os.path.dirname(os.path.abspath(__file__))


class Section:
    """`rows`: (name, version, how one run is made), in the order of the table. `skipped`: what is not measured, and why."""

    key = "?"

    def __init__(self, lab, options):
        self.lab, self.options = lab, options
        self.rows, self.skipped = [], []
        self.collect()

    def add(self, name, version, run):
        if self.options.clients and name not in self.options.clients:
            return
        if version:
            self.rows.append((name, version, run))
        else:
            self.skipped.append(f"{name}: not installed")

    def settings(self):
        """What figures of several runs must have in common."""
        raise NotImplementedError

    def estimate_s(self, name):
        """Of one run, about."""
        raise NotImplementedError


class OneToOne(Section):
    key = "one-to-one"

    def collect(self):
        mib = self.options.size_mib
        for client in clients.ALL:
            version = client.version()
            if version and client.needs_addresses and not self.lab.network.separate:
                self.skipped.append(f"{client.name}: refuses peers on 127.0.0.0/8, so it needs network namespaces")
                continue
            run = lambda client=client: measure.one_to_one(self.lab, client, mib, 180 + mib / 4)
            self.add(client.name, version, run)

    def settings(self):
        return {"mib": self.options.size_mib, "network": self.lab.network.name}

    def estimate_s(self, name):
        rate_mib_s = {"transmission": 10, "floor": 700}.get(name, 350)
        return 5 + self.options.size_mib / 250 + self.options.size_mib / rate_mib_s


class Create(Section):
    key = "create"

    def collect(self):
        options, cores = self.options, len(os.sched_getaffinity(0))
        mktorrent = lambda source, out: ["mktorrent", "-t", str(cores), "-l", "20", "-a", "http://127.0.0.1:9/announce", "-o", out, source]
        transmission = lambda source, out: ["transmission-create", "-s", "1024", "-t", "http://127.0.0.1:9/announce", "-o", out, source]
        imdl = installed("imdl")
        intermodal = lambda source, out: [imdl, "torrent", "create", "--input", source, "--output", out, "--piece-length", "1MiB"]
        libtorrent = lambda source, out: [clients.Libtorrent.python, f"{HERE}/lt_create.py", source, out, str(measure.PIECE_LEN)]
        floor = lambda source, _out: [clients.Floor.program, "hash", source, str(measure.PIECE_LEN)]
        one_line = lambda *args: next(iter((output(*args) or "").splitlines()), "")
        programs = [
            ("floor", clients.Floor.version(), measure.create_with(floor)),
            ("ours", clients.Ours.version(), measure.create_ours),
            ("mktorrent", installed("mktorrent") and one_line("mktorrent", "-h").removeprefix("mktorrent ").split(" ")[0],
             measure.create_with(mktorrent)),
            ("libtorrent", clients.Libtorrent.version(), measure.create_with(libtorrent)),
            ("transmission", installed("transmission-create") and one_line("transmission-create", "-V").split(" ")[1],
             measure.create_with(transmission)),
            ("imdl", imdl and one_line(imdl, "--version").split(" ")[-1], measure.create_with(intermodal)),
        ]
        for name, version, maker in programs:
            self.add(name, version, lambda maker=maker: measure.create(self.lab, maker, options.create_mib))

    def settings(self):
        return {"mib": self.options.create_mib}

    def estimate_s(self, _name):
        return 2 + self.options.create_mib / 700


class Swarm(Section):
    key = "swarm"
    leechers, rate_mbit, mib = 8, 20, 64

    def collect(self):
        if not self.lab.network.separate:
            self.skipped.append("all: it needs network namespaces")
            return
        if not installed("tc"):
            self.skipped.append("all: needs tc (iproute2)")
            return
        for client in clients.ALL:
            if client is not clients.Floor:
                run = lambda client=client: measure.swarm(self.lab, client, self.mib, self.leechers, self.rate_mbit, 240)
                self.add(client.name, client.version(), run)

    def settings(self):
        return {"mib": self.mib, "leechers": self.leechers, "rate_mbit": self.rate_mbit}

    def estimate_s(self, name):
        return {"ours": 45, "libtorrent": 60}.get(name, 90)


class Tracker(Section):
    key = "tracker"
    connections = 64

    def collect(self):
        load = os.path.join(os.path.dirname(clients.Floor.program), "load")
        if not os.access(load, os.X_OK):
            self.skipped.append(f"all: there is no {load}")
            return
        for kind in trackers.ALL:
            run = lambda kind=kind: measure.tracker(self.lab, kind, load, self.options.seconds, self.connections)
            self.add(kind.name, kind.version(), run)

    def settings(self):
        return {"seconds": self.options.seconds, "connections": self.connections}

    def estimate_s(self, _name):
        return 2 * self.options.seconds + 3


class TrackerUdp(Section):
    key = "tracker-udp"

    def collect(self):
        self.peers = 100_000 if self.options.quick else 1_000_000
        load = os.path.join(os.path.dirname(clients.Floor.program), "udp_load")
        if not os.access(load, os.X_OK):
            self.skipped.append(f"all: there is no {load}")
            return
        for kind in trackers.UDP:
            run = lambda kind=kind: measure.tracker_udp(self.lab, kind, load, self.options.seconds, self.peers)
            self.add(kind.name, kind.version(), run)

    def settings(self):
        return {"seconds": self.options.seconds, "peers": self.peers}

    def estimate_s(self, _name):
        return 2 * self.options.seconds + 5 + self.peers / 200_000


ALL = [OneToOne, Create, Swarm, Tracker, TrackerUdp]


def use_programs(binaries, python_folders):
    """Tells the drivers where this project's programs are, and which Python has libtorrent."""
    for kind in (clients.OurDaemon, trackers.Ours):
        kind.binaries = binaries
    clients.Floor.program = os.path.join(binaries, "examples", "floor")
    candidates = [sys.executable, *(os.path.join(folder, "bin", "python3") for folder in python_folders)]
    for python in candidates:
        clients.Libtorrent.python = python
        if clients.Libtorrent.version():
            return
