"""All families in turn, and the files they are written to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from gscn_sim.claims import ant, gscn, resprop, scnn, sensitivity
from gscn_sim.claims.figures import write_figure
from gscn_sim.claims.record import Row, Study
from gscn_sim.files import (
    digits,
    is_whole,
    make_folder,
    sealed,
    write_json,
    write_table,
    write_text,
)
from workloads import GscnError
from workloads.files import read_regular

FAMILIES: Mapping[str, tuple[str, Callable[[Study], list[Row]]]] = {
    resprop.FAMILY: ("ReSprop: reuse, accuracy, work, training time", resprop.rows),
    gscn.FAMILY: ("GSCN with ReSprop against a GTX 1080 Ti", gscn.rows),
    sensitivity.FAMILY: (
        "How GSCN's figure moves with what the paper does not say",
        sensitivity.rows,
    ),
    scnn.FAMILY: ("SCNN against its dense twin", scnn.rows),
    ant.FAMILY: ("ANT against an SCNN-like machine", ant.rows),
}
NAME = "reproduction"
INTRODUCTION = """# Claims and our figures

Written by `gscn-sim reproduce`. Nothing is fitted to a claim; one that does not come out is shown
as it is. Where the published value is a limit or a bound the row says so. *Band* is what our figure
ranges over: the error of the GPU's predicted time for speed-ups, what *how* says for others.
"""


def reproduce(study: Study, families: Sequence[str]) -> Iterator[list[Row]]:
    """The rows of each named family, one family after the other."""
    for name, (_, rows) in FAMILIES.items():
        if name in families:
            yield rows(study)


def write(rows: Sequence[Row], folder: str | Path, *, provenance: Mapping[str, Any]) -> list[Path]:
    """Write ``reproduction`` as .md, .csv (with provenance), .json, and its figures.

    Families that ``rows`` has none of keep the rows they have in the folder. Returns the files,
    each written whole or not at all.
    """
    import pandas as pd

    base = make_folder(folder) / NAME
    kept, origins = _kept(base.with_suffix(".json"), {row.family for row in rows})
    origins |= {row.family: dict(provenance) for row in rows}
    order = list(FAMILIES)
    every = sorted([*kept, *rows], key=lambda row: order.index(row.family))
    records = [{**asdict(row), "ratio": row.ratio} for row in every]
    write_text(base.with_suffix(".md"), markdown(every))
    write_table(base.with_suffix(".csv"), pd.DataFrame(records), origins)
    write_json(base.with_suffix(".json"), sealed({"rows": records, "provenance": origins}))
    files = [base.with_suffix(suffix) for suffix in (".md", ".csv", ".json")]
    for suffix in (".svg", ".png"):
        write_figure(every, base.with_suffix(suffix))
        files.append(base.with_suffix(suffix))
    return files


def _kept(path: Path, replaced: set[str]) -> tuple[list[Row], dict[str, Any]]:
    """Rows and origins of the other families in a file written before, if there is one.

    Raises:
        GscnError: the file is not a reproduction.
    """
    if not path.is_file():
        return [], {}
    names = {field.name for field in fields(Row)}
    try:
        found = json.loads(read_regular(path).decode("utf-8"))
        if not is_whole(found):
            raise ValueError("it is not what its digest says")
        rows = [Row(**{name: row[name] for name in names}) for row in found["rows"]]
        origins = dict(found["provenance"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GscnError(f"{path}: not a reproduction ({error}); remove it") from None
    keep = set(FAMILIES) - replaced
    return (
        [row for row in rows if row.family in keep],
        {name: origin for name, origin in origins.items() if name in keep},
    )


def markdown(rows: Sequence[Row]) -> str:
    """The rows as one Markdown table a family."""
    parts = [INTRODUCTION]
    for name, (title, _) in FAMILIES.items():
        own = [row for row in rows if row.family == name]
        if not own:
            continue
        parts += [f"\n## {title}\n", "| claim | published | ours | band | how | what differs |"]
        parts.append("|---|---|---|---|---|---|")
        for row in own:
            cells = (row.claim, *_figures(row), row.how, row.differs or "-")
            parts.append("| " + " | ".join(cells) + " |")
    return "\n".join(parts) + "\n"


def _figures(row: Row) -> tuple[str, str, str]:
    unit = row.unit if row.unit == "x" else ""
    band = "-"
    if row.low is not None or row.high is not None:
        low, high = (digits(end) + unit if end is not None else "" for end in (row.low, row.high))
        band = f"{low} to {high}" if low and high else f"down to {low}" if low else f"up to {high}"
    published = "-" if row.published is None else f"{row.published:g}{unit}"
    return published, "-" if row.ours is None else digits(row.ours) + unit, band
