#!/usr/bin/env python3
"""Selects from a folder of vectors a smaller one of the same layout.

    select.py FROM TO

Keeps, of every category, tests spread evenly over it, so that every maker, suite and kind of damage is met; keeps all
encrypt cases; leaves long messages out; and writes only the slices that are used, each slice once.
"""

import collections
import json
import pathlib
import sys

PER_CATEGORY = 40
ALWAYS_ALL = {"commitment-policy", "unsigned-only", "javascript-default-order", "truncation", "base"}
MORE = {"crafted": 400, "bit-flip": 150, "framed": 160, "non-framed": 60, "frames": 60}
LONGEST_MESSAGE = 40_000


def spread(tests, most):
    """At most `most` of the tests, evenly."""
    if len(tests) <= most:
        return tests
    return [tests[i * len(tests) // most] for i in range(most)]


def select(tests):
    by_category = collections.defaultdict(list)
    for test in tests:
        if test["ciphertext"]["len"] <= LONGEST_MESSAGE:
            by_category[test["category"]].append(test)
    chosen = []
    for category, members in by_category.items():
        most = len(members) if category in ALWAYS_ALL else MORE.get(category, PER_CATEGORY)
        chosen += spread(members, most)
    return chosen


class Slices:
    """Copies slices into one new file, the same bytes once."""

    def __init__(self, source, name):
        self.source, self.name = source, name
        self.files, self.places, self.out = {}, {}, bytearray()

    def move(self, place):
        if place["file"] not in self.files:
            self.files[place["file"]] = (self.source / place["file"]).read_bytes()
        data = self.files[place["file"]][place["at"] : place["at"] + place["len"]]
        if data not in self.places:
            self.places[data] = len(self.out)
            self.out += data
        return {"file": self.name, "at": self.places[data], "len": len(data)}


def main():
    source, target = map(pathlib.Path, sys.argv[1:])
    manifest = json.loads((source / "manifest.json").read_text())
    tests = select(manifest["tests"])
    messages, plaintexts = Slices(source, "messages.bin"), Slices(source, "plaintext.bin")
    for test in tests:
        test["ciphertext"] = messages.move(test["ciphertext"])
        if "plaintext" in test:
            test["plaintext"] = plaintexts.move(test["plaintext"])
    manifest["refused_by_their_maker"] = []
    for part in (messages, plaintexts):
        (target / part.name).write_bytes(part.out)
    dump = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    head = {key: value for key, value in manifest.items() if key != "tests"}
    lines = ",\n".join(dump(test) for test in tests)
    (target / "manifest.json").write_text(dump(head)[:-1] + ',"tests":[\n' + lines + "\n]}\n")


main()
