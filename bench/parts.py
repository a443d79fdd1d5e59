"""How many parts a structure has in a data set: whether keeping its largest one alone can be right.

    python bench/parts.py sets/train PTV_7000 [--least 1.0]

Parts touch at a face, an edge or a corner. Those below `--least` ml are specks of drawing and do not count.
"""

import argparse
from collections import Counter
from pathlib import Path

import cc3d
import numpy as np
from rtseg_training.sets.joined import listed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a data set (rtseg-train import)")
    parser.add_argument("structure", help="TG-263 name")
    parser.add_argument("--least", type=float, default=1.0, help="ml")
    options = parser.parse_args()
    found: Counter[int] = Counter()
    for one in listed(options.data):
        case = one.load()
        if case.status.get(options.structure) == "drawn":
            labels = cc3d.connected_components(np.ascontiguousarray(case.mask(options.structure)), connectivity=26)
            volumes = np.bincount(labels.ravel())[1:] * np.prod(case.ct.spacing_mm) / 1000  # ml
            found[int((volumes > options.least).sum())] += 1
    print(", ".join(f"{cases} cases with {parts}" for parts, cases in sorted(found.items())))


if __name__ == "__main__":
    main()
