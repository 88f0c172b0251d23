"""Two runs beside each other: which is faster where, where the time went, and what differs.

A layer-phase's time is shared out over the multiplier slots, each to its cause. The shares of a
machine add up to its time, so that the differences of two machines add up to theirs: ``useful``
takes less time on a machine with more multipliers or a faster clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from gscn_sim.config import Config, load_config
from gscn_sim.report.sources import RunSource
from gscn_sim.results.sizes import design_sizes, unlike_sizes
from gscn_sim.results.tables import SLOTS
from workloads import GscnError

CAUSES = tuple(name.removeprefix("slots_") for name in SLOTS)
ROUNDING = 1e-12
KEYS = ["layer", "phase"]
_SUMS = {"energy_j": ["energy_j"], "dram_bytes": ["dram_read_bytes", "dram_write_bytes"]}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What run ``b`` does otherwise than run ``a``.

    Raises:
        GscnError: no layer and phase is in both.
    """

    a: RunSource
    b: RunSource

    def __post_init__(self) -> None:
        if self.layers.empty:
            raise GscnError("no layer and phase is in both: nothing to compare")

    @cached_property
    def layers(self) -> pd.DataFrame:
        """One row per layer and phase that both have, in the order of ``a``.

        Columns: layer, phase, and with ``a_``, ``b_`` before them seconds, energy_j, dram_bytes,
        dataflow, mapping; ``speedup`` of b over a; ``difference_seconds`` (b less a) and its parts,
        ``CAUSE_seconds``; ``cause``, the part that is largest in the difference's direction.
        """
        both = _shares(self.a.layers).merge(_shares(self.b.layers), on=KEYS, suffixes=("_a", "_b"))
        table = both[KEYS].copy()
        for name in ("seconds", *_SUMS, "dataflow", "mapping"):
            table[f"a_{name}"], table[f"b_{name}"] = both[f"{name}_a"], both[f"{name}_b"]
        return _compared(table, both)

    @cached_property
    def phases(self) -> pd.DataFrame:
        """The layers' sums: a row per phase, and ``all`` where there are several phases."""
        numbers = self.layers.select_dtypes("number").drop(columns="speedup")
        sums = numbers.groupby(self.layers["phase"], sort=False).sum().reset_index()
        if len(sums) > 1:
            sums = pd.concat([sums, pd.DataFrame([{"phase": "all", **numbers.sum()}])])
        sums["speedup"] = _ratio(sums)
        return sums.reset_index(drop=True)

    @cached_property
    def causes(self) -> pd.DataFrame:
        """Where the time of all layers went: a_seconds, b_seconds and difference_seconds a cause.

        After them the difference within each phase, by the phase's name.
        """
        found = [_shares(run.layers).merge(self.layers[KEYS], on=KEYS) for run in (self.a, self.b)]
        table = pd.DataFrame({"cause": CAUSES})
        for side, shares in zip("ab", found, strict=True):
            table[f"{side}_seconds"] = [float(shares[cause].sum()) for cause in CAUSES]
        parts = [f"{cause}_seconds" for cause in CAUSES]
        table["difference_seconds"] = self.layers[parts].sum().to_numpy()
        for _, row in self.phases[self.phases["phase"] != "all"].iterrows():
            table[str(row["phase"])] = row[parts].to_numpy(dtype=float)
        return table

    @cached_property
    def keys(self) -> pd.DataFrame:
        """The configuration keys that differ: key, a, b; ``-`` where a run's version has none."""
        sides = self.a.config, self.b.config
        names = [name for name in {**sides[0], **sides[1]} if name != "name"]
        rows = [
            {"key": name, "a": _shown(sides[0], name), "b": _shown(sides[1], name)}
            for name in names
            if sides[0].get(name) != sides[1].get(name)
        ]
        return pd.DataFrame(rows, columns=["key", "a", "b"])

    @cached_property
    def sizes(self) -> pd.DataFrame:
        """What each machine has: size, a, b, ratio (b over a)."""
        sides = [design_sizes(_design(run.config)) for run in (self.a, self.b)]
        rows = [
            {"size": name, "a": first, "b": sides[1][name], "ratio": sides[1][name] / first}
            for name, first in sides[0].items()
        ]
        table = pd.DataFrame(rows)
        same = table["a"] == table["b"]  # two ideal memories, whose bandwidth has no end
        table.loc[same, "ratio"] = 1.0
        return table

    @property
    def cautions(self) -> list[str]:
        """What to mind before one design is called better than the other, in words."""
        return [*self._unlike_sizes(), *self._unlike_work()]

    def _unlike_sizes(self) -> Iterator[str]:
        ratios = dict(zip(self.sizes["size"], self.sizes["ratio"], strict=True))
        if said := unlike_sizes(ratios, "B"):
            yield said

    def _unlike_work(self) -> Iterator[str]:
        first, second = self.a, self.b
        if first.provenance["trace"]["digest"] != second.provenance["trace"]["digest"]:
            yield "not the same trace"
        batches = [sorted(set(run.layers["batch_size"])) for run in (first, second)]
        if batches[0] != batches[1]:
            said = (", ".join(f"{size:g}" for size in each) for each in batches)
            yield "not the same batch size: {} and {}".format(*said)
        if first.provenance["code"] != second.provenance["code"]:
            yield "not the same version of the simulator"
        for name, run in (("A", first), ("B", second)):
            alone = len(run.layers) - len(self.layers)
            if alone > 0:
                yield f"{alone} layer-phases that only {name} has are left out"


def _shares(layers: pd.DataFrame) -> pd.DataFrame:
    """Each layer-phase with its seconds shared out by cause, a column each."""
    table = layers[[*KEYS, "seconds", "dataflow", "mapping"]].copy()
    slots = layers[list(SLOTS)].astype(float)
    total = slots.sum(axis=1)
    for cause, name in zip(CAUSES, SLOTS, strict=True):
        table[cause] = (layers["seconds"] * slots[name] / total).where(total > 0, 0.0)
    for name, columns in _SUMS.items():
        table[name] = layers[columns].sum(axis=1)
    return table


def _compared(table: pd.DataFrame, both: pd.DataFrame) -> pd.DataFrame:
    """The table with speed-up, difference, its parts and the largest of them."""
    table["speedup"] = _ratio(table)
    table["difference_seconds"] = table["b_seconds"] - table["a_seconds"]
    parts = pd.DataFrame({cause: _change(both, cause) for cause in CAUSES})
    for cause in CAUSES:
        table[f"{cause}_seconds"] = parts[cause]
    slower = table["difference_seconds"] > 0
    table["cause"] = parts.idxmin(axis=1).where(~slower, parts.idxmax(axis=1))
    table.loc[table["difference_seconds"] == 0, "cause"] = ""
    return table


def _change(both: pd.DataFrame, cause: str) -> pd.Series[float]:
    """What b spends on a cause less what a does; nothing where they differ by rounding alone."""
    first, second = both[f"{cause}_a"], both[f"{cause}_b"]
    alike = (second - first).abs() <= ROUNDING * first
    return (second - first).where(~alike, 0.0)


def _ratio(table: pd.DataFrame) -> pd.Series[float]:
    return table["a_seconds"] / table["b_seconds"].where(table["b_seconds"] > 0)


def _shown(config: Mapping[str, Any], name: str) -> str:
    value = config.get(name, "-")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _design(config: Mapping[str, Any]) -> Config:
    return load_config("gscn", {key: value for key, value in config.items() if key != "name"})
