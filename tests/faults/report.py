"""What a fault run counted: one line of JSON on stderr, and appended to the file that RTSEG_FAULTS_REPORT names."""

import json
import os
import sys
from pathlib import Path


def report(name: str, **figures: object) -> None:
    line = json.dumps({"test": name, **figures}) + "\n"
    sys.stderr.write(line)
    file = os.environ.get("RTSEG_FAULTS_REPORT")
    if file:
        with Path(file).open("a") as lines:
            lines.write(line)
