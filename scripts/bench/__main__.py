"""The main figures, measured here: see --help. Started by scripts/bench.sh, which builds the programs before."""
import argparse
import datetime
import os
import shutil
import signal
import sys
import tempfile

import machine
import network
import plot
import sections
import table
from measure import Lab
from processes import Failed, stop_all
from results import Results

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"

DESCRIPTION = """\
Measures this project and the BitTorrent programs that are installed beside it (aria2c, transmission-daemon, rqbit, the
Python bindings of libtorrent, mktorrent, transmission-create, imdl, opentracker, aquatic_http, aquatic_udp), one after
the other and in turns, each with its own defaults. Prints a table for each section, and writes results.json and
results.svg.

  one-to-one  throughput, processor time and memory of one seeder and one leecher; floor: the same without BitTorrent
  create      making a torrent of a file in the page cache
  swarm       one seeder and eight leechers, everybody's upload 20 Mbit/s
  tracker     announces per second over HTTP
  tracker-udp announces per second over UDP, memory when idle and for each peer

Hosts are network namespaces of the script's own: nothing leaves the machine, and it works without root where the system
lets users make them. Where it does not, everything runs on loopback, without the swarm and Transmission. Run nothing
else meanwhile."""


def arguments():
    parser = argparse.ArgumentParser(prog="bench.sh", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="TORRENT_BIN=FOLDER uses programs that are built already (and FOLDER/examples).\n"
                                            "Exit code: 0 measured, 1 a run failed, 2 called wrongly.")
    keys = [section.key for section in sections.ALL]
    parser.add_argument("--only", type=names, metavar="SECTIONS", help=f"of {','.join(keys)}")
    parser.add_argument("--clients", type=names, metavar="NAMES", help="such as floor,ours,libtorrent,aria2,rqbit,transmission")
    parser.add_argument("--runs", type=positive, help="runs of each, of which the median counts (3)")
    parser.add_argument("--quick", action="store_true", help="one run of each, smaller payloads, no swarm unless asked for")
    parser.add_argument("--append", action="store_true", help="add to the runs made before with the same settings and build")
    parser.add_argument("--size-mib", type=positive, help="payload of one-to-one (1024)")
    parser.add_argument("--create-mib", type=positive, help="payload of create (2048)")
    parser.add_argument("--seconds", type=positive, help="of load on each tracker (5)")
    parser.add_argument("--dir", help="where payloads go: a folder in memory if possible (/dev/shm, else the temporary folder)")
    parser.add_argument("--out", default=os.path.join(TOP, "target", "bench"), help="where results go (target/bench)")
    parser.add_argument("--report", action="store_true", help="measure nothing, print what was measured before")
    parser.add_argument("--update-readme", action="store_true", help="also put the tables into README.md")
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--loopback", action="store_true", help="no network namespaces")
    options = parser.parse_args()
    if unknown := set(options.only or []) - set(keys):
        parser.error(f"--only knows {', '.join(keys)}: not {', '.join(sorted(unknown))}")
    quick = options.quick
    options.only = options.only or [key for key in keys if not quick or key != "swarm"]
    options.runs = options.runs or (1 if quick else 3)
    options.size_mib = options.size_mib or (512 if quick else 1024)
    options.create_mib = options.create_mib or (512 if quick else 2048)
    options.seconds = options.seconds or (2 if quick else 5)
    return options


def names(text):
    return [name for name in text.split(",") if name]


def positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return int(text)


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def folder(options):
    """An own folder for payloads and runs, in memory if there is room."""
    need = 2 * options.size_mib + options.create_mib + 512
    places = [options.dir] if options.dir else ["/dev/shm", tempfile.gettempdir()]
    for place in places:
        if os.path.isdir(place) and os.access(place, os.W_OK) and shutil.disk_usage(place).free >> 20 > need:
            return tempfile.mkdtemp(prefix="torrent-bench-", dir=place)
    sys.exit(f"bench.sh: {need} MiB are needed in {' or '.join(places)}: give another place with --dir, or smaller sizes")


def minutes(seconds):
    return f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} seconds"


def measure(options, results, lab):
    """Everything that was asked for, in turns: so that what changes while it runs changes for all. How many runs failed."""
    build = machine.build(TOP, f"{lab.binaries}/torrent-daemon")
    chosen = [section(lab, options) for section in sections.ALL if section.key in options.only]
    total_s = sum(section.estimate_s(name) for section in chosen for name, _, _ in section.rows) * options.runs
    failed = 0
    say(f"This takes about {minutes(total_s)}. Payloads are in {lab.folder}; hosts are {lab.network.name}.")
    for section in chosen:
        for note in section.skipped:
            say(f"{section.key:11} {note}")
        results.begin(section, build, datetime.date.today().isoformat(), options.append)
        for run in range(options.runs):
            for name, _, make in section.rows:
                failed += not one_run(section.key, name, run, options.runs, results, make)
    return failed


def one_run(key, name, run, runs, results, make):
    """Makes a run, says what came of it and keeps that. Whether it went well."""
    sys.stderr.write(f"{key:11} {name:13} {run + 1}/{runs}  ")
    sys.stderr.flush()
    others = machine.Others()
    try:
        figures = make()
    except (Failed, OSError) as error:
        say(f"failed: {error}")
        results.add(key, name, failure=str(error))
        return False
    else:
        share = others.share()
        disturbed = f"  (others used {share:.0%} of the processor)" if share > table.DISTURBED else ""
        say("  ".join(f"{what} {value:,.2f}" for what, value in list(figures.items())[:4]) + disturbed)
        results.add(key, name, {**figures, "others": share})
        return True


def report(results, host):
    parts = [f"Measured on {host}.\n"]
    for section in sections.ALL:
        if found := results.section(section.key):
            parts.append(table.markdown(section.key, found))
    return "\n".join(parts)


def update_readme(text):
    path = os.path.join(TOP, "README.md")
    with open(path) as file:
        readme = file.read()
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        sys.exit(f"bench.sh: README.md lacks the lines {BEGIN.strip()} and {END.strip()}")
    head, tail = readme.split(BEGIN)[0], readme.split(END)[1]
    with open(path, "w") as file:
        file.write(f"{head}{BEGIN}{text}{END}{tail}")
    say("README.md holds these tables now")


def main():
    options = arguments()
    if options.check:
        return
    # Also where a shell has it ignored, as for what runs in its background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    host = machine.describe()
    os.makedirs(options.out, exist_ok=True)
    results = Results(os.path.join(options.out, "results.json"), host)
    failed = 0
    if not options.report:
        lab = None
        try:
            separate = os.environ.get("BENCH_NETWORK") == "namespaces"
            lab = Lab(network.Namespaces() if separate else network.Loopback(), folder(options), os.environ["TORRENT_BIN"])
            sections.use_programs(lab.binaries, [os.path.join(TOP, "target", "ci", "python")])
            failed = measure(options, results, lab)
        except KeyboardInterrupt:
            say("\nInterrupted. What was measured is kept.")
            sys.exit(130)
        finally:
            stop_all()
            if lab:
                shutil.rmtree(lab.folder, ignore_errors=True)
    text = report(results, machine.sentence(host))
    print(text)
    if picture := plot.svg(results, machine.sentence(host)):
        path = os.path.join(options.out, "results.svg")
        with open(path, "w") as file:
            file.write(picture)
        say(f"{results.path}\n{path}")
    if options.update_readme:
        update_readme(text)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
