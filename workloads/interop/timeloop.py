"""Timeloop problems (version 0.4), one for each phase of a layer.

All three phases run through the same points (n, g, k, c, r, s, p, q), and in each another operand
is the output. C and K count channels of one group. The format is the one of Timeloop's own pages
(https://timeloop.csail.mit.edu/v4/input-formats/problem).
"""

from __future__ import annotations

from typing import Any

from workloads.errors import GscnError, LayerError
from workloads.layer import Layer, Operand
from workloads.phase import Phase

OUTPUTS: dict[Phase, Operand] = {
    Phase.FORWARD: "gradient",
    Phase.DGRAD: "activation",
    Phase.WGRAD: "weight",
}
"""The operand in whose place and shape a phase's output is."""
DATA_SPACES: dict[Operand, str] = {
    "weight": "Weights",
    "activation": "Inputs",
    "gradient": "Outputs",
}
PROJECTIONS: dict[Operand, list[list[list[str]]]] = {
    "weight": [[["G"]], [["K"]], [["C"]], [["R"]], [["S"]]],
    "activation": [
        *([["N"]], [["G"]], [["C"]]),
        [["R", "Hdilation"], ["P", "Hstride"]],
        [["S", "Wdilation"], ["Q", "Wstride"]],
    ],
    "gradient": [[["N"]], [["G"]], [["K"]], [["P"]], [["Q"]]],
}


def problem(layer: Layer, phase: Phase, batch_size: int) -> dict[str, Any]:
    """The problem of one phase with the densities of its recorded inputs.

    Inputs are as large as the filter reaches: padding counts, what no stride reaches does not.

    Raises:
        LayerError: not forward, dgrad or wgrad.
    """
    if phase not in OUTPUTS:
        raise LayerError(f"phase must be one of {', '.join(OUTPUTS)}, got {phase}")
    shape, batch_size = layer.shape.for_batch(batch_size)
    output = OUTPUTS[phase]
    coefficients = {
        "Hstride": shape.stride[0],
        "Wstride": shape.stride[1],
        "Hdilation": shape.dilation[0],
        "Wdilation": shape.dilation[1],
    }
    sizes = {
        "N": batch_size,
        "G": shape.groups,
        "K": shape.K // shape.groups,
        "C": shape.C // shape.groups,
        "R": shape.R,
        "S": shape.S,
        "P": shape.P,
        "Q": shape.Q,
    }
    densities = {
        DATA_SPACES[operand]: {"distribution": "hypergeometric", "density": mask.density}
        for operand in DATA_SPACES
        if operand != output and (mask := layer.mask(operand)) is not None
    }
    return {
        "problem": {
            "version": 0.4,
            "shape": {
                "name": f"{layer.name} {phase}",
                "dimensions": list(sizes),
                "coefficients": [{"name": name, "default": 1} for name in coefficients],
                "data_spaces": [
                    {"name": name, "projection": PROJECTIONS[operand]}
                    | ({"read_write": True} if operand == output else {})
                    for operand, name in DATA_SPACES.items()
                ],
            },
            "instance": sizes | coefficients | ({"densities": densities} if densities else {}),
        }
    }


def problem_text(layer: Layer, phase: Phase, batch_size: int) -> str:
    """The YAML text of one problem.

    Raises:
        GscnError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise GscnError("Timeloop needs PyYAML (pip install 'gscn-sim[timeloop]')") from None
    made = problem(layer, phase, batch_size)
    text: str = yaml.safe_dump(made, sort_keys=False, default_flow_style=None)
    return text
