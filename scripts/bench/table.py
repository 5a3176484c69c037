"""The figures as Markdown: for a terminal, and for the README."""

DASH = "–"
#: Of the processor's time: when others use more, a run says little.
DISTURBED = 0.1


class Column:
    """A heading, and a cell from (median of the row, rows by name)."""

    def __init__(self, heading, cell):
        self.heading, self.cell = heading, cell


def figure(key, digits):
    return lambda row, _: f"{row[key]:,.{digits}f}"


def ratio(key, to):
    """Of another row's figure; the row itself has 1."""
    return lambda row, rows: f"{row[key] / rows[to][key]:.2f} ×" if rows.get(to) and rows[to][key] else DASH


def answered(mode, cell):
    """A dash where connections ended without an answer: opentracker keeps none alive, whatever it is asked."""
    return lambda row, rows: cell(row, rows) if row[f"{mode}_failures"] <= row[f"{mode}_per_s"] / 100 else DASH


def milliseconds(key):
    return lambda row, _: f"{row[key] / 1000:.1f}"


TABLES = {
    "one-to-one": ("One seeder, one leecher, {mib} MiB, 1 MiB pieces ({network}). Seconds of processor time are per GiB", "client", [
        Column("GiB/s", figure("gib_s", 2)), Column("of floor", ratio("gib_s", "floor")), Column("of ours", ratio("gib_s", "ours")),
        Column("leecher CPU s", figure("leecher_cpu_s_gib", 2)), Column("of floor", ratio("leecher_cpu_s_gib", "floor")),
        Column("seeder CPU s", figure("seeder_cpu_s_gib", 2)), Column("of floor", ratio("seeder_cpu_s_gib", "floor")),
        Column("leecher MiB", figure("leecher_mib", 0)), Column("seeder MiB", figure("seeder_mib", 0)),
        Column("begins after s", figure("start_s", 2)),
    ]),
    "create": ("A torrent of {mib} MiB in the page cache, 1 MiB pieces; `floor` hashes on one core, `ours` seeds it at once", "program", [
        Column("s", figure("s", 2)), Column("of ours", ratio("s", "ours")), Column("CPU s", figure("cpu_s", 2)),
        Column("of ours", ratio("cpu_s", "ours")), Column("peak MiB", figure("peak_mib", 0)),
    ]),
    "swarm": ("One seeder and {leechers} leechers, each upload {rate_mbit} Mbit/s, {mib} MiB. Complete after, in multiples of what one copy "
              "takes the seeder", "client", [
        Column("first", figure("first", 2)), Column("median", figure("median", 2)), Column("last", figure("last", 2)),
        Column("last, of ours", ratio("last", "ours")), Column("CPU s per GiB delivered", figure("cpu_s_gib", 1)),
    ]),
    "tracker": ("Announces over HTTP: the tracker on one core, {connections} connections from another. Where two are "
                "equally fast the load is the limit, and processor time for each announce tells them apart", "tracker", [
        Column("per s, kept alive", answered("keep-alive", figure("keep-alive_per_s", 0))),
        Column("CPU µs", answered("keep-alive", figure("keep-alive_cpu_us", 1))),
        Column("p99 ms", answered("keep-alive", milliseconds("keep-alive_p99_us"))),
        Column("per s, new connections", figure("close_per_s", 0)), Column("of ours", ratio("close_per_s", "ours")),
        Column("CPU µs", figure("close_cpu_us", 1)), Column("p99 ms", milliseconds("close_p99_us")),
    ]),
    "tracker-udp": ("Announces over UDP of {peers:,} known peers in 1,000 torrents, 50 in each answer: the tracker on one core, 64 under "
                    "way from another; p99.9 with 16 under way", "tracker", [
        Column("per s", figure("per_s", 0)), Column("of ours", ratio("per_s", "ours")), Column("CPU µs", figure("cpu_us", 2)),
        Column("idle MiB", figure("idle_mib", 1)), Column("bytes per peer", figure("peer_bytes", 0)),
        Column("p99.9 ms, full", milliseconds("full_p999_us")),
    ]),
}


def markdown(key, section):
    """One section: what it is, a table, and what was left out."""
    title, first, columns = TABLES[key]
    medians = {row["name"]: row["median"] for row in section["rows"]}
    lines = [[first] + [column.heading for column in columns]]
    notes = []
    for row in section["rows"]:
        name = f"**{row['name']}**" if row["name"] == "ours" else row["name"]
        if row["version"] not in ("this build", "no BitTorrent", "installed"):
            name += f" {row['version']}"
        cells = [column.cell(row["median"], medians) for column in columns] if row["median"] else [DASH] * len(columns)
        lines.append([name] + cells)
        if row["failures"]:
            times = len(row["failures"])
            notes.append(f"{row['name']}: {times} of {times + len(row['runs'])} runs failed")
    shares = [run.get("others", 0) for row in section["rows"] for run in row["runs"]]
    if disturbed := sum(share > DISTURBED for share in shares):
        notes.append(f"Disturbed: in {disturbed} of {len(shares)} runs other programs used more than {DISTURBED:.0%} of the processor")
    notes += section["skipped"]
    runs = sorted({len(row["runs"]) for row in section["rows"] if row["runs"]}) or [0]
    count = f"{runs[0]}–{runs[-1]}" if len(runs) > 1 else str(runs[0])
    source = f"{count} run{'s' * (count != '1')}, {section['date']}, version {section['settings']['build']}"
    text = f"{title.format(**section['settings'])} ({source}):\n\n" + (align(lines) if section["rows"] else "Not measured.\n")
    return text + "".join(f"\nLeft out: {note}.\n" if note in section["skipped"] else f"\n{note}.\n" for note in notes)


def align(lines):
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    out = []
    for number, line in enumerate(lines):
        cells = [cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(line, widths))]
        out.append("| " + " | ".join(cells) + " |")
        if number == 0:
            out.append("|" + "|".join("-" * (width + 2) if at == 0 else "-" * (width + 1) + ":" for at, width in enumerate(widths)) + "|")
    return "\n".join(out) + "\n"
