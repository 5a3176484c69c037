#!/usr/bin/env python3
"""The tracker's pages in a real browser, without scripts: a stranger's way through them, and what they look like.

    test_pages.py TRACKER FOLDER

TRACKER is the program; screenshots go into FOLDER. Needs chromium and chromedriver (on Debian: chromium-driver)."""

import http.server
import pathlib
import re
import shutil
import sys
import tempfile
import threading
import urllib.parse
import xml.etree.ElementTree

from tracker import Tracker, torrent
from webdriver import Browser, wait_for

TAB, ENTER = "\ue004", "\ue007"
NASTY = "<script>alert(1)</script> & \"quotes\" 'n' ]]> <b>bold</b> שלום {{ x }}"
LONG = "a-very-long-name-without-any-place-to-break-it-" * 5
WINDOWS = [(1280, 800, "light"), (1280, 800, "dark"), (360, 740, "light"), (360, 740, "dark")]
STYLE = pathlib.Path(__file__).parents[2] / "tracker/templates/style.css"


def check(condition, what):
    if not condition:
        raise AssertionError(what)


class Test:
    def __init__(self, program, out):
        self.out = out
        self.shots = 0
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pages-"))
        self.tracker = Tracker(program)
        self.browser = Browser(self.folder / "downloads")

    def close(self):
        self.browser.close()
        self.tracker.close()
        shutil.rmtree(self.folder)

    def visit(self, path):
        self.browser.open(self.tracker.url + path)

    def path(self):
        return self.browser.address().removeprefix(self.tracker.url)

    def look(self, name):
        """Takes pictures of the page, and checks that nothing sticks out of the window, nor is without a name."""
        self.shots += 1
        for width, height, scheme in WINDOWS:
            self.browser.window(width, height, scheme)
            taken = self.browser.content_width()
            check(taken <= width, f"{name} is {taken} pixels wide in a window of {width}")
            self.browser.screenshot(self.out / f"{self.shots:02}-{name}-{width}-{scheme}.png")
        self.browser.window(*WINDOWS[0])
        heard = self.browser.accessible()
        for role, said in heard:
            if role in ("link", "button", "textbox", "searchbox", "heading", "columnheader", "rowheader", "cell"):
                check(said.strip(), f"a {role} without a name on {name}")
        roles = [role for role, _ in heard]
        for landmark in ("banner", "main", "contentinfo", "navigation"):
            check(landmark in roles, f"{name} has no {landmark}")
        check(len(self.browser.all("h1")) == 1, f"{name} has one first heading")
        written = self.browser.console()
        check(not written, f"the console of {name} says {written}")

    def run(self):
        self.empty()
        self.upload()
        self.fill()
        self.search()
        self.entry()
        self.foreign()
        self.problems()
        self.keyboard()
        self.feed()
        self.schemes()

    def empty(self):
        self.visit("/")
        text = self.browser.one("main").text()
        check("Nothing is published yet" in text and self.tracker.url + "/announce" in text, text)
        self.look("empty")

    def upload(self):
        """Through the form, as a person does."""
        self.nasty, self.nasty_hash = torrent("nasty", [("folder/<i>name", 5 << 20), ("ünïcödé & co.txt", 1234)])
        file = self.folder / "some \"file\" ü.torrent"
        file.write_bytes(self.nasty)
        self.visit("/")
        self.browser.follow(self.browser.link("Publish").click)
        self.look("form")
        check(not self.browser.all("#token"), "no token is asked for where none is needed")
        wrong = self.folder / "wrong.torrent"
        wrong.write_bytes(b"this is none")
        self.browser.one("#torrent").write(str(wrong))
        self.browser.one("#name").write(NASTY)
        self.browser.one("#description").write("one\ntwo <u>three</u>")
        self.browser.follow(self.browser.one("main button").click)
        check("Nothing was published" in self.browser.one("[role=alert]").text(), "a reason")
        check(self.browser.one("#description").text().startswith("one\ntwo <u>"), "the form is filled again")
        # The console names the page that was answered with an error: that is no more than the status.
        check(all("status of 400" in line["message"] for line in self.browser.console()), "only the refusal")
        self.look("form-refused")
        long = self.folder / "long.torrent"
        long.write_bytes(bytes(12 << 20))
        self.browser.one("#torrent").write(str(long))
        self.browser.follow(self.browser.one("main button").click)
        check("over" in self.browser.one("[role=alert]").text(), "a file that is too long is refused in words")
        self.browser.console()
        self.visit("/upload")
        self.browser.one("#name").write(NASTY)
        self.browser.one("#description").write("one\ntwo <u>three</u>")
        self.browser.one("#torrent").write(str(file))
        self.browser.follow(self.browser.one("main button").click)
        check(self.path() == f"/torrent/{self.nasty_hash}?published", self.path())
        check(self.browser.one("h1").text() == NASTY, self.browser.one("h1").text())
        check(self.browser.one(".description").text() == "one\ntwo <u>three</u>", "the description")
        check(self.browser.title() == NASTY, self.browser.title())
        check("Published" in self.browser.one("[role=status]").text(), "a word about it")

    def fill(self):
        """Enough for several pages."""
        published = [
            ("debian-13.2.0-amd64-netinst.iso", [(None, 783 << 20)], 12, 3, "The small installation image.\nSHA-256 sums are inside."),
            ("Big Buck Bunny (4K, 60 fps)", [("bunny.mkv", 3 << 30), ("subtitles/de.srt", 40_000)], 5, 1, ""),
            ("nightly-build-2026-11-22", [("bin/server", 80 << 20), ("lib/core.so", 9 << 20)], 0, 2, "build artefacts"),
            (LONG, [(LONG, 1 << 20), ("x" * 200 + "/" + "y" * 200, 77)], 1, 0, LONG * 3),
        ]
        for n in range(60):
            self.tracker.publish(torrent(f"dataset part {n:02}", [(None, (n + 1) << 19)])[0])
        for name, files, seeders, leechers, description in published:
            file, info_hash = torrent(name[:200], files, 1 << 20)
            self.tracker.publish(file, name[:250], description)
            self.tracker.join(info_hash, seeders, leechers)
        self.debian = torrent("debian-13.2.0-amd64-netinst.iso", [(None, 783 << 20)], 1 << 20)

    def search(self):
        browser = self.browser
        self.visit("/")
        check(len(browser.all("tbody tr")) == 50, "rows of the first page")
        self.look("list")
        browser.follow(browser.link("Next").click)
        check(self.path() == "/?page=2" and len(browser.all("tbody tr")) == 15, self.path())
        check(browser.all("tbody tr")[-1].text().startswith(NASTY.split("\n")[0]), "the oldest is the last")
        self.look("list-end")
        browser.follow(browser.link("Previous").click)
        check(self.path() == "/", self.path())
        browser.follow(lambda: browser.one("#q").write("DATASET part" + ENTER))
        check(browser.one("#q").attribute("value") == "DATASET part", "the words stay in the field")
        names = [each.text() for each in browser.all("tbody th")]
        check(len(names) == 50 and names[0] == "dataset part 59", names)
        check("60 torrents, page 1 of 2" in browser.one("main").text(), "how many were found")
        browser.follow(browser.link("largest").click)
        check("sort=size" in self.path(), self.path())
        check(browser.all("tbody th")[0].text() == "dataset part 59", "the largest is the first")
        check(browser.one(".orders [aria-current]").text() == "largest", "the order is marked")
        browser.one("#q").clear()
        browser.follow(lambda: browser.one("#q").write("netinst" + ENTER))
        check(self.path() == "/?q=netinst&sort=size", "the order is kept")
        row = browser.one("tbody tr").text()
        for part in ("783 MiB", "12", "3", "just now"):
            check(part in row, f"{part} is not in {row}")
        self.visit("/?q=nothing+like+%3Cb%3Ethat")
        check("No torrent has all of these words: nothing like <b>that" in browser.one("main").text(), "nothing found")
        self.look("nothing-found")
        self.visit("/?q=a-very-long-name")
        self.look("long-name")

    def entry(self):
        browser = self.browser
        self.visit("/?q=netinst")
        browser.follow(browser.one("tbody th a").click)
        file, info_hash = self.debian
        check(self.path() == f"/torrent/{info_hash}", self.path())
        text = browser.one("main").text()
        for part in ("12 seeders", "3 leechers", "The small installation image.\nSHA-256", info_hash, "783 of 1 MiB"):
            check(part in text, f"{part} is not in {text}")
        magnet = urllib.parse.parse_qs(browser.link("Magnet link").attribute("href").removeprefix("magnet:?"))
        check(magnet["xt"] == [f"urn:btih:{info_hash}"] and magnet["dn"] == ["debian-13.2.0-amd64-netinst.iso"], magnet)
        udp = self.tracker.url.replace("http:", "udp:")
        check(magnet["tr"] == [self.tracker.url + "/announce", udp + "/announce"], magnet)
        self.look("torrent")
        browser.link("Download .torrent").click()
        saved = self.folder / "downloads" / f"{info_hash}.torrent"
        wait_for("the download", saved.exists)
        wait_for("all of it", lambda: saved.read_bytes() == file)
        self.visit(f"/torrent/{self.nasty_hash}")
        check("folder/_i_name" in browser.one(".files").text(), browser.one(".files").text())
        self.look("torrent-nasty")
        self.visit("/?q=a-very-long-name")
        browser.follow(browser.one("tbody th a").click)
        self.look("torrent-long")

    def foreign(self):
        """A page of another site sends our form."""
        page = (
            f'<form method=post enctype=multipart/form-data action="{self.tracker.url}/upload">'
            '<input name=torrent value=x><button>go</button></form>'
        ).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_):
                pass

        with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.browser.open(f"http://127.0.0.1:{server.server_port}/")
            self.browser.follow(self.browser.one("button").click)
            said = self.browser.one("[role=alert]").text()
            server.shutdown()
        check("of other sites" in said, said)
        self.browser.console()

    def problems(self):
        self.visit("/nothing/here")
        check("Nothing here" in self.browser.one("h1").text(), "a page for what is not there")
        self.browser.console()
        self.look("not-found")

    def keyboard(self):
        self.visit("/?q=netinst")
        self.browser.press(TAB)
        check(self.browser.active().text() == "Skip to content", "what the first tab reaches")
        self.browser.screenshot(self.out / "keyboard.png")
        seen = []
        for _ in range(30):
            self.browser.press(TAB)
            focused = self.browser.active()
            if focused.tag() == "body":
                break
            seen.append(focused.text() or focused.attribute("name"))
            check(focused.style("outline-style") != "none", f"{seen[-1]} shows no focus")
        for each in ("Publish", "q", "Search", "most seeders", "debian-13.2.0-amd64-netinst.iso", "magnet"):
            check(each in seen, f"{each} is not reached by tabs: {seen}")

    def feed(self):
        ezrss = "{http://xmlns.ezrss.it/0.1/}"
        file, info_hash = self.debian
        channel = xml.etree.ElementTree.fromstring(self.tracker.get("/torrents.rss?q=netinst")).find("channel")
        item, = channel.findall("item")
        enclosure = item.find("enclosure").attrib
        check(enclosure["type"] == "application/x-bittorrent" and int(enclosure["length"]) == len(file), enclosure)
        check(self.tracker.get(enclosure["url"].removeprefix(self.tracker.url)) == file, "the enclosure is the file")
        for name, value in (("contentLength", 783 << 20), ("infoHash", info_hash), ("seeds", 12), ("peers", 15)):
            check(item.find(ezrss + name).text == str(value), name)
        check(item.find("guid").text == info_hash and item.find("guid").get("isPermaLink") == "false", "guid")
        check(item.find(ezrss + "magnetURI").text.startswith(f"magnet:?xt=urn:btih:{info_hash}&dn="), "magnet")
        everything = xml.etree.ElementTree.fromstring(self.tracker.get("/torrents.rss?limit=200"))
        titles = [each.text for each in everything.iter("title")]
        check(len(titles) == 66 and NASTY in titles, titles)
        described = [each.text for each in everything.iter("description")]
        check(any("&#60;u&#62;three" in each for each in described), "HTML in a feed is escaped once more")
        self.visit("/?q=netinst&sort=size")
        link = self.browser.one("link[rel=alternate]").attribute("href")
        check(link == "/torrents.rss?q=netinst&sort=size", link)

    def schemes(self):
        """Colours differ by scheme, and text is to be read in both (WCAG AA: 4.5 to 1)."""
        self.visit("/")
        shown = []
        for scheme in ("light", "dark"):
            self.browser.window(1280, 800, scheme)
            shown.append(self.browser.one("body").style("background-color"))
        check(shown[0] != shown[1], shown)
        schemes = re.findall(r":root \{(.*?)\}", STYLE.read_text(), re.S)
        check(len(schemes) == 2, "two schemes")
        for scheme in schemes:
            colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", scheme))
            pairs = [(text, back) for text in ("text", "dim", "link", "good", "bad") for back in ("back", "soft")]
            for text, back in [*pairs, ("on-main", "main")]:
                ratio = contrast(colours[text], colours[back])
                check(ratio >= 4.5, f"{text} on {back} is {ratio:.1f} to 1")
            for edge in ("field", "main"):
                ratio = contrast(colours[edge], colours["back"])
                check(ratio >= 3, f"{edge} is {ratio:.1f} to 1")


def contrast(*colours):
    """As WCAG 2 counts it."""
    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, colours))
    return (high + 0.05) / (low + 0.05)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    program, out = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    for needed in ("chromedriver", "chromium"):
        if not shutil.which(needed):
            sys.exit(f"{needed} is missing: on Debian, apt-get install chromium-driver")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    test = Test(program, out)
    try:
        test.run()
        print(f"chromium {test.browser.version}: {len(list(out.iterdir()))} screenshots in {out}")
    finally:
        test.close()


if __name__ == "__main__":
    main()
