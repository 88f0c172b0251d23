"""Everything about a run as one document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gscn_sim.files import records
from gscn_sim.results.provenance import config_record, provenance
from gscn_sim.results.tables import headline_row, pe_busy_shares

if TYPE_CHECKING:
    from gscn_sim.compare.comparison import Comparison


def run_document(run: Comparison, *, command: str | None = None) -> dict[str, Any]:
    """Summary, layers, configuration and origin, ready for JSON.

    ``command`` is what made the run, if it was a command.
    """
    facts = {**run.trace_metadata, "digest": run.trace_digest}
    busy = pe_busy_shares(run.simulation)
    phases = {
        row["phase"]: row | {"pe_busy_share": busy.get(row["phase"])}
        for row in records(run.summary)
    }
    summary = dict(headline_row(run.summary)) | {"headline": run.headline, "phases": phases}
    gpu = None if run.gpu is None else run.gpu_name
    return {
        "summary": summary,
        "layers": records(run.table),
        "config": config_record(run.config),
        "provenance": provenance(facts, gpu=gpu, command=command),
    }
