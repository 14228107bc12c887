"""The constraints file: what it pins is what setup.cfg asks for and what these tests ran with."""

from __future__ import annotations

import configparser
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
FILE = ROOT / "constraints.txt"
LATER = {"colorama", "setuptools"}  # pinned for other systems, or for a torch that is built from its source


def entries() -> list[tuple[Requirement, list[str]]]:
    """What is pinned, with the digests of its files."""
    lines = [line for line in FILE.read_text().splitlines() if not line.startswith("#")]
    found = []
    for entry in "\n".join(lines).replace("\\\n", " ").splitlines():
        text, *hashes = entry.split(" --hash=")
        found.append((Requirement(text.strip()), [one.strip() for one in hashes]))
    return found


PINNED = {canonicalize_name(entry.name): entry for entry, _ in entries()}


def asked_for() -> Iterator[Requirement]:
    """What setup.cfg asks for, every extra included."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = dict(config["options.extras_require"])
    for text in [config["options"]["install_requires"], *extras.values()]:
        for line in text.splitlines():
            if line.strip() and not line.startswith("#"):
                yield Requirement(line)


def needed_by(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """What an installed package asks for here."""
    for text in importlib.metadata.requires(name) or []:
        requirement = Requirement(text)
        environments = [{"extra": extra} for extra in extras or {""}]
        if requirement.marker is None or any(requirement.marker.evaluate(env) for env in environments):
            yield requirement


def is_pinned(requirement: Requirement) -> bool:
    """True if what is asked for has one version, within its bounds."""
    pinned = PINNED.get(canonicalize_name(requirement.name))
    return pinned is not None and all(requirement.specifier.contains(bound.version) for bound in pinned.specifier)


def test_whatever_is_asked_for_is_pinned_within_its_bounds() -> None:
    wrong = [str(one) for one in asked_for() if one.name != "cyclegan" and not is_pinned(one)]
    assert not wrong, f"not in {FILE.name}, or pinned to another version; run scripts/lock"


def test_what_is_not_pinned_would_be_found() -> None:
    assert not is_pinned(Requirement("no-such-package"))
    assert not is_pinned(Requirement("torch<1"))


def test_everything_is_pinned_to_one_version_with_the_digests_of_its_files() -> None:
    for entry, hashes in entries():
        assert [bound.operator for bound in entry.specifier] == ["=="], entry
        assert entry.url is None, entry
        assert hashes, f"{entry} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), entry
    assert len({(entry.name, str(entry.marker)) for entry, _ in entries()}) == len(entries())


def test_no_registry_is_named() -> None:
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host", FILE.read_text())


def test_these_tests_ran_with_nothing_that_is_not_pinned() -> None:
    """Followed from setup.cfg through what the installed packages ask for on this system."""
    waiting = [(canonicalize_name(one.name), frozenset(one.extras)) for one in asked_for() if one.name != "cyclegan"]
    seen = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        assert name in PINNED, f"{name} is not in {FILE.name}; run scripts/lock"
        try:
            waiting += [(canonicalize_name(one.name), frozenset(one.extras)) for one in needed_by(name, extras)]
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
    assert len(seen) > 50
    unused = PINNED.keys() - {name for name, _ in seen} - LATER
    assert not unused, f"pinned, and asked for by nobody here: {sorted(unused)}; run scripts/lock"
