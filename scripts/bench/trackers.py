"""How each tracker is started, and how many announces it answers."""
import os
import re
import time

from processes import Process, installed, output

#: Torrents that the load announces: the beginning of their info-hashes, and how many.
TORRENTS = (b"BENCHMARK---------".hex(), 1000)


class Tracker:
    name = "?"

    def __init__(self, host, work, cpu=None):
        self.host, self.work, self.cpu = host, work, cpu
        os.makedirs(work, exist_ok=True)
        self.port = host.free_port()
        self.process = Process(self.command(), host, os.path.join(work, "log"), work, cpu=cpu)
        self.process.wait_for(self.answers, 10)
        self.url = f"http://{host.address}:{self.port}/announce"

    def answers(self):
        try:
            self.host.connect(self.host.address, self.port).close()
        except OSError:
            return False
        return True

    def stop(self):
        self.process.stop()


class Ours(Tracker):
    name = "ours"
    binaries = ""

    @classmethod
    def version(cls):
        return "this build"

    def command(self):
        config = os.path.join(self.work, "config.ini")
        with open(config, "w") as file:
            file.write(f"[tracker]\nTORRENT_DIR = {self.work}/torrents\nPEER_FILE = {self.work}/peers\nTORRENT_FILE = {self.work}/catalogue\n")
        return [f"{self.binaries}/torrent-tracker", "--config", config, "--host", self.host.address, "--port", str(self.port)]


class OpenTracker(Tracker):
    name = "opentracker"

    @classmethod
    def version(cls):
        return "installed" if installed("opentracker") else None

    def command(self):
        # As packaged it answers for listed torrents alone. It changes its root to its folder, and its user.
        os.chmod(self.work, 0o755)
        with open(os.path.join(self.work, "list"), "w") as file:
            file.writelines(f"{TORRENTS[0]}{number:04x}\n" for number in range(TORRENTS[1]))
        return ["opentracker", "-i", self.host.address, "-p", str(self.port), "-P", str(self.port), "-w", "/list",
                "-u", "nobody", "-d", self.work]


class Aquatic(Tracker):
    name = "aquatic_http"
    program = "aquatic_http"

    @classmethod
    def version(cls):
        cls.program = installed("aquatic_http")
        return "installed" if cls.program else None

    def command(self):
        # The key of its address has changed from version to version.
        text = output(self.program, "-p") or ""
        text = re.sub(r"(?m)^(address|address_ipv4) = .*$", rf'\1 = "{self.host.address}:{self.port}"', text)
        text = re.sub(r"(?m)^use_ipv6 = .*$", "use_ipv6 = false", text)
        config = os.path.join(self.work, "config.toml")
        with open(config, "w") as file:
            file.write(text)
        return [self.program, "-c", config]


class AquaticUdp(Tracker):
    name = "aquatic_udp"
    program = "aquatic_udp"

    @classmethod
    def version(cls):
        cls.program = installed("aquatic_udp")
        return "installed" if cls.program else None

    def command(self):
        text = output(self.program, "-p") or ""
        text = re.sub(r"(?m)^(address|address_ipv4) = .*$", rf'\1 = "{self.host.address}:{self.port}"', text)
        text = re.sub(r"(?m)^use_ipv6 = .*$", "use_ipv6 = false", text)
        # As many as the others give.
        text = re.sub(r"(?m)^max_response_peers = .*$", "max_response_peers = 50", text)
        config = os.path.join(self.work, "config.toml")
        with open(config, "w") as file:
            file.write(text)
        return [self.program, "-c", config]

    def answers(self):
        # Nothing listens for connections.
        time.sleep(0.5)
        return self.process.is_alive()


ALL = [Ours, OpenTracker, Aquatic]
UDP = [Ours, OpenTracker, AquaticUdp]


def ask(program, tracker, patience, cpu, *arguments):
    """Runs a load to its end: what it counted, and the seconds of processor time that the tracker took."""
    begin = tracker.process.cpu_s()
    log = os.path.join(tracker.work, "load-" + "-".join(arguments))
    asker = Process([program, f"{tracker.host.address}:{tracker.port}", *arguments], tracker.host, log, tracker.work, cpu=cpu)
    try:
        asker.wait_for(lambda: "answers=" in asker.log(), patience, 0.1)
    finally:
        asker.stop()
    spent = tracker.process.cpu_s() - begin
    found = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", asker.log())}
    time.sleep(0.2)
    return found, spent


def load(program, tracker, seconds, connections, mode, cpu):
    """Announces for so long. Per second, with what latency in µs, and processor time of the tracker for each in µs."""
    found, spent = ask(program, tracker, seconds + 20, cpu, str(seconds), str(connections), mode)
    answers = max(found["answers"], 1)
    return {"per_s": found["answers"] / seconds, "cpu_us": spent / answers * 1e6, "p50_us": found["p50_us"],
            "p99_us": found["p99_us"], "refusals": found["refusals"], "failures": found["failures"]}


def udp_load(program, tracker, seconds, window, peers, cpu):
    """The same over UDP, with so many announces under way, of peers that the tracker has had from `fill`."""
    found, spent = ask(program, tracker, seconds + 20, cpu, str(seconds), str(window), str(peers))
    answers = max(found["answers"], 1)
    return {"per_s": found["answers"] / seconds, "cpu_us": spent / answers * 1e6, "p99_us": found["p99_us"],
            "p999_us": found["p999_us"], "failures": found["failures"], "lost": found["lost"]}


def fill(program, tracker, peers, cpu):
    """Announces so many peers, each once. Bytes of memory that the tracker then has more for each."""
    before = tracker.process.memory_mib()
    found, _ = ask(program, tracker, 150, cpu, "fill", str(peers))
    return (tracker.process.memory_mib() - before) * (1 << 20) / max(found["answers"], 1)
