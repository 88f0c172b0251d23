"""Peak memory of a sweep in one process: the cache's limit, and what one point needs.

Run with ``make bench``. ``GSCN_SIM_BENCH=full`` runs 200 points; a peak is no matter of load, so
the bound is asserted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

POINTS = 200 if os.environ.get("GSCN_SIM_BENCH") == "full" else 12
LIMIT_MIB = 64
ALLOCATOR_MIB = 32  # that freed memory of varying sizes leaves behind
SWEEP = """
import json, resource, sys
sys.path.insert(0, sys.argv[1])
from test_sweep import REALISTIC, SETTING, TRACE, Workload, spread
from gscn_sim.run import memo
from gscn_sim.sweep import evaluate
from gscn_sim.sweep.points import Point

points, limit = int(sys.argv[2]), int(sys.argv[3]) << 20
cache = memo.Cache(memory_bytes=limit)
evaluate._cache = lambda place: cache
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
used, peaks = [], []
workload, evaluation = Workload.load(str(TRACE)), evaluate.Evaluation()
for position, params in enumerate(spread(points)):
    config = REALISTIC.design(params)
    evaluation(Point(position=position, params=params, config=config, workload=workload,
                     setting=SETTING))
    used.append(cache.used_bytes / 2**20)
    peaks.append(peak())
print(json.dumps({"peaks": peaks, "used": used}))
"""


def swept(points: int, limit_mib: int) -> dict[str, list[float]]:
    """Peak of the process and use of its cache in MiB after each point."""
    words = [str(Path(__file__).parent), str(points), str(limit_mib)]
    done = subprocess.run(
        [sys.executable, "-c", SWEEP, *words], text=True, capture_output=True, check=True
    )
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def test_a_sweep_stays_within_the_cache_and_one_point(benchmark: Any) -> None:
    """One point with no cache at all tells what a point needs, libraries included."""
    alone = swept(1, 0)["peaks"][-1]
    found = benchmark.pedantic(swept, (POINTS, LIMIT_MIB), rounds=1)
    most = max(found["used"])
    benchmark.extra_info |= {
        "points": POINTS,
        "limit_mib": LIMIT_MIB,
        "most_used_by_cache_mib": round(most, 1),
        "peak_of_one_point_mib": round(alone, 1),
        "peak_of_the_sweep_mib": round(found["peaks"][-1], 1),
    }
    assert most <= LIMIT_MIB
    assert found["peaks"][-1] <= alone + LIMIT_MIB + ALLOCATOR_MIB
