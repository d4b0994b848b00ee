"""Timing two ways of doing the same work, side by side.

Runs are interleaved (Kiln, peer, Kiln, peer, ...), so that whatever else the machine does meanwhile meets both. The
median is what counts; the spread is shown beside it. CPU time is told too: it hardly changes when a machine is busy
with something else, while wall time changes a lot.
"""

import os
import resource
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass
class Series:
    """The seconds that one way of doing it took, run by run."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def cpu_median(self) -> float:
        return statistics.median(self.cpu_seconds)

    @property
    def spread(self) -> float:
        """Half the distance of the fastest and the slowest run, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / 2 / self.median

    def run(self, work, cpu):
        """Times one run of `work` by the wall's clock and by the clock `cpu`; its result is returned."""
        start, cpu_start = time.perf_counter(), cpu()
        result = work()
        self.add(time.perf_counter() - start, cpu() - cpu_start)
        return result

    def add(self, seconds: float, cpu_seconds: float):
        """Adds a run that was timed elsewhere."""
        self.seconds.append(seconds)
        self.cpu_seconds.append(cpu_seconds)

    def as_json(self) -> dict:
        bounds = {"median": self.median, "min": min(self.seconds), "max": max(self.seconds)}
        return {**bounds, "runs": self.seconds, "cpu_runs": self.cpu_seconds}


@dataclass
class Way:
    """One way of doing the work: `prepare` gets the run's number, does what is not to be timed, and returns the
    function to time; `cpu` is the clock of the processes that do the work."""

    prepare: object
    cpu: object


def own_cpu() -> float:
    """CPU seconds of this process and of the tools that it ran and that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def process_cpu(pid: int) -> float:
    """CPU seconds of a process that runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # Fields 14 and 15 of proc(5); the first two are cut off.
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def interleaved(repeats: int, clean=lambda: None, **ways: Way) -> dict[str, Series]:
    """Runs every way `repeats` times, in turn. `clean` removes what a run has made, so that the next one finds the
    machine's memory as this one did."""
    series = {name: Series() for name in ways}
    for number in range(repeats):
        for name, way in ways.items():
            series[name].run(way.prepare(number), way.cpu)
            clean()
    return series
