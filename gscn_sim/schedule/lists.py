"""Streamed lists of a gang's rounds: what keeps PEs near each other within a round."""

from __future__ import annotations

from typing import Any

import numpy as np

from gscn_sim.dataflows.base import BlockCosts
from gscn_sim.problem.geometry import Ints
from gscn_sim.schedule.model import Lists


def lockstep_cycles(
    costs: BlockCosts, rows: Ints, sample: Ints, live: Any, tile: Ints, word: int = 0
) -> Ints:
    """[waves, passes, rounds] cycles of PEs that meet after every channel; -1 if they do not.

    ``rows`` of the costs; ``sample``, ``live`` and ``tile`` of
    :class:`gscn_sim.schedule.maps.Visits`; ``word``: cycles in which PEs hear that all have met.
    """
    waves, passes = sample.shape[1], tile.shape[1]
    found = np.full((waves, passes, len(rows)), -1, np.int64)
    if not costs.channel_cycles:
        return found
    known: dict[tuple[object, ...], int] = {}
    for wave in range(waves):
        samples = np.unique(sample[live[:, wave], wave])
        for p in range(passes):
            for i, row in enumerate(rows.tolist()):
                key = (samples.tobytes(), p, row)
                if key not in known:
                    chosen = costs.channel_cycles[row][samples][:, tile[:, p]]
                    most = chosen.max((0, 1))
                    known[key] = int(most.sum()) + word * len(most)
                found[wave, p, i] = known[key]
    return found


def resent_entries(costs: BlockCosts, rows: Ints, sample: Ints, live: Any, tile: Ints) -> Ints:
    """[waves, passes, rounds] entries of lists sent again to a gang; arguments as above.

    All PEs hear a list as often as the one does that has most stationary vectors for it.
    """
    found = np.zeros((sample.shape[1], tile.shape[1], len(rows)), np.int64)
    if not costs.resent_entries:
        return found
    known: dict[tuple[object, ...], int] = {}
    for wave in range(sample.shape[1]):
        samples = np.unique(sample[live[:, wave], wave])
        for p in range(tile.shape[1]):
            for i, row in enumerate(rows.tolist()):
                key = (samples.tobytes(), p, row)
                if key not in known:
                    heard = costs.resent_entries[row][samples][:, tile[:, p]].max((0, 1))
                    known[key] = int(heard.sum())
                found[wave, p, i] = known[key]
    return found


def lists_of_rounds(costs: BlockCosts, rows: Ints, sample: Ints, live: Any, tile: Ints) -> Lists:
    """The streamed lists of a gang's rounds (wave, pass, block); arguments as above."""
    pattern: list[int] = []
    cycles: list[Ints] = []
    entries: list[Ints] = []
    known: dict[tuple[object, ...], int] = {}
    for wave in range(sample.shape[1]):
        samples, there = sample[:, wave], live[:, wave]
        for p in range(tile.shape[1]):
            for row in rows.tolist():
                key = (samples.tobytes(), there.tobytes(), p, row)
                if key not in known:
                    known[key] = len(cycles)
                    own = costs.channel_cycles[row][samples][:, tile[:, p]]
                    own = own * there[:, None, None]  # [samples, tiles, lists]
                    cycles.append(own.reshape(-1, own.shape[-1]).astype(np.int64))
                    entries.append(costs.channel_entries[row])
                pattern.append(known[key])
    return Lists(pattern=pattern, cycles=cycles, entries=entries)
