"""A machine in which some part waits forever ends in an error that names it."""

from __future__ import annotations

from collections.abc import Generator

import pytest
import simpy
from schedules import make_gang, make_schedule

from gscn_sim.config import load_config
from gscn_sim.errors import DeadlockError
from gscn_sim.fabric.top import run_fabric, run_to_end


def test_a_starved_process_is_named() -> None:
    """SimPy returns as if nothing had happened; the machine does not."""
    env = simpy.Environment()

    def works() -> Generator[simpy.Event]:
        yield env.timeout(7)

    def starves() -> Generator[simpy.Event]:
        yield env.timeout(3)
        yield env.event()

    processes = {"pe[0]": env.process(works()), "pe[1]": env.process(starves())}
    with pytest.raises(DeadlockError, match=r"^cycle 7: waiting forever: pe\[1\]$"):
        run_to_end(env, processes)


@pytest.mark.parametrize(("number", "more"), [(5, ""), (6, r" \.\.\.")])
def test_many_starved_processes_are_cut_short(number: int, more: str) -> None:
    env = simpy.Environment()

    def starves() -> Generator[simpy.Event]:
        yield env.event()

    processes = {f"pe[{i}]": env.process(starves()) for i in range(number)}
    with pytest.raises(DeadlockError, match=rf"waiting forever: pe\[0\], .*pe\[4\]{more}$"):
        run_to_end(env, processes)


def test_a_fill_that_never_comes_is_a_deadlock() -> None:
    """A schedule whose fill belongs to nobody's order of use cannot end: fills 1 then 0."""
    gang = make_gang(0, [[2, 2, 2]], fill=[2, 1, 0])
    schedule = make_schedule([gang], [4, 4, 4], fills_held=1)
    small = {"array.pe_rows": 3, "array.pe_cols": 3, "dram.preset": "ideal"}
    limits = {"network.operand_bytes_per_cycle": 0, "policy.barrier": "group"}
    with pytest.raises(DeadlockError, match=r"waiting forever: pe\[0\], buffer"):
        run_fabric(schedule, load_config("gscn-ideal", {**small, **limits}))
