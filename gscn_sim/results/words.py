"""How people read a column: in words, in a unit that suits, the same in every table and figure."""

from __future__ import annotations

import math

COLUMNS = {
    "speedup": ("speed-up", "", 1.0, "x"),
    "speedup_low": ("speed-up from", "", 1.0, "x"),
    "speedup_high": ("speed-up to", "", 1.0, "x"),
    "speedup_over_dense": ("speed-up over dense", "", 1.0, "x"),
    "backward_speedup": ("backward speed-up", "", 1.0, "x"),
    "backward_speedup_over_dense": ("backward speed-up over dense", "", 1.0, "x"),
    "work_reduction": ("fewer MACs", "", 1.0, "x"),
    "seconds": ("time", "ms", 1e3, ""),
    "gpu_seconds": ("GPU", "ms", 1e3, ""),
    "dense_seconds": ("dense array", "ms", 1e3, ""),
    "backward_seconds": ("backward", "ms", 1e3, ""),
    "energy_j": ("energy", "mJ", 1e3, ""),
    "edp_js": ("energy x delay", "mJ ms", 1e6, ""),
    "ed2p_js2": ("energy x delay^2", "mJ ms2", 1e9, ""),
    "energy_dram_j": ("DRAM energy", "mJ", 1e3, ""),
    "area_mm2": ("area", "mm2", 1.0, ""),
    "on_chip_bytes": ("on chip", "MB", 1e-6, ""),
    "dram_read_bytes": ("read", "MB", 1e-6, ""),
    "dram_write_bytes": ("written", "MB", 1e-6, ""),
    "dram_gbps": ("DRAM", "GB/s", 1.0, ""),
    "utilization": ("useful", "%", 100.0, ""),
    "share": ("share", "%", 100.0, ""),
}
"""Words, unit, its factor, and what follows the number."""
HOUR = 3600.0
TIME_UNITS = (("s", 1.0), ("ms", 1e3), ("\N{MICRO SIGN}s", 1e6), ("ns", 1e9))


def metric_words(name: str) -> str:
    """A column in words: ``speedup`` is a speed-up."""
    if name in COLUMNS:
        return COLUMNS[name][0]
    return name.replace("_", " ") if name.isidentifier() else name


def metric_title(name: str) -> str:
    """The words with the unit, as a figure's axis says them; a configuration key stays one."""
    if name not in COLUMNS:
        return name if "." in name else name.replace("_", " ")
    words, unit, _, suffix = COLUMNS[name]
    return f"{words} ({unit or suffix})" if unit or suffix == "x" else words


def metric_factor(name: str) -> float:
    """By what a column is multiplied for the unit of its title."""
    return COLUMNS[name][2] if name in COLUMNS else 1.0


def time_unit(seconds: float) -> tuple[str, float]:
    """The unit that suits times of this size, and how many of it a second has."""
    for unit, scale in TIME_UNITS:
        if seconds * scale >= 1:
            return unit, scale
    return TIME_UNITS[-1]


def duration(seconds: float) -> str:
    """A time with the unit that suits it."""
    if seconds >= HOUR:
        return f"{seconds / HOUR:,.3g} h" if seconds < 1000 * HOUR else f"{seconds / HOUR:,.0f} h"
    unit, scale = time_unit(seconds)
    return f"{seconds * scale:.3g} {unit}"


def factor(speedup: float, low: float = math.nan, high: float = math.nan) -> str:
    """How many times faster or slower, with its band where there is one."""
    times, word = (speedup, "faster") if speedup >= 1 else (1 / speedup, "slower")
    if speedup < 1 and math.isfinite(low) and math.isfinite(high):
        low, high = 1 / high, 1 / low
    band = f" ({low:.1f}x to {high:.1f}x)" if math.isfinite(low) and math.isfinite(high) else ""
    return f"{times:.{2 if times < 2 else 1}f}x{band} {word}"
