"""Seeds or leeches one torrent with libtorrent's Python bindings until it is told to stop (SIGTERM).

usage: lt_client.py seed|leech TORRENT FOLDER ADDRESS PORT

Prints "complete" on a line of its own when it has everything.
"""
import sys
import time

import libtorrent


def main(role, torrent, folder, address, port):
    # Peers come from the tracker alone, so that the test is of the tracker too.
    session = libtorrent.session({
        "listen_interfaces": f"{address}:{port}",
        "enable_dht": False,
        "enable_lsd": False,
        "enable_natpmp": False,
        "enable_upnp": False,
        # Our daemon speaks TCP only.
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        "alert_mask": libtorrent.alert.category_t.error_notification
        | libtorrent.alert.category_t.tracker_notification
        | libtorrent.alert.category_t.connect_notification,
    })
    wanted = libtorrent.add_torrent_params()
    wanted.ti = libtorrent.torrent_info(torrent)
    wanted.save_path = folder
    wanted.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
    handle = session.add_torrent(wanted)
    said = False
    while True:
        for alert in session.pop_alerts():
            print(alert.message(), file=sys.stderr, flush=True)
        if not said and handle.status().is_seeding:
            said = True
            print("complete", flush=True)
        time.sleep(0.05)


if __name__ == "__main__":
    if len(sys.argv) != 6 or sys.argv[1] not in ("seed", "leech"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
