"""Figures that were measured: kept in a file, added to, and brought to their medians."""
import json
import os
import statistics


class Results:
    """{"machine": …, "sections": {key: {"settings", "build", "date", "skipped", "rows": [{"name", "version", "runs"}]}}}"""

    def __init__(self, path, machine):
        self.path = path
        self.data = {"machine": machine, "sections": {}}
        try:
            with open(path) as file:
                found = json.load(file)
        except (OSError, ValueError):
            return
        # Figures of another machine would mislead beside those of this one.
        if found.get("machine") == machine:
            self.data = found

    def begin(self, section, build, date, append):
        """Makes room for a section's runs: beside those that are there already if they were made alike, else anew."""
        old = self.data["sections"].get(section.key)
        settings = {**section.settings(), "build": build}
        if not (append and old and old["settings"] == settings):
            old = {"rows": []}
        order = {name: place for place, (name, _, _) in enumerate(section.rows)}
        old.update(settings=settings, date=date, skipped=section.skipped)
        for name, version, _ in section.rows:
            if not any(row["name"] == name for row in old["rows"]):
                old["rows"].append({"name": name, "version": version, "runs": [], "failures": []})
        known = ["floor", "ours"]
        old["rows"].sort(key=lambda row: (known.index(row["name"]) if row["name"] in known else 2, order.get(row["name"], 99)))
        self.data["sections"][section.key] = old

    def add(self, key, name, figures=None, failure=None):
        row = next(row for row in self.data["sections"][key]["rows"] if row["name"] == name)
        if figures:
            row["runs"].append({key: round(value, 4) for key, value in figures.items()})
        else:
            row["failures"].append(failure)
        self.save()

    def save(self):
        new = self.path + ".new"
        with open(new, "w") as file:
            json.dump(self.data, file, indent=1)
        os.replace(new, self.path)

    def section(self, key):
        """A section with a median for each figure of each row; None if it was never asked for."""
        section = self.data["sections"].get(key)
        if not section or not section["rows"] and not section["skipped"]:
            return None
        rows = []
        for row in section["rows"]:
            keys = row["runs"][0] if row["runs"] else {}
            rows.append({**row, "median": {key: statistics.median(run[key] for run in row["runs"]) for key in keys}})
        return {**section, "rows": rows}
