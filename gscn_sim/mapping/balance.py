"""Dealing channels to PEs: in order, or so that each PE gets about the same work."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gscn_sim.config import Config
from gscn_sim.geometry import Ints, Operands
from gscn_sim.mapping.plan import Plan


@dataclass(frozen=True, kw_only=True)
class ChannelOrder:
    """Which channel stands at each place after dealing: stationary and output channels."""

    stationary: Ints
    outputs: Ints


def balanced(plan: Plan, operands: Operands, config: Config) -> tuple[Operands, ChannelOrder]:
    """Operands with their channels in the order in which the plan deals them to PEs.

    With ``policy.load_balance = "sorted"`` the channels of wgrad, whose non-zeros differ most, are
    sorted by non-zeros and dealt back and forth over the parts of the plan. Real machines would
    sort by the counts of the iteration before, which change slowly. Other phases keep the order:
    with dense weights their output channels all cost the same.
    """
    problem = plan.problem
    stationary = np.arange(problem.stationary_channels)
    outputs = np.arange(problem.output_channels)
    order = ChannelOrder(stationary=stationary, outputs=outputs)
    if config.policy.load_balance == "static" or not problem.is_wgrad or problem.groups > 1:
        return operands, order
    order = ChannelOrder(
        stationary=deal(operands.stationary.sum((0, 2, 3), dtype=np.int64), plan.inputs),
        outputs=deal(operands.streamed.sum((0, 1, 2, 3), dtype=np.int64), plan.outputs),
    )
    return (
        replace(
            operands,
            stationary=np.ascontiguousarray(operands.stationary[:, order.stationary]),
            streamed=np.ascontiguousarray(operands.streamed[..., order.outputs]),
        ),
        order,
    )


def deal(work: Ints, parts: int) -> Ints:
    """Channels in the order of the parts they go to, heaviest first inside a part.

    Part i takes as many channels as the i-th of ``parts`` nearly equal ranges has.
    """
    channels = len(work)
    room = [(i + 1) * channels // parts - i * channels // parts for i in range(parts)]
    hands: list[list[int]] = [[] for _ in range(parts)]
    turn, step = 0, 1
    for channel in np.argsort(-work, kind="stable").tolist():
        while len(hands[turn]) >= room[turn]:
            turn, step = _next(turn, step, parts)
        hands[turn].append(channel)
        turn, step = _next(turn, step, parts)
    return np.array([channel for hand in hands for channel in hand], np.int64)


def _next(turn: int, step: int, parts: int) -> tuple[int, int]:
    if 0 <= turn + step < parts:
        return turn + step, step
    return turn, -step
