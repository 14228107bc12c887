#!/usr/bin/env python
"""The first screen of a report as a picture, as docs/report.png shows it.

    python scripts/picture_of_report.py REPORT.html OUT.png [--width 1200] [--height 1410] [--dark]

Takes the chromium of the system, by playwright (pip install playwright; apt-get install chromium-headless-shell).
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
COLOURS = 256  # of the PNG, dithered: half of the bytes, and hardly seen


def main() -> None:
    """Take the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=1200, help="of the window, in pixels (default 1200)")
    parser.add_argument("--height", type=int, default=1410, help="how much of the page is taken (default 1410)")
    parser.add_argument("--dark", action="store_true", help="as it is seen in the dark")
    arguments = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is installed")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=browser) as chromium:
        page = chromium.new_page(
            viewport={"width": arguments.width, "height": arguments.height},
            color_scheme="dark" if arguments.dark else "light",
        )
        page.goto(arguments.report.resolve().as_uri())
        taken = page.screenshot()
    picture = Image.open(io.BytesIO(taken)).convert("RGB")
    palette = picture.quantize(COLOURS, kmeans=2)
    picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
