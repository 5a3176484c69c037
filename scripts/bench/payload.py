"""Payloads and torrent files, made here so that nothing else need be installed for it."""
import hashlib
import os
import subprocess
import sys

MIB = 1 << 20


def make(path, mib):
    """A file of bytes that do not compress."""
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(os.urandom(MIB))
    return path


def torrent(payload, announce, path, piece_len):
    """A torrent of one file (BEP 3)."""
    hashes = b""
    with open(payload, "rb") as file:
        while piece := file.read(piece_len):
            hashes += hashlib.sha1(piece).digest()
    info = {"length": os.path.getsize(payload), "name": os.path.basename(payload),
            "piece length": piece_len, "pieces": hashes}
    with open(path, "wb") as file:
        file.write(bencode({"announce": announce, "info": info}))
    return path


def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    entries = sorted((key.encode(), entry) for key, entry in value.items())
    return b"d" + b"".join(bencode(key) + bencode(entry) for key, entry in entries) + b"e"


def same(a, b):
    """Whether two files have the same content."""
    if os.path.getsize(a) != os.path.getsize(b):
        return False
    with open(a, "rb") as left, open(b, "rb") as right:
        while part := left.read(4 * MIB):
            if part != right.read(4 * MIB):
                return False
    return True


def warm(mib):
    """Touches and frees memory. Virtual machines give free memory back to their host within seconds, and a page that has
    to come from there again costs more than what is measured."""
    with open("/proc/meminfo") as file:
        available = next(int(line.split()[1]) // 1024 for line in file if line.startswith("MemAvailable"))
    touch = f"b = bytearray({min(mib, available // 2)} << 20)\nfor i in range(0, len(b), 4096): b[i] = 1"
    subprocess.run([sys.executable, "-c", touch], check=False)
