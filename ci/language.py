"""Checks the English of comments, documentation and texts: see "Language" in CONTRIBUTING.md.

Reads the files that git knows, or those named on the command line, and prints one line for each finding.
"""

import pathlib
import re
import subprocess
import sys

WIDTH = 120

# A summary begins with a verb in the third person or with a noun phrase.
FIRST_WORDS = {"what", "who", "whom", "whose", "where", "how", "from", "which", "whether", "why", "when"}

# Wording to avoid, and what to write in its place.
PHRASES = [
    (r"(?<!there )\b(?:is|are|was|were) no (?!(?:longer|more|less|fewer|greater|larger|smaller|later)\b)", "is not a"),
    (r"\bunless said otherwise\b", "by default"),
    (r"\bat any place\b", "at any offset"),
    (r"\bbelongs? into\b", "belongs to"),
    (r"\bunframed\b", "non-framed"),
    (r"\b(?:he|him|his|himself|she|her|hers|herself)\b", "they, them, their"),
]
PHRASES = [(re.compile(pattern, re.IGNORECASE), better) for pattern, better in PHRASES]

RUST = re.compile(
    r"""
      (?P<line>//[^\n]*)
    | (?P<block>/\*.*?\*/)
    | (?P<raw>\b(?:b|c)?r(?P<hashes>\#*)".*?"(?P=hashes))
    | (?P<text>(?:\b[bc])?"(?:\\.|[^"\\])*")
    | (?P<char>'(?:\\(?:u\{[^}]*\}|x..|.)|[^\\'\n])')
    """,
    re.VERBOSE | re.DOTALL,
)
MARKER = re.compile(r"\s*(///|//!|//)\s?")


def rust_pieces(text):
    """Yields (line number, kind, text) of each run of comments and of each string of a Rust file."""
    run = None
    for found in RUST.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        if found["line"] is not None:
            marker = MARKER.match(found["line"])
            kind, rest = marker.group(1), found["line"][marker.end() :]
            start = text.rfind("\n", 0, found.start()) + 1
            alone = not text[start : found.start()].strip()
            if run and alone and run[1] == kind and run[3] == line - 1:
                run[2].append(rest)
                run[3] = line
                continue
            if run:
                yield run[0], run[1], "\n".join(run[2])
            run = [line, kind, [rest], line]
        elif found["block"] is not None:
            yield line, "//", found["block"]
        elif found["text"] is not None:
            # A backslash at the end of a line joins it to the next one.
            yield line, '"', re.sub(r"\\\n\s*", "", found["text"])
        elif found["raw"] is not None:
            yield line, '"', found["raw"]
    if run:
        yield run[0], run[1], "\n".join(run[2])


def prose(text):
    """Returns `text` without its fenced code and code spans, the number of lines unchanged."""
    fenced, lines = False, []
    for line in text.split("\n"):
        if line.lstrip().startswith("```"):
            fenced = not fenced
            line = ""
        lines.append("" if fenced else line)
    return re.sub(r"`[^`]*`", lambda code: "`" + "\n" * code.group().count("\n") + "`", "\n".join(lines))


def phrases(line, text):
    flat = re.sub(r"\s", " ", text)
    for pattern, better in PHRASES:
        for found in pattern.finditer(flat):
            yield line + text.count("\n", 0, found.start()), f'"{found.group().strip()}": write "{better}"'


def summary(line, text):
    first = next((piece for piece in text.split("\n") if piece.strip()), "")
    word = re.match(r"[\s*_\[]*([A-Za-z]+)", first)
    if word and word.group(1).lower() in FIRST_WORDS:
        yield line, f'the summary begins with "{word.group(1)}": write a verb in the third person or a noun phrase'


def check(name, text):
    if name.endswith(".rs"):
        for line, kind, piece in rust_pieces(text):
            if kind in ("///", "//!"):
                yield from summary(line, piece)
            yield from phrases(line, piece if kind == '"' else prose(piece))
        comment = re.compile(r"^\s*//|\s//\s")
    elif name.endswith(".md"):
        yield from phrases(1, prose(text))
        return
    else:
        comment = re.compile(r"^\s*#|\s#\s")
        for number, line in enumerate(text.split("\n"), 1):
            if comment.search(line):
                yield from phrases(number, line)
    for number, line in enumerate(text.split("\n"), 1):
        # A row of a table cannot be broken, nor can an address.
        whole = "://" in line or re.match(r"\s*//[/!] \|", line)
        if len(line) > WIDTH and comment.search(line) and not whole:
            yield number, f"{len(line)} columns: a comment has at most {WIDTH}"


def files():
    known = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True
    ).stdout.decode()
    for name in filter(None, known.split("\0")):
        script = name.startswith(("ci/", ".ci/")) and "." not in pathlib.Path(name).name
        if name.startswith("tests/vectors/"):
            continue
        if script or name.endswith((".rs", ".md", ".toml", ".yml", ".sh", ".py")):
            yield name


def main():
    count = findings = 0
    for name in sys.argv[1:] or files():
        path = pathlib.Path(name)
        if not path.is_file():
            continue
        count += 1
        for line, finding in sorted(check(name, path.read_text(encoding="utf-8"))):
            findings += 1
            print(f"{name}:{line}: {finding}")
    print(f"language: {count} files, {findings} findings")
    return 1 if findings or not count else 0


sys.exit(main())
