"""Copy the browser libraries that npm installed to where the server hands them out: `python -m web.vendor`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

WEB = Path(__file__).parent
TARGET = WEB / "static" / "vendor"
FILES = (
    "uplot/dist/uPlot.esm.js",
    "uplot/dist/uPlot.min.css",
    "idiomorph/dist/idiomorph.esm.js",
)


def main() -> int:
    """Copy all files, each with its licence."""
    sources = [WEB / "node_modules" / name for name in FILES]
    missing = [source for source in sources if not source.is_file()]
    if missing:
        print(f"{missing[0].relative_to(WEB)} is missing: run `npm ci --prefix web --ignore-scripts`.", file=sys.stderr)
        return 1
    TARGET.mkdir(parents=True, exist_ok=True)
    for source in sources:
        package = source.relative_to(WEB / "node_modules").parts[0]
        shutil.copyfile(source, TARGET / source.name)
        shutil.copyfile(WEB / "node_modules" / package / "LICENSE", TARGET / f"{package}.LICENSE")
    return 0


if __name__ == "__main__":
    sys.exit(main())
