"""A tracker for the browser to visit, and torrents to publish there."""

import hashlib
import pathlib
import shutil
import subprocess
import tempfile
import urllib.parse
import urllib.request


def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    pairs = sorted((key.encode(), each) for key, each in value.items())
    return b"d" + b"".join(bencode(key) + bencode(each) for key, each in pairs) + b"e"


def torrent(name, files, piece_length=1 << 18):
    """A torrent file and its info-hash. `files` are paths and sizes; their content is nobody's concern here."""
    total = sum(size for _, size in files)
    info = {"name": name, "piece length": piece_length, "pieces": b"\7" * 20 * -(-total // piece_length)}
    if len(files) == 1 and files[0][0] is None:
        info["length"] = files[0][1]
    else:
        info["files"] = [{"path": path.split("/"), "length": size} for path, size in files]
    return bencode({"info": info}), hashlib.sha1(bencode(info)).hexdigest()


class Tracker:
    def __init__(self, program, **settings):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tracker-"))
        lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
        (self.folder / "config.ini").write_text("[tracker]\nPORT = 0\n" + lines)
        self.process = subprocess.Popen(
            [program, "--config", self.folder / "config.ini"],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=(self.folder / "log").open("w"),
            text=True,
        )
        ready = self.process.stdout.readline()
        if not ready.startswith("ready http="):
            raise RuntimeError(f"the tracker did not start: {(self.folder / 'log').read_text()}")
        self.url = "http://" + ready.split("http=")[1].split()[0]

    def close(self):
        self.process.terminate()
        code = self.process.wait(30)
        self.process.stdout.close()
        shutil.rmtree(self.folder)
        if code != 0:
            raise AssertionError(f"the tracker ended with {code}")

    def get(self, path, **headers):
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def publish(self, torrent_file, name="", description=""):
        """As programs do it."""
        fields = {"torrent": torrent_file, "name": name.encode(), "description": description.encode()}
        body = b"".join(
            b'--XX\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (key.encode(), value)
            for key, value in fields.items()
        )
        headers = {"Content-Type": "multipart/form-data; boundary=XX"}
        request = urllib.request.Request(self.url + "/announce", body + b"--XX--\r\n", headers)
        urllib.request.urlopen(request, timeout=30).read()

    def join(self, info_hash, seeders, leechers):
        """Peers come, each at an address of its own."""
        for n in range(seeders + leechers):
            query = urllib.parse.urlencode({
                "info_hash": bytes.fromhex(info_hash), "peer_id": f"-XX0001-{n:012}", "port": 6881 + n,
                "left": 0 if n < seeders else 1, "ip": f"198.51.100.{n + 1}",
            })
            self.get("/announce?" + query)
