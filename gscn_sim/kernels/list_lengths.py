"""Lengths of the positional dataflow's lists: enough to count steps and pairs."""

from __future__ import annotations

import numpy as np

from gscn_sim.kernels.buildable import look_past
from gscn_sim.kernels.compiled import njit


@njit(cache=True, nogil=True)
def list_lengths(mask, ranges, run_limit):
    """Entries, and entries that are no placeholders, of each channel range at each pixel.

    Args:
        mask: [Y, X, channels]. ranges: [D, 2].

    Returns:
        [D, Y, X] each.
    """
    height, width, _ = mask.shape
    entries = np.empty((len(ranges), height, width), np.int32)
    real = np.empty((len(ranges), height, width), np.int32)
    for d in range(len(ranges)):
        first, last = ranges[d, 0], ranges[d, 1]
        may_run = last - first > run_limit
        for y in range(height):
            for x in range(width):
                pixel = mask[y, x]
                found = 0
                placeholders = 0
                if may_run:
                    run = 0
                    for c in range(first, last):
                        if pixel[c]:
                            found += 1
                            placeholders += run // run_limit
                            run = 0
                        else:
                            run += 1
                else:
                    for c in range(first, last):
                        found += pixel[c] != 0
                entries[d, y, x] = found + placeholders
                real[d, y, x] = found
    return entries, real


@njit(cache=True, nogil=True)
def window_sums(values, plane, kernel_size, stride, padding, dilation):
    """[D, P, Q] sums of ``values`` [D, Y, X] over the window of each position of ``plane``."""
    ranges, height, width = values.shape
    out = np.zeros((ranges, plane[0], plane[1]), np.int32)
    for d in range(ranges):
        for p in range(plane[0]):
            for r in range(kernel_size[0]):
                y = p * stride[0] - padding[0] + r * dilation[0]
                if y < 0 or y >= height:
                    continue
                for q in range(plane[1]):
                    for s in range(kernel_size[1]):
                        x = q * stride[1] - padding[1] + s * dilation[1]
                        if 0 <= x < width:
                            out[d, p, q] += values[d, y, x]
    return out


@njit(cache=True, nogil=True)
def waits_for_lists(k_steps, c_steps, fragments, k_of, c_of, machine):
    """Cycles in which blocks wait for lists, over the positions of a tile in order.

    As :func:`gscn_sim.kernels.buildable.visit_position` and ``pass_position``.

    Args:
        k_steps: [K ranges, P, Q] vectors at each position; c_steps, fragments: [C ranges, P, Q]
            vectors of its window, and parts of pixels' lists that it is gathered from.
        k_of, c_of: [blocks] ranges of each. machine: fragments gathered a cycle, positions without
            pairs passed a cycle (0 for all), cycles between positions with pairs.

    Returns:
        [blocks]
    """
    gather, visits, bubble = machine
    found = np.zeros(len(k_of), np.int64)
    for b in range(len(k_of)):
        k, c = k_of[b], c_of[b]
        waited = since = np.int64(0)
        empty = 0
        begun = False
        for p in range(k_steps.shape[1]):
            for q in range(k_steps.shape[2]):
                steps = np.int64(k_steps[k, p, q]) * c_steps[c, p, q]
                if steps == 0:
                    passed = look_past(empty, visits)
                    empty += 1
                    since += passed
                    waited += passed
                    continue
                wait = bubble if begun else 0
                if gather > 0:
                    wait = max(wait, (fragments[c, p, q] + gather - 1) // gather - since)
                waited += wait
                since = steps
                empty = 0
                begun = True
        found[b] = waited
    return found
