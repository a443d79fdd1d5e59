"""Seconds a case of every bundle that ships, through the daemon's own pipeline, for the table of methods.

    python bench/methods.py --data sets/validation [--cases 6] [--log bench/logs/methods.jsonl]

The first case warms up and is not counted. Bundles take turns, case by case, so that a machine that slows down slows
all of them. Appends a line for each bundle: median seconds from the CT in memory to masks, flags and uncertainty.
"""

import argparse
import json
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

from rtseg_training.measure.evaluate import open_segmenter
from rtseg_training.sets.joined import listed, loaded

from rtseg_daemon.bundles import bundle_names, installed_models, load_bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data set as `rtseg-train import` makes it")
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--threads", type=int, default=0, help="processor threads; 0: all")
    parser.add_argument("--log", type=Path, help="append the figures to this file")
    options = parser.parse_args()
    bundles = [load_bundle(installed_models(), name) for name in bundle_names(installed_models())]
    segmenters = [open_segmenter(bundle, options.threads) for bundle in bundles]
    seconds: list[list[float]] = [[] for _ in bundles]
    for number, case in enumerate(loaded(listed(options.data)[: options.cases + 1])):
        for segmenter, own in zip(segmenters, seconds, strict=True):
            began = time.perf_counter()
            segmenter.segment_volume(case.ct)
            if number:
                own.append(time.perf_counter() - began)
    for bundle, segmenter, own in zip(bundles, segmenters, seconds, strict=True):
        row = {
            "when": datetime.now(UTC).strftime("%Y-%m-%d"),
            "bundle": bundle.name,
            "version": bundle.version,
            "where": "card" if segmenter.engine.on_card else "processor",
            "engine": segmenter.engine.description,
            "cases": len(own),
            "seconds": round(statistics.median(own), 3),
            "least": round(min(own), 3),
            "most": round(max(own), 3),
        }
        print(json.dumps(row))
        if options.log:
            with options.log.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
