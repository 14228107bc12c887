"""`cyclegan data …`: commands for folders of pictures."""

from __future__ import annotations

from cyclegan.cli import Commands

command = Commands(
    "data",
    help="Make demo pictures, check folders, score translations.",
    modules={
        "demo": ("cyclegan.cli.data.demo", "Draw the demo: plain and striped animals, with the truth."),
        "check": ("cyclegan.cli.data.check", "Decode every picture of some folders and report problems."),
        "demo-score": ("cyclegan.cli.data.demo_score", "Score translated demo pictures against the truth."),
    },
)
