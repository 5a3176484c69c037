"""The measurements. Each makes one run of one program and returns its figures by name."""
import os
import shutil
import time

import clients
import payload
import trackers
from processes import Failed, timed

MIB = payload.MIB
PIECE_LEN = 1 << 20
#: Of the swarm: smaller, so that leechers have pieces to pass on early.
SWARM_PIECE_LEN = 256 << 10
STARTED_BYTES = 1 << 20


class Lab:
    """Where a run takes place: a network, a folder, and the programs of this project."""

    def __init__(self, network, folder, binaries):
        self.network, self.folder, self.binaries = network, folder, binaries
        self.payloads = {}

    def payload(self, mib):
        """A payload of this size; one is kept."""
        if mib not in self.payloads:
            for path in self.payloads.values():
                os.remove(path)
            self.payloads = {mib: payload.make(os.path.join(self.folder, f"payload-{mib}.bin"), mib)}
        return self.payloads[mib]

    def fresh(self):
        """An empty folder for a run."""
        path = os.path.join(self.folder, "run")
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        return path

    def seed_folder(self, run, source):
        """The payload, as a seeder has it."""
        folder = os.path.join(run, "seed")
        os.makedirs(folder)
        os.link(source, os.path.join(folder, os.path.basename(source)))
        return folder


def one_to_one(lab, client, mib, timeout):
    """One seeder, one leecher of the same kind. The clock runs from the first mebibyte that arrives."""
    run, source = lab.fresh(), lab.payload(mib)
    lab.network.up(3)
    tracker = trackers.Ours(lab.network.host(1), os.path.join(run, "tracker"))
    started = []
    try:
        torrent = payload.torrent(source, tracker.url, os.path.join(run, "payload.torrent"), PIECE_LEN)
        seeder = client(lab.network.host(2), torrent, lab.seed_folder(run, source), os.path.join(run, "seeder"), True)
        started.append(seeder)
        seeder.wait(60, 0.1)
        clients.settle(seeder)
        payload.warm(2 * mib + 1024)
        seeder_cpu_s = seeder.process.cpu_s()
        added = time.monotonic()
        data = os.path.join(run, "leech")
        leecher = client(lab.network.host(3), torrent, data, os.path.join(run, "leecher"), False)
        started.append(leecher)
        before = leecher.process.received_bytes() if not lab.network.separate else 0
        leecher.process.wait_for(lambda: leecher.process.received_bytes() - before > STARTED_BYTES, timeout, 0.005)
        begun = time.monotonic()
        leecher.wait(timeout, 0.02)
        seconds = time.monotonic() - begun
        gib = (mib * MIB - STARTED_BYTES) / (1 << 30)
        figures = {
            "gib_s": gib / seconds, "start_s": begun - added,
            "leecher_cpu_s_gib": leecher.process.cpu_s() * 1024 / mib,
            "seeder_cpu_s_gib": (seeder.process.cpu_s() - seeder_cpu_s) * 1024 / mib,
            "leecher_mib": leecher.process.peak_mib(), "seeder_mib": seeder.process.peak_mib(),
        }
        check(source, data)
        return figures
    finally:
        for one in reversed(started):
            one.stop()
        tracker.stop()
        lab.network.down()
        shutil.rmtree(run, ignore_errors=True)


def check(source, folder):
    """What was downloaded is what was shared. A client may still be writing the end of it out."""
    files = [os.path.join(folder, name) for name in os.listdir(folder)]
    files = [path for path in files if os.path.isfile(path) and os.path.getsize(path) == os.path.getsize(source)]
    for attempt in range(10):
        if any(payload.same(source, path) for path in files):
            return
        time.sleep(0.3 * attempt)
    raise Failed("what was downloaded is not what was shared")


def swarm(lab, client, mib, leechers, rate_mbit, timeout):
    """One seeder and many leechers, everybody's upload limited. Nobody can be done before size / rate, for the seeder must
    send one whole copy: all times are given as multiples of that."""
    run, source = lab.fresh(), lab.payload(mib)
    lab.network.up(leechers + 2, rate_mbit)
    tracker = trackers.Ours(lab.network.host(1), os.path.join(run, "tracker"))
    started = []
    try:
        torrent = payload.torrent(source, tracker.url, os.path.join(run, "payload.torrent"), SWARM_PIECE_LEN)
        seeder = client(lab.network.host(2), torrent, lab.seed_folder(run, source), os.path.join(run, "seeder"), True)
        started.append(seeder)
        seeder.wait(60, 0.1)
        clients.settle(seeder)
        begun, done = time.monotonic(), {}
        for number in range(leechers):
            started.append(client(lab.network.host(3 + number), torrent, os.path.join(run, f"leech-{number}"),
                                  os.path.join(run, f"leecher-{number}"), False))
        while len(done) < leechers:
            for number, leecher in enumerate(started[1:]):
                if number not in done and leecher.is_done():
                    done[number] = time.monotonic() - begun
            if time.monotonic() - begun > timeout:
                raise Failed(f"{len(done)} of {leechers} were complete after {timeout} s")
            time.sleep(0.1)
        ideal_s = mib * MIB * 8 / (rate_mbit * 1e6)
        times = [seconds / ideal_s for seconds in sorted(done.values())]
        cpu_s = sum(one.process.cpu_s() for one in started)
        for number in range(leechers):
            check(source, os.path.join(run, f"leech-{number}"))
        return {"first": times[0], "median": times[len(times) // 2], "last": times[-1],
                "cpu_s_gib": cpu_s * 1024 / (mib * leechers)}
    finally:
        for one in reversed(started):
            one.stop()
        tracker.stop()
        lab.network.down()
        shutil.rmtree(run, ignore_errors=True)


def create(lab, maker, mib):
    """A torrent of one file in the page cache."""
    run, source = lab.fresh(), lab.payload(mib)
    payload.warm(1024)
    # Read once more: that memory may have been taken from the page cache.
    with open(source, "rb") as file:
        while file.read(4 * MIB):
            pass
    try:
        return maker(lab, source, os.path.join(run, "made.torrent"), run)
    finally:
        shutil.rmtree(run, ignore_errors=True)


def create_with(command):
    """A program that makes a torrent and ends."""
    def maker(_lab, source, out, run):
        seconds, cpu_s, peak_mib = timed(command(source, out), run)
        return {"s": seconds, "cpu_s": cpu_s, "peak_mib": peak_mib}
    return maker


def create_ours(lab, source, _out, run):
    """torrent-seed: the daemon hashes and begins to seed. With the time of the command, and the memory of the daemon."""
    host = lab.network.host(1)
    lab.network.up(1)
    daemon = os.path.join(run, "daemon")
    os.makedirs(daemon)
    port, config = host.free_port(), os.path.join(daemon, "config.ini")
    with open(config, "w") as file:
        file.write(f"[peer]\nTORRENT_DIR = {daemon}/torrents\nSTATE_DIR = {daemon}/state\nDOWNLOAD_DIR = {daemon}/data\n"
                   f"PORT = {port}\nPEER_PORT = 0\n")
    process = clients.Process([f"{lab.binaries}/torrent-daemon", "--config", config], host, os.path.join(daemon, "log"), daemon)
    try:
        process.wait_for(lambda: "ready" in process.log(), 10)
        before_s = process.cpu_s()
        # Private: nothing is to be published, and no tracker is there.
        command = [f"{lab.binaries}/torrent-seed", "--input", source, "--piece-length", str(PIECE_LEN), "--private", "--config", config]
        seconds, cpu_s, _ = timed(host.inside(command), run)
        return {"s": seconds, "cpu_s": cpu_s + process.cpu_s() - before_s, "peak_mib": process.peak_mib()}
    finally:
        process.stop()
        lab.network.down()


def tracker(lab, kind, load, seconds, connections):
    """Announces over HTTP: the tracker on one core, the load on another."""
    run, cores = lab.fresh(), sorted(os.sched_getaffinity(0))
    lab.network.up(1)
    one = kind(lab.network.host(1), os.path.join(run, "tracker"), cores[0])
    try:
        figures = {}
        for mode in ("keep-alive", "close"):
            for key, value in trackers.load(load, one, seconds, connections, mode, cores[1 % len(cores)]).items():
                figures[f"{mode}_{key}"] = value
        return figures
    finally:
        one.stop()
        lab.network.down()
        shutil.rmtree(run, ignore_errors=True)
