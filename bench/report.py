"""What a run found, as a table for people or as JSON for programs."""

import json
import os
import platform
from pathlib import Path

from peers import run
from rows import Row

COLUMNS = ["what", "Kiln", "peer", "ratio", "goal", "", "CPU", "peer is", "remarks"]


def machine() -> dict:
    """What the figures depend on."""
    kernel = f"{platform.system()} {platform.release()}"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    qemu = run("qemu-img", "--version").split("\n")[0]
    return {"cores": os.cpu_count(), "processor": processor(), "memory_bytes": memory, "kernel": kernel, "qemu": qemu}


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def as_json(rows: list[Row], about: dict) -> str:
    def one(row: Row) -> dict:
        return {
            "name": row.name,
            "kiln_seconds": row.kiln and row.kiln.as_json(),
            "peer": row.peer_name,
            "peer_seconds": row.peer and row.peer.as_json(),
            "ratio": row.ratio,
            "ratio_goal": row.ratio_goal,
            "seconds_goal": row.seconds_goal,
            "found_bytes": row.found_bytes,
            "bytes_goal": row.bytes_goal,
            "pass": row.passed,
            "note": row.note,
        }

    return json.dumps({**about, "rows": [one(row) for row in rows]}, indent=2)


def as_table(rows: list[Row], about: dict) -> str:
    cells = [COLUMNS] + [line(row) for row in rows]
    widths = [max(len(cell[column]) for cell in cells) for column in range(len(COLUMNS))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(cell, widths)).rstrip() for cell in cells]
    return "\n".join([*heading(about), "", *lines])


def heading(about: dict) -> list[str]:
    memory = f"{about['memory_bytes'] / (1 << 30):.0f} GiB"
    load = " -> ".join(f"{value:.1f}" for value in about["load"])
    return [
        f"{about['cores']} cores of {about['processor']}, {memory}, {about['kernel']}, {about['qemu']}; load {load}",
        f"test disk: {about['disk']}",
        f"median of {about['repeats']} runs, interleaved with the peer's; files in the page cache at the start",
    ]


def line(row: Row) -> list[str]:
    if row.found_bytes is not None:
        kiln, goal = mib(row.found_bytes), f"<= {mib(row.bytes_goal)}"
    else:
        kiln, goal = seconds(row.kiln), goals(row)
    ratio = f"{row.ratio:.2f}x" if row.ratio is not None else ""
    verdict = {True: "pass", False: "MISS", None: ""}[row.passed]
    return [row.name, kiln, seconds(row.peer), ratio, goal, verdict, cpu(row), row.peer_name, row.note]


def cpu(row: Row) -> str:
    """CPU seconds of Kiln and of the peer."""
    return f"{row.kiln.cpu_median:.1f} : {row.peer.cpu_median:.1f} s" if row.kiln and row.peer else ""


def goals(row: Row) -> str:
    found = [f"<= {row.ratio_goal:g}x"] if row.ratio_goal is not None else []
    found += [f"<= {row.seconds_goal:g} s"] if row.seconds_goal is not None else []
    return ", ".join(found)


def seconds(series) -> str:
    if not series:
        return ""
    short = series.median < 0.1
    return f"{series.median * 1000:.1f} ms" if short else f"{series.median:.2f} s ±{series.spread:.0%}"


def mib(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB"
