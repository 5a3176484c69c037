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


ALL = [Ours, OpenTracker, Aquatic]


def load(program, tracker, seconds, connections, mode, cpu):
    """Announces for so long. Per second, with what latency in µs, and processor time of the tracker for each in µs."""
    work = tracker.work
    begin = tracker.process.cpu_s()
    log = os.path.join(work, f"load-{mode}")
    asker = Process([program, f"{tracker.host.address}:{tracker.port}", str(seconds), str(connections), mode],
                    tracker.host, log, work, cpu=cpu)
    try:
        asker.wait_for(lambda: "answers=" in asker.log(), seconds + 20, 0.1)
    finally:
        asker.stop()
    spent = tracker.process.cpu_s() - begin
    found = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", asker.log())}
    time.sleep(0.2)
    answers = max(found["answers"], 1)
    return {"per_s": found["answers"] / seconds, "cpu_us": spent / answers * 1e6, "p50_us": found["p50_us"],
            "p99_us": found["p99_us"], "refusals": found["refusals"], "failures": found["failures"]}
