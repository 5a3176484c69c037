"""Makes a torrent with libtorrent's Python bindings, with its own defaults."""
import os
import sys

import libtorrent as lt

payload, out, piece_len = sys.argv[1:]
storage = lt.file_storage()
lt.add_files(storage, payload)
made = lt.create_torrent(storage, int(piece_len), lt.create_torrent.v1_only)
made.add_tracker("http://127.0.0.1:9/announce")
lt.set_piece_hashes(made, os.path.dirname(payload))
with open(out, "wb") as file:
    file.write(lt.bencode(made.generate()))
