"""How long each series has been silent, by a clock that no one can set."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field


@dataclass
class QuietClock:
    """How long each series has been silent (monotonic seconds).

    Silence begins when the sweep first sees a series in a given state, so it is counted anew after a restart of the
    supervisor, and whenever listening was resumed. While nobody listens there is none.
    """

    now: Callable[[], float] = time.monotonic
    listening: bool = True
    seen: dict[int, tuple[tuple[float, ...], float]] = field(default_factory=dict)

    def silence(self, series_id: int, *signs: float) -> float:
        """Seconds since the signs of life of this series last changed."""
        if not self.listening or self.seen.get(series_id, ((), 0.0))[0] != signs:
            self.seen[series_id] = (signs, self.now())
        return self.now() - self.seen[series_id][1]

    def forget_all_but(self, series_ids: Collection[int]) -> None:
        self.seen = {key: value for key, value in self.seen.items() if key in series_ids}
