#!/usr/bin/env python3
"""A picture (SVG) of what the processes of a soak used: plot.py soak.csv soak.svg

One panel each for memory, threads and descriptors; one line for each process."""
import csv
import sys
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN, LEGEND = 900, 210, 64, 120
COLOURS = ["#1d6fa5", "#e3b565", "#b5485d", "#4f8a5b", "#7a5ea8", "#67727e"]
PANELS = [("memory_kib", "MiB of memory", 1024), ("threads", "threads", 1), ("descriptors", "descriptors", 1)]


def read(path):
    """By process, its samples in order."""
    found = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["process"], []).append({key: float(row[key]) for key in row if key != "process"})
    return found


def panel(out, number, key, title, unit, processes):
    top = 24 + number * (HEIGHT + 40)
    last = max(sample["seconds"] for samples in processes.values() for sample in samples) or 1
    most = max(sample[key] / unit for samples in processes.values() for sample in samples) or 1
    wide = WIDTH - MARGIN - LEGEND
    out.append(f'<text x="{MARGIN}" y="{top - 8}" font-weight="600">{escape(title)}</text>')
    out.append(f'<path d="M{MARGIN} {top}V{top + HEIGHT}H{MARGIN + wide}" fill="none" stroke="#b4bec9"/>')
    out.append(f'<text x="{MARGIN - 6}" y="{top + 10}" text-anchor="end">{most:.0f}</text>')
    out.append(f'<text x="{MARGIN - 6}" y="{top + HEIGHT}" text-anchor="end">0</text>')
    out.append(f'<text x="{MARGIN + wide}" y="{top + HEIGHT + 16}" text-anchor="end">{last:.0f} s</text>')
    for (name, samples), colour, row in zip(processes.items(), COLOURS, range(len(processes))):
        points = " ".join(
            f"{MARGIN + wide * sample['seconds'] / last:.1f},{top + HEIGHT * (1 - sample[key] / unit / most):.1f}"
            for sample in samples)
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        out.append(f'<text x="{MARGIN + wide + 12}" y="{top + 14 + 18 * row}" fill="{colour}">{escape(name)}</text>')


def main(source, target):
    processes = read(source)
    if not processes:
        sys.exit(f"{source}: no samples")
    height = 24 + len(PANELS) * (HEIGHT + 40)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
           'font-family="system-ui, Helvetica, Arial, sans-serif" font-size="12" fill="#1f2933">',
           f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>']
    for number, (key, title, unit) in enumerate(PANELS):
        panel(out, number, key, title, unit, processes)
    with open(target, "w", encoding="utf-8") as file:
        file.write("\n".join(out + ["</svg>"]) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
