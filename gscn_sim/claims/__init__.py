"""Published claims beside our own figures: one file per family of claims, one record for a row."""

from gscn_sim.claims.record import Row, Study
from gscn_sim.claims.reproduce import FAMILIES, reproduce

__all__ = ["FAMILIES", "Row", "Study", "reproduce"]
