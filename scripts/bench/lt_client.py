"""A client made of libtorrent's Python bindings with its own defaults: seeds or leeches one torrent, prints DONE."""
import sys
import time

import libtorrent as lt

torrent, folder, address, port, role = sys.argv[1:]
session = lt.session({
    "listen_interfaces": f"{address}:{port}",
    # Nothing but the tracker, and TCP as for everybody else.
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True,
})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(torrent)
params.save_path = folder
params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
if role == "seed":
    params.flags |= lt.torrent_flags.seed_mode
handle = session.add_torrent(params)
while not handle.status().is_seeding:
    time.sleep(0.05)
print("DONE", flush=True)
while True:
    time.sleep(60)
