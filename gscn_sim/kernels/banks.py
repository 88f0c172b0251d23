"""Bank hashes: which accumulator bank an output goes to.

Each hash is a function of the channel and position inside the accumulators (``o``, ``address``) and
of the absolute output (``channel``, ``y``, ``x``).
"""

from __future__ import annotations

import numpy as np

from gscn_sim.kernels.compiled import njit

MODULO, XOR, CHANNEL, DNNSIM = range(4)
BANK_HASHES = {"modulo": MODULO, "xor": XOR, "channel": CHANNEL, "dnnsim": DNNSIM}


@njit(cache=True, nogil=True)
def bank(kind, o, n_positions, position, channel, y, x, num_banks):
    """Bank of one output.

    ``modulo``: address modulo banks. ``xor``: the address with its higher digits (base ``banks``)
    folded in. ``channel``: neighbouring channels and positions spread diagonally. ``dnnsim``: the
    hash of that program, on absolute coordinates (isakedo/DNNsim, commit 4748a60).
    """
    address = o * n_positions + position
    if kind == MODULO or num_banks == 1:
        return address % num_banks
    if kind == XOR:
        folded = 0
        while address > 0:
            folded += address % num_banks
            address //= num_banks
        return folded % num_banks
    if kind == CHANNEL:
        return (o + 4 * x + 9 * y) % num_banks
    high = ((channel & 4) << 2) ^ ((y & 2) << 3) ^ ((x & 2) << 3)
    return (high + ((y & 1) << 3) + ((x & 1) << 2) + (channel & 3)) % num_banks


@njit(cache=True, nogil=True)
def output_tables(
    kind, num_banks, n_outputs, stride, first_channel, origin_y, origin_x, height, width, rect
):
    """Lookup tables of one tile.

    Args:
        stride: from one output channel to the next in ``bank_of``, at least the positions.
        origin_y, origin_x: output coordinate of relative position 0.
        height, width: extent of relative positions that products can reach.
        rect: y0, y1, x0, x1 of the outputs held in the accumulators.

    Returns:
        position_of [2 * height * width + 1]: position inside ``rect``, or -1; its upper half is
        what placeholders reach. bank_of [n_outputs * stride].
    """
    span = height * width
    position_of = np.full(2 * span + 1, -1, np.int32)
    rect_width = rect[3] - rect[2]
    n_positions = (rect[1] - rect[0]) * rect_width
    for i in range(height):
        y = origin_y + i
        if y < rect[0] or y >= rect[1]:
            continue
        for j in range(width):
            x = origin_x + j
            if x >= rect[2] and x < rect[3]:
                position_of[i * width + j] = (y - rect[0]) * rect_width + (x - rect[2])
    bank_of = np.empty(n_outputs * stride, np.uint16)
    for o in range(n_outputs):
        for position in range(n_positions):
            y = rect[0] + position // rect_width
            x = rect[2] + position % rect_width
            bank_of[o * stride + position] = bank(
                kind, o, n_positions, position, first_channel + o, y, x, num_banks
            )
    return position_of, bank_of
