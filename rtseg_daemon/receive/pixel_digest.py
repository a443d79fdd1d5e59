"""Digest of an image's pixel values, decoded by a process of its own with bounds on memory and time.

Asked for only where one SOP Instance UID came twice with different bytes: if only the encoding differs, the values do
not. A stranger's compressed pixels can make a decoder take gigabytes or crash, so it is never run in the receiver.

    python -m rtseg_daemon.receive.pixel_digest FILE
"""

import hashlib
import resource
import subprocess
import sys
from pathlib import Path

from rtseg_daemon.errors import SeriesError

MEMORY_BYTES = 3 * 2**30
SECONDS = 20


def pixel_digest(path: Path) -> str:
    """SHA-256 of the values. Where they cannot be decoded within the bounds, a marked digest of the file's bytes."""
    command = [sys.executable, "-m", "rtseg_daemon.receive.pixel_digest", str(path)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return undecodable(path)
    digest = done.stdout.decode("ascii", "replace").strip()
    return digest if done.returncode == 0 and len(digest) == 64 else undecodable(path)


def undecodable(path: Path) -> str:
    return f"undecodable:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def main(path: Path) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    # pydicom's decoders, in this process alone and under the bounds
    from rtseg_daemon.ct.headers import header_of
    from rtseg_daemon.ct.pixels import stored_values  # decoders, as above
    from rtseg_daemon.dicom.files import read_dataset  # decoders, as above

    try:
        dataset = read_dataset(path, pixels=True)
        values = stored_values(dataset, header_of(dataset, path))
    except SeriesError:
        return 1
    print(hashlib.sha256(values.astype("<i8").tobytes()).hexdigest())  # decoders differ in the integers they return
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
