"""Checks that no published crate states a `rust-version` below that of a crate it builds. Prints which one sets it."""

import json
import subprocess
import sys

# Features that ask for a newer Rust than their crate states, and the member of the workspace that says which.
NEWER = {"manila": {"aws-kms": "manila-aws"}, "manila-cli": {"aws-kms": "manila-aws"}}


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def number(version):
    return tuple(int(part) for part in (version.split(".") + ["0", "0"])[:3])


def built(package, features):
    """The name and version of each crate that `package` is built from, on any platform."""
    lines = cargo(
        *("tree", "--locked", "--package", package, "--edges", "normal,build", "--target", "all"),
        *("--no-default-features", "--features", ",".join(features), "--prefix", "none", "--format", "{p}"),
    ).splitlines()
    return {(name, version[1:]) for name, version in (line.split()[:2] for line in lines if line.strip())}


def main():
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--all-features"))
    stated = {(package["name"], package["version"]): package["rust_version"] for package in metadata["packages"]}
    members = {package["id"]: package for package in metadata["packages"] if package["id"] in metadata["workspace_members"]}
    by_name = {package["name"]: package["rust_version"] for package in members.values()}
    wrong = 0
    for package in members.values():
        name = package["name"]
        if package["publish"] == []:
            continue
        if package["rust_version"] is None:
            print(f"{name}: no rust-version")
            wrong += 1
            continue
        newer = NEWER.get(name, {})
        features = {feature for feature in package["features"] if feature not in newer}
        for more, allowed in [((), package["rust_version"]), *(((key,), by_name[of]) for key, of in newer.items())]:
            crates = built(name, [*sorted(features), *more]) - {(name, package["version"])}
            asking = {crate: stated[crate] for crate in crates if stated[crate]}
            highest = max(asking.values(), key=number)
            setters = sorted(f"{crate} {version}" for (crate, version), asked in asking.items() if asked == highest)
            verdict = "ok" if number(highest) <= number(allowed) else "TOO LOW"
            wrong += verdict != "ok"
            what = f"{name} with {more[0]}" if more else name
            print(f"{verdict}: {what} states {allowed}; {len(asking)} of {len(crates)} crates ask for {highest} at most")
            print(f"    asked for by {', '.join(setters[:5])}{' and others' if len(setters) > 5 else ''}")
    return 1 if wrong else 0


sys.exit(main())
