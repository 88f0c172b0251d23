"""What ``gscn-sim sweep`` knows of proofs and of figures that are not simulated."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from workloads import GscnError

if TYPE_CHECKING:
    from gscn_sim.sweep.proof import Proof
    from gscn_sim.sweep.search import Search

EXACT = "exact"


def exact_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--metric`` and ``--fidelity``."""
    metric = click.option(
        "--metric",
        metavar="EXPR",
        help="What --search exact proves the best design of, as 'edp_js * area_mm2'.",
    )
    fidelity = click.option(
        "--fidelity",
        type=click.Choice(("exact", "auto", "estimate", "bound")),
        default="exact",
        show_default=True,
        help="How figures are found: simulated, by the planner's estimate, or lower bounds alone; "
        "auto simulates what may be on the front of the objectives.",
    )
    return metric(fidelity(command))


def searched_objective(search: str, metric: str | None, objective: str) -> str:
    """What a search improves: the metric of a proof, the objectives of others.

    Raises:
        GscnError: ``--metric`` is missing, or is not for this search.
    """
    if search != EXACT:
        if metric is not None:
            raise GscnError("--metric is for --search exact; others take --objective")
        return objective
    if metric is None:
        raise GscnError("--search exact needs a --metric, as seconds or 'edp_js * area_mm2'")
    return metric


def show_proof(search: Search) -> None:
    """Print what an exact search has proved; nothing of others."""
    proof: Proof | None = getattr(search, "proof", None)
    if proof is not None:
        click.echo("\n".join(proof_in_words(proof)))


def proof_in_words(proof: Proof) -> list[str]:
    """A proof as sentences."""
    in_part = f", {proof.in_part:,} in part" if proof.in_part else ""
    ran = f"{proof.simulated:,} of {proof.designs:,} designs simulated{in_part}"
    if proof.best is None:
        return [f"No design has a value of {proof.metric} yet: {ran}"]
    value = f"{proof.metric} = {proof.value:.6g}"
    others, share = proof.designs - 1, 100 * abs(proof.margin)
    if not others:
        return [f"Best design: {value}, the only one of the space"]
    if not proof.is_complete:
        said = f"none of the {proof.designs:,} is better by more than {share:.2g} %"
        return [f"Best design so far: {value}; {said}", f"{ran}, {proof.undecided:,} undecided"]
    if share < 0.005:
        said = f"none of the other {others:,} is better, but another may be as good"
    else:
        said = f"each of the other {others:,} is proved at least {share:.2g} % worse"
    return [f"Best design: {value}; {said}", f"{ran}, the rest by bounds"]
