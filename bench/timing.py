"""Timing two ways of doing the same work, side by side.

Runs are interleaved (Kiln, peer, Kiln, peer, ...), so that whatever else the machine does meanwhile meets both.
The median is what counts; the spread is shown beside it.
"""

import statistics
import time
from dataclasses import dataclass, field


@dataclass
class Series:
    """The seconds that one way of doing it took, run by run."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance of the fastest and the slowest run, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / 2 / self.median

    def run(self, work):
        """Times one run of `work`; its result is returned."""
        start = time.perf_counter()
        result = work()
        self.seconds.append(time.perf_counter() - start)
        return result

    def as_json(self) -> dict:
        return {"median": self.median, "min": min(self.seconds), "max": max(self.seconds), "runs": self.seconds}


def interleaved(repeats: int, **ways) -> dict[str, Series]:
    """Runs every way `repeats` times, in turn. A way is a function of the run's number, which does what is not to be
    timed and returns the function to time."""
    series = {name: Series() for name in ways}
    for number in range(repeats):
        for name, prepare in ways.items():
            series[name].run(prepare(number))
    return series
