"""Which engine configuration and machine mean, and its start. A backend is imported only where it is used."""

from pathlib import Path

from rtseg_daemon.bundles import Bundle
from rtseg_daemon.segment.engine import Choice, Engine, choose
from rtseg_daemon.settings import Compute


def choice_for(compute: Compute) -> Choice:
    """The engine that the configuration means on this machine; raises EngineError where there is none."""
    cuda, bf16 = 0, False
    if compute.device != "cpu":
        from rtseg_daemon.segment.engine_torch import cuda_devices

        cuda = cuda_devices()
    if cuda == 0 and compute.precision == "auto":
        from rtseg_daemon.segment.engine_openvino import cpu_multiplies_bf16

        bf16 = cpu_multiplies_bf16()
    return choose(compute.device, compute.backend, compute.precision, compute.threads, cuda, bf16)


def load_engine(bundle: Bundle, choice: Choice, cache: Path | None) -> Engine:
    """Start the engine of `choice`; compiled models are kept under `cache`.

    Raises EngineError if this backend cannot run the bundle's network.
    """
    if choice.backend == "openvino":
        from rtseg_daemon.segment.engine_openvino import OpenVinoEngine

        return OpenVinoEngine(bundle, choice, cache)
    from rtseg_daemon.segment.engine_torch import TorchEngine

    return TorchEngine(bundle, choice)
