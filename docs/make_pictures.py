"""Make the pictures of the documentation: a report, a sweep and an exploration, as a browser shows them.

Needs a Chromium or Chrome on the path. Run from anywhere: python docs/make_pictures.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import accelsim as acs
from accelsim.frontend.digits import load_digits_data, trained

IMAGES = Path(__file__).parent / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def main() -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is installed")
    data = load_digits_data()
    model, test = trained("resnet"), (data.test_images, data.test_labels)
    with tempfile.TemporaryDirectory() as folder:
        graph = replace(acs.from_torch(model, data.calibration, weight_bits=4), name="resnet")
        report = acs.evaluate(graph, test, "edge-16x16", float_model=model)
        page = replace(report, command="accelsim demo --weight-bits 4").save(Path(folder) / "report.html")
        take(browser, page, IMAGES / "report.png", 1200, 1020)
        sweep = replace(acs.sweep(model, data.calibration, test, specs=["edge-16x16", "micro-8x8"]), network="resnet")
        page = Path(folder) / "sweep.html"
        sweep.save(page)
        take(browser, page, IMAGES / "sweep.png", 1200, 730)
        found = replace(acs.explore(model, data.calibration, test), network="resnet")
        take(browser, found.save(Path(folder) / "explored.html"), IMAGES / "explored.png", 1200, 1960)


def take(browser: str, page: Path, picture: Path, width: int, height: int) -> None:
    """A screenshot of the top of a page, in light colours."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width},{height}")
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *options, *quiet, f"--user-data-dir={profile}", f"--screenshot={picture}"]
        subprocess.run([*command, page.resolve().as_uri()], check=True, capture_output=True)
    print(f"wrote {picture}")


if __name__ == "__main__":
    main()
