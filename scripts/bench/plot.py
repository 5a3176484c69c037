"""The figures as a picture (SVG): one panel of bars for each question, two beside each other."""
from xml.sax.saxutils import escape

WIDTH, MARGIN, GAP = 1000, 32, 36
PANEL = (WIDTH - 2 * MARGIN - GAP) / 2
NAME, VALUE = 104, 86
ROW, BAR, HEAD = 26, 16, 52
INK, FAINT, PAPER = "#1f2933", "#67727e", "#ffffff"
OURS, OTHER, FLOOR, SECOND = "#1d6fa5", "#b4bec9", "#e3b565", 0.45


class Panel:
    """`bars`: for each row of a section its name and the values from left to right, each beginning where the last ended."""

    def __init__(self, section, title, better, values, digits, legend=None):
        self.section, self.title, self.better, self.values = section, title, better, values
        self.digits, self.legend = digits, legend

    def bars(self, results):
        section = results.section(self.section)
        rows = section["rows"] if section else []
        return [(row["name"], self.values(row["median"])) for row in rows if row["median"]]


PANELS = [
    Panel("one-to-one", "One to one: GiB/s", "longer is better", lambda row: [row["gib_s"]], 2),
    Panel("one-to-one", "One to one: processor seconds per GiB", "shorter is better",
          lambda row: [row["leecher_cpu_s_gib"], row["seeder_cpu_s_gib"]], 2, ("leecher", "seeder")),
    Panel("one-to-one", "One to one: peak memory in MiB", "shorter is better",
          lambda row: [row["leecher_mib"], row["seeder_mib"]], 0, ("leecher", "seeder")),
    Panel("swarm", "One to eight, in multiples of one copy's time", "shorter is better",
          lambda row: [row["first"], row["last"] - row["first"]], 2, ("first", "last complete")),
    Panel("create", "Making a torrent: seconds", "shorter is better", lambda row: [row["s"]], 2),
    Panel("tracker", "Tracker: announces per second, new connections", "longer is better", lambda row: [row["close_per_s"]], 0),
]


def svg(results, machine):
    """The whole picture; None if there is nothing to show."""
    panels = [(panel, bars) for panel in PANELS if (bars := panel.bars(results))]
    if not panels:
        return None
    out, top = [], 84
    for at in range(0, len(panels), 2):
        pair = panels[at:at + 2]
        for column, (panel, bars) in enumerate(pair):
            draw(out, panel, bars, MARGIN + column * (PANEL + GAP), top)
        top += HEAD + ROW * max(len(bars) for _, bars in pair) + 28
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" '
        'font-family="system-ui, Helvetica, Arial, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{top}" fill="{PAPER}"/>',
        text(MARGIN, 40, "torrent beside other BitTorrent programs", INK, size=20, weight=600),
        text(MARGIN, 62, f"Medians. {machine}", FAINT),
    ]
    return "\n".join(head + out + ["</svg>"]) + "\n"


def draw(out, panel, bars, left, top):
    out.append(text(left, top + 16, panel.title, INK, size=15, weight=600))
    out.append(text(left, top + 35, panel.better, FAINT, size=12))
    if panel.legend:
        legend(out, panel.legend, left + PANEL, top + 35)
    widest = max(sum(values) for _, values in bars) or 1
    scale = (PANEL - NAME - VALUE) / widest
    for row, (name, values) in enumerate(bars):
        y, x = top + HEAD + row * ROW, left + NAME
        colour = {"ours": OURS, "floor": FLOOR}.get(name, OTHER)
        weight = 600 if name == "ours" else 400
        out.append(text(left + NAME - 10, y + BAR - 3, name, INK, anchor="end", weight=weight))
        for part, value in enumerate(values):
            width = max(value * scale, 0)
            opacity = f' fill-opacity="{SECOND}"' if part else ""
            out.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"{opacity}/>')
            x += width
        out.append(text(x + 7, y + BAR - 3, label(panel, values), INK, weight=weight))


def label(panel, values):
    if not panel.legend:
        return f"{values[0]:,.{panel.digits}f}"
    # Where the second is what is added to the first, its end is what counts.
    second = sum(values) if "first" in panel.legend else values[1]
    return f"{values[0]:,.{panel.digits}f} · {second:,.{panel.digits}f}"


def legend(out, names, right, y):
    for part, name in reversed(list(enumerate(names))):
        right -= 7 * len(name) + 4
        out.append(text(right, y, name, FAINT, size=12))
        opacity = f' fill-opacity="{SECOND}"' if part else ""
        out.append(f'<rect x="{right - 15}" y="{y - 10}" width="11" height="11" fill="{OURS}"{opacity}/>')
        right -= 26


def text(x, y, words, fill, size=13, anchor="start", weight=400):
    return (f'<text x="{x:.1f}" y="{y}" fill="{fill}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}">'
            f"{escape(words)}</text>")
