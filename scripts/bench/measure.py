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


class Swarm:
    """A tracker, a seeder of one payload, and leechers of the same kind as they are started; to be used by `with`, which
    ends and removes them all. The tracker is host 1, the seeder host 2."""

    def __init__(self, lab, client, mib, piece_len, hosts, rate_mbit=None):
        self.lab, self.client = lab, client
        self.run, self.source = lab.fresh(), lab.payload(mib)
        self.started = []
        self.piece_len, self.network = piece_len, (hosts, rate_mbit)

    def __enter__(self):
        try:
            self.lab.network.up(*self.network)
            tracker = trackers.Ours(self.lab.network.host(1), os.path.join(self.run, "tracker"))
            self.started.append(tracker)
            self.torrent = payload.torrent(self.source, tracker.url, os.path.join(self.run, "payload.torrent"), self.piece_len)
            self.seeder = self.start("seeder", 2, self.lab.seed_folder(self.run, self.source), True)
            clients.wait_for_seeder(self.seeder)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for one in reversed(self.started):
            one.stop()
        self.lab.network.down()
        shutil.rmtree(self.run, ignore_errors=True)

    def start(self, name, host, data, seeds):
        one = self.client(self.lab.network.host(host), self.torrent, data, os.path.join(self.run, name), seeds)
        self.started.append(one)
        return one

    def start_leecher(self, number):
        """The numbers begin with 0."""
        return self.start(f"leecher-{number}", 3 + number, os.path.join(self.run, f"leech-{number}"), False)


def one_to_one(lab, client, mib, timeout):
    """One seeder, one leecher of the same kind. The clock runs from the first mebibyte that arrives."""
    with Swarm(lab, client, mib, PIECE_LEN, 3) as swarm:
        payload.warm(2 * mib + 1024)
        seeder_cpu_s = swarm.seeder.process.cpu_s()
        added = time.monotonic()
        leecher = swarm.start_leecher(0)
        before = leecher.process.received_bytes() if not lab.network.separate else 0
        leecher.process.wait_for(lambda: leecher.process.received_bytes() - before > STARTED_BYTES, timeout, 0.005)
        begun = time.monotonic()
        leecher.wait(timeout, 0.02)
        seconds = time.monotonic() - begun
        gib = (mib * MIB - STARTED_BYTES) / (1 << 30)
        figures = {
            "gib_s": gib / seconds, "start_s": begun - added,
            "leecher_cpu_s_gib": leecher.process.cpu_s() * 1024 / mib,
            "seeder_cpu_s_gib": (swarm.seeder.process.cpu_s() - seeder_cpu_s) * 1024 / mib,
            "leecher_mib": leecher.process.peak_mib(), "seeder_mib": swarm.seeder.process.peak_mib(),
        }
        check(swarm.source, leecher.data)
        return figures


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
    with Swarm(lab, client, mib, SWARM_PIECE_LEN, leechers + 2, rate_mbit) as swarm:
        begun, done = time.monotonic(), {}
        started = [swarm.start_leecher(number) for number in range(leechers)]
        while len(done) < leechers:
            for number, leecher in enumerate(started):
                if number not in done and leecher.is_done():
                    done[number] = time.monotonic() - begun
            if time.monotonic() - begun > timeout:
                raise Failed(f"{len(done)} of {leechers} were complete after {timeout} s")
            time.sleep(0.1)
        ideal_s = mib * MIB * 8 / (rate_mbit * 1e6)
        times = [seconds / ideal_s for seconds in sorted(done.values())]
        cpu_s = sum(one.process.cpu_s() for one in [swarm.seeder, *started])
        for leecher in started:
            check(swarm.source, leecher.data)
        return {"first": times[0], "median": times[len(times) // 2], "last": times[-1],
                "cpu_s_gib": cpu_s * 1024 / (mib * leechers)}


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
    daemon = None
    try:
        daemon = clients.OurDaemon(host, None, os.path.join(run, "data"), os.path.join(run, "daemon"), True)
        process, before_s = daemon.process, daemon.process.cpu_s()
        # Private: nothing is to be published, and no tracker is there.
        command = [f"{lab.binaries}/torrent-seed", "--input", source, "--piece-length", str(PIECE_LEN), "--private",
                   "--config", daemon.config]
        seconds, cpu_s, _ = timed(host.inside(command), run)
        return {"s": seconds, "cpu_s": cpu_s + process.cpu_s() - before_s, "peak_mib": process.peak_mib()}
    finally:
        if daemon:
            daemon.stop()
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


def tracker_udp(lab, kind, load, seconds, peers):
    """Announces over UDP of peers that are known, with 64 under way and with 16; and what peers and nobody cost in memory. All
    peers are announced once before, so that every answer has 50 of them from the first second on, whichever tracker it is and
    however fast: what an announce costs depends on that more than on anything else. The tracker on one core, the load on another."""
    run, cores = lab.fresh(), sorted(os.sched_getaffinity(0))
    lab.network.up(1)
    one, cpu = kind(lab.network.host(1), os.path.join(run, "tracker"), cores[0]), cores[1 % len(cores)]
    try:
        time.sleep(1)
        figures = {"idle_mib": one.process.memory_mib()}
        figures["peer_bytes"] = trackers.fill(load, one, peers, cpu)
        trackers.udp_load(load, one, 1, 64, peers, cpu)
        figures.update(trackers.udp_load(load, one, max(seconds, 3), 64, peers, cpu))
        figures["full_p999_us"] = trackers.udp_load(load, one, seconds, 16, peers, cpu)["p999_us"]
        return figures
    finally:
        one.stop()
        lab.network.down()
        shutil.rmtree(run, ignore_errors=True)
