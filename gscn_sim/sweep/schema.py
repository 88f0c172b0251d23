"""The tables of a store, and what each point's row holds."""

from __future__ import annotations

SCHEMA_VERSION = 4

# Metrics of a finished point, in the order of the exported table; all numbers but ``TEXT_METRICS``.
METRICS = (
    *("cycles", "seconds", "gpu_seconds", "speedup", "speedup_low", "speedup_high"),
    *("dense_seconds", "speedup_over_dense"),
    *("backward_seconds", "backward_speedup", "backward_speedup_over_dense"),
    *("utilization", "work_reduction"),
    *("slots_useful", "slots_redundant", "slots_placeholder", "slots_fragmentation"),
    *("slots_bank_conflict", "slots_operand_wait", "slots_output_wait", "slots_imbalance"),
    *("dram_read_bytes", "dram_write_bytes", "energy_j", "energy_dram_j", "area_mm2"),
    *("on_chip_bytes", "total_multipliers", "num_pes", "dram_gbps"),
)
TEXT_METRICS = ("scope", "limited_by", "fidelity")
# What else a point's row says, in the order of its digest.
POINT_TEXTS = (
    *("key", "code", "status", "error", "network", "trace", "trace_digest", "batch_size"),
    *("phases", "gpu", "gpu_model", "config_digest", "versions", *TEXT_METRICS),
)

_METRIC_COLUMNS = ",\n    ".join(
    [f"{name} REAL" for name in METRICS] + [f"{name} TEXT" for name in TEXT_METRICS]
)
SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE configs (digest TEXT PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE sweeps (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    command TEXT,
    description TEXT NOT NULL,
    places INTEGER NOT NULL DEFAULT 0,
    digests TEXT NOT NULL DEFAULT '{"0" * 32}'
);
CREATE TABLE owners (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,
    beats INTEGER NOT NULL
);
CREATE TABLE points (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    code TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'done', 'failed')),
    owner TEXT,
    error TEXT,
    network TEXT NOT NULL,
    trace TEXT NOT NULL,
    trace_digest TEXT NOT NULL,
    batch_size INTEGER NOT NULL,
    phases TEXT NOT NULL,
    gpu TEXT NOT NULL,
    gpu_model TEXT NOT NULL,
    config_digest TEXT,
    versions TEXT NOT NULL,
    runs INTEGER NOT NULL DEFAULT 1,
    elapsed_seconds REAL,
    digest TEXT,
    {_METRIC_COLUMNS},
    UNIQUE (key, code)
);
CREATE TABLE members (
    sweep INTEGER NOT NULL REFERENCES sweeps (id),
    position INTEGER NOT NULL,
    point INTEGER NOT NULL REFERENCES points (id),
    params TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (sweep, position)
) WITHOUT ROWID;
"""
