"""Files that other programs look for at the top: they say what the project says elsewhere, and nothing of their own."""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_a_citation_has_the_version_and_the_licence_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert {key: citation[key] for key in ("title", "version", "license")} == {
        "title": config["metadata"]["name"],
        "version": config["metadata"]["version"],
        "license": config["metadata"]["license"],
    }
    (owner,) = re.findall(r"^Copyright \(c\) \d+ (.+)$", (ROOT / "LICENSE").read_text(), re.MULTILINE)
    assert citation["authors"] == [{"name": owner}]
    assert citation["abstract"] == config["metadata"]["description"]


def test_every_service_runs_what_ci_runs() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_what_is_checked_before_a_commit_is_part_of_the_tests() -> None:
    (tools,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    lines = (ROOT / "scripts" / "test").read_text().splitlines()
    commands = [line.strip().removesuffix(" .") for line in lines]
    for hook in tools["hooks"]:
        assert hook["entry"].replace(" --force-exclude", "") in commands
