"""The bundles that a worker keeps loaded between its jobs, and what it tries when memory runs out."""

import gc
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rtseg_daemon.bundles import Bundle, bundles_for
from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.errors import CardLost, EngineError, RtsegError
from rtseg_daemon.logs import describe, log
from rtseg_daemon.segment.engines.memory import attempts, card_lost, halved, out_of_memory, reduced
from rtseg_daemon.segment.pipeline import Segmenter
from rtseg_daemon.work import case

Note = Callable[[str, dict[str, Any]], None]
"""Takes what happened, and its details."""


class Loaded:
    """The bundles that are loaded on one device.

    Args:
        compute: device, backend and precision of all of them.
        cache: folder of compiled models.
    """

    def __init__(self, compute: Compute, cache: Path) -> None:
        self.compute = compute
        self.cache = cache
        self.segmenters: dict[str, Segmenter] = {}
        self.resident: dict[str, set[str]] = {}
        """Name as a route has it -> digests of its bundles: several versions of one bundle may serve side by side."""

    def warm(self, config: Config, names: Iterable[str]) -> None:
        """Load these bundles, so that the first case waits for no compiler. Failures are told by jobs."""
        for name in names:
            began = time.monotonic()
            log().info("loading a bundle; its first start on this machine compiles it", bundle=name)
            try:
                bundles = bundles_for(config, name)
                self.resident[name] = {bundle.digest for bundle in bundles}
                for bundle in bundles:
                    self.segmenter(bundle, self.compute)
            except Exception as error:  # noqa: BLE001 - whatever is wrong, each job must be able to say it
                reason = str(error) if isinstance(error, RtsegError) else describe(error)
                log().error("the bundle cannot be loaded; its jobs will fail", bundle=name, reason=reason)
            else:
                log().info("bundle ready", bundle=name, seconds=round(time.monotonic() - began, 1))

    def segmenter(self, bundle: Bundle, compute: Compute) -> Segmenter:
        """The bundle, loaded and warm. Loaded again when the installed one has changed, or memory was short last time.

        What is kept of other bundles stays, of this one what is asked for now and other versions that serve too.
        """
        key = f"{bundle.digest} {compute.device} {bundle.window} {bundle.window_step}"
        kept = self.segmenters.get(key)
        if kept is None or reduced(kept.bundle, bundle):
            self.segmenters = {k: one for k, one in self.segmenters.items() if self._stays(one.bundle, bundle)}
            kept = self.segmenters[key] = case.load_segmenter(bundle, compute, self.cache)
        return kept

    def _stays(self, kept: Bundle, wanted: Bundle) -> bool:
        """Whether a loaded bundle stays when another one is loaded."""
        serves = any(kept.digest in digests for digests in self.resident.values())
        return kept.name != wanted.name or (kept.digest != wanted.digest and serves)

    def aside(self) -> "Loaded":
        """Nothing loaded, on the same device. What is loaded here stays warm beside it, and it is let go after its job.

        A shadow's bundle has the name of the one that serves, whose place it must not take.
        """
        return Loaded(self.compute, self.cache)

    def let_go(self) -> None:
        """Nothing stays loaded, and the card's memory is free for other processes."""
        if not self.segmenters:
            return
        self.segmenters.clear()
        self.resident.clear()
        gc.collect()
        torch = sys.modules.get("torch")  # an engine loaded it, or nothing of it holds memory
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        log().info("bundles are let go")

    def run(
        self, bundles: Sequence[Bundle], process: Callable[[case.Load], case.CaseResult], note: Note
    ) -> case.CaseResult:
        """Call `process` with a loader of these bundles. Short of memory, it takes smaller windows, then the CPU.

        Raises EngineError where memory suffices nowhere, CardLost where the card failed, and what `process` raises.
        """
        for device, halvings in attempts(self.compute.device, bundles):
            try:
                return process(self.loader(device, halvings, note))
            except Exception as error:
                if card_lost(error):
                    raise CardLost(f"the card failed: {str(error).strip().splitlines()[0]}") from error
                if not out_of_memory(error):
                    raise
            note("out of memory", {"device": device, "windows halved": halvings})
            self.segmenters.clear()
        raise EngineError(
            f"memory ran out on {self.compute.device}, in smaller windows and on the CPU too; "
            "free memory or use a smaller bundle, then retry the job"
        )

    @property
    def on_card(self) -> bool:
        """Whether a card does the work, so that the processor is free beside it."""
        return any(kept.engine.on_card for kept in self.segmenters.values())

    def loader(self, device: str, halvings: int, note: Note) -> case.Load:
        """Gives each bundle's segmenter on `device`, in windows halved so many times."""
        compute = self.compute
        if device != compute.device:
            compute = compute.model_copy(update={"device": device, "backend": "auto", "precision": "auto"})

        def load(bundle: Bundle) -> Segmenter:
            found = self.segmenter(halved(bundle, halvings), compute)
            if shortage := reduced(found.bundle, bundle):
                note("smaller windows", {"bundle": bundle.name, "reason": shortage})
            return found

        return load
