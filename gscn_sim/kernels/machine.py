"""A PE as the kernels read it."""

from __future__ import annotations

from typing import NamedTuple


class Machine(NamedTuple):
    """All that the time of a tile depends on. Whole numbers, so that kernels are compiled once.

    Attributes:
        vector_i, vector_f: entries of a stationary and of a streamed vector.
        queue_depth, num_banks: of the accumulator banks. bank_hash: of ``BANK_HASHES``.
        run_limit: longest run of zeros that an entry can say, plus one.
        anticipate: whether vectors that cannot meet the output are skipped, ``scan_vectors`` of
            them looked at in a cycle.
        ports: products that a bank takes in a cycle. adder_stages: of its adder.
        gather_fragments: parts of pixels' lists gathered in a cycle; 0: a window at once.
        visits: groups without pairs that are passed in a cycle; 0: all.
        group_bubble: cycles between groups.
        is_ideal: whether only steps and banks take time.
        fifo_entries: longer lists are sent again for each stationary vector; 0: none is.
        counted: whether steps are to be counted as if no product waited for a bank.
    """

    vector_i: int
    vector_f: int
    queue_depth: int
    num_banks: int
    bank_hash: int
    run_limit: int
    anticipate: int
    scan_vectors: int
    ports: int
    adder_stages: int
    gather_fragments: int
    visits: int
    group_bubble: int
    is_ideal: int
    fifo_entries: int
    counted: int
