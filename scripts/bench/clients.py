"""How each client is started, told to seed or to leech one torrent, and seen to be done. Every one with its own defaults,
but for ports, folders, and all that would look for peers elsewhere than at the tracker."""
import http.client
import json
import os
import re
import sys
import time

from processes import Failed, Process, installed, output

HERE = os.path.dirname(os.path.abspath(__file__))


class Client:
    """One running client. `data` is the folder that holds, or receives, the payload."""

    name = "?"
    #: Refuses peers on 127.0.0.0/8.
    needs_addresses = False

    def __init__(self, host, torrent, data, work, seeds):
        self.host, self.torrent, self.data, self.work, self.seeds = host, torrent, data, work, seeds
        os.makedirs(work, exist_ok=True)
        os.makedirs(data, exist_ok=True)
        self.peer_port = host.free_port()
        self.process = None
        self.start()

    @classmethod
    def version(cls):
        """What is installed; None if it is not."""
        raise NotImplementedError

    def spawn(self, *args, env=None):
        self.process = Process(args, self.host, os.path.join(self.work, "log"), self.work, env)

    def control(self):
        """A port for asking it how far it is, and a connection there that is kept."""
        port = self.host.free_port()
        self.connection = self.host.http(port)
        return port

    def ask(self, method, path, body=None, headers=None):
        """Its answer as JSON; None while it does not answer."""
        try:
            self.connection.request(method, path, json.dumps(body) if body is not None else None,
                                    {"Content-Type": "application/json", **(headers or {})})
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            return None
        self.session = answer.getheader("X-Transmission-Session-Id")
        try:
            return json.loads(text)
        except ValueError:
            return None

    def start(self):
        raise NotImplementedError

    def is_done(self):
        """All of the payload is there."""
        raise NotImplementedError

    def wait(self, seconds, step=0.05):
        self.process.wait_for(self.is_done, seconds, step)

    def stop(self):
        if self.process:
            self.process.stop()


class OurDaemon(Client):
    """The daemon without a torrent."""

    name = "ours"
    binaries = ""

    @classmethod
    def version(cls):
        return "this build"

    def start(self):
        port = self.control()
        self.config = os.path.join(self.work, "config.ini")
        with open(self.config, "w") as file:
            file.write(f"[peer]\nDOWNLOAD_DIR = {self.data}\nTORRENT_DIR = {self.work}/torrents\nSTATE_DIR = {self.work}/state\n"
                       f"PORT = {port}\nPEER_PORT = {self.peer_port}\n")
        self.spawn(f"{self.binaries}/torrent-daemon", "--config", self.config)
        self.process.wait_for(lambda: "ready" in self.process.log(), 10)


class Ours(OurDaemon):
    """The daemon, with the torrent added."""

    def start(self):
        super().start()
        answer = self.ask("POST", "/leech", {"torrent_path": self.torrent, "output": self.data})
        if not answer or "error" in answer and answer["error"]:
            raise Failed(f"torrent-daemon does not take the torrent: {answer}")

    def is_done(self):
        status = self.ask("GET", "/status")
        torrents = status["torrents"] if status else []
        return bool(torrents) and all(torrent["state"] == "seeding" for torrent in torrents)


class Libtorrent(Client):
    name = "libtorrent"
    python = sys.executable

    @classmethod
    def version(cls):
        found = output(cls.python, "-c", "import libtorrent; print(libtorrent.version)") or ""
        return found.strip() if re.fullmatch(r"[\d.]+\s*", found) else None

    def start(self):
        self.spawn(self.python, f"{HERE}/lt_client.py", self.torrent, self.data, self.host.address, str(self.peer_port),
                   "seed" if self.seeds else "leech")

    def is_done(self):
        return "DONE" in self.process.log()


class Aria2(Client):
    name = "aria2"

    @classmethod
    def version(cls):
        found = re.search(r"aria2 version (\S+)", output("aria2c", "--version") or "")
        return found and found.group(1)

    def start(self):
        self.spawn("aria2c", "--no-conf", "--dir", self.data, "--seed-ratio=0.0", "--enable-dht=false", "--enable-dht6=false",
                   "--enable-peer-exchange=false", "--bt-enable-lpd=false", f"--listen-port={self.peer_port}",
                   "--file-allocation=none", "--summary-interval=0", "--allow-overwrite=true", "--check-integrity=" + str(self.seeds).lower(),
                   f"--bt-external-ip={self.host.address}", "--enable-rpc", f"--rpc-listen-port={self.control()}", self.torrent)

    def is_done(self):
        keys = ["completedLength", "totalLength"]
        answer = self.ask("POST", "/jsonrpc", {"jsonrpc": "2.0", "id": "1", "method": "aria2.tellActive", "params": [keys]})
        active = answer.get("result") if answer else None
        return bool(active) and all(one["completedLength"] == one["totalLength"] != "0" for one in active)


class Rqbit(Client):
    name = "rqbit"
    program = "rqbit"

    @classmethod
    def version(cls):
        cls.program = installed("rqbit")
        found = re.search(r"rqbit (\S+)", output(cls.program, "--version") or "") if cls.program else None
        return found and found.group(1)

    def start(self):
        folders = {name: self.work for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
        self.spawn(self.program, "--disable-dht", "--disable-upnp-port-forward", "--listen-port", str(self.peer_port),
                   "--http-api-listen-addr", f"127.0.0.1:{self.control()}",
                   "download", "-o", self.data, "--overwrite", self.torrent, env=folders)

    def is_done(self):
        answer = self.ask("GET", "/torrents/0/stats/v1")
        return bool(answer) and answer.get("finished") is True


class Transmission(Client):
    name = "transmission"
    needs_addresses = True

    @classmethod
    def version(cls):
        found = re.search(r"transmission-daemon (\S+)", output("transmission-daemon", "--version") or "")
        return found and found.group(1)

    def start(self):
        settings = {
            "download-dir": self.data, "dht-enabled": False, "lpd-enabled": False, "utp-enabled": False,
            "port-forwarding-enabled": False, "peer-port": self.peer_port, "rpc-port": self.control(),
            "rpc-authentication-required": False, "rpc-bind-address": "127.0.0.1", "ratio-limit-enabled": False,
            "bind-address-ipv4": self.host.address,
        }
        with open(os.path.join(self.work, "settings.json"), "w") as file:
            json.dump(settings, file)
        self.session = None
        self.spawn("transmission-daemon", "--foreground", "--config-dir", self.work, "--no-portmap")
        self.process.wait_for(lambda: self.call("session-get") is not None, 20, 0.1)
        self.call("torrent-add", {"filename": self.torrent, "download-dir": self.data})

    def call(self, method, arguments=None):
        # The first answer is a refusal with the number of the session in it.
        answer = self.ask("POST", "/transmission/rpc", {"method": method, "arguments": arguments or {}},
                          {"X-Transmission-Session-Id": self.known} if getattr(self, "known", None) else None)
        if self.session:
            self.known = self.session
        return answer["arguments"] if answer and answer.get("result") == "success" else None

    def is_done(self):
        answer = self.call("torrent-get", {"fields": ["leftUntilDone", "metadataPercentComplete", "status"]})
        torrents = answer["torrents"] if answer else []
        # 6: seeding.
        return bool(torrents) and all(one["leftUntilDone"] == 0 and one["status"] == 6 for one in torrents)


class Floor(Client):
    """No BitTorrent: sendfile on one side; read, SHA-1 and write on the other. `peer` is the side that sends."""

    name = "floor"
    program = ""
    peer = None

    @classmethod
    def version(cls):
        return "no BitTorrent" if os.access(cls.program, os.X_OK) else None

    def start(self):
        if self.seeds:
            Floor.peer = f"{self.host.address}:{self.peer_port}"
            payload = os.path.join(self.data, os.listdir(self.data)[0])
            self.spawn(self.program, "send", payload, Floor.peer)
            self.process.wait_for(lambda: "ready" in self.process.log(), 10)
        else:
            self.spawn(self.program, "receive", Floor.peer, os.path.join(self.data, "payload"), str(1 << 20))

    def is_done(self):
        return "done" in self.process.log() or self.seeds and "ready" in self.process.log()


ALL = [Floor, Ours, Libtorrent, Aria2, Rqbit, Transmission]


def wait_for_seeder(client):
    """Until it has the payload checked and, for which nothing can be asked, announced itself."""
    client.wait(60, 0.1)
    if not isinstance(client, Floor):
        time.sleep(1.5)
