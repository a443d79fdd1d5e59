"""OpenVINO without its telemetry: import `ov` from here, never the library itself.

The first conversion of a model would otherwise send usage figures under a lasting client id to a service on the
internet. The library has a stub of its own for installations without the package `openvino-telemetry`. An entry of
None in `sys.modules` makes the import of that package fail, so that the stub is taken whether it is installed or not.
"""

import sys

if "openvino_telemetry" in sys.modules and sys.modules["openvino_telemetry"] is not None:
    raise ImportError("openvino was imported before its telemetry was turned off; import `ov` from this module")
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino as ov  # noqa: E402 - only now

__all__ = ["ov"]
