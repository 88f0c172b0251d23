"""What one user of the memory sees of it: names of its own for its streams, counters of its own."""

from __future__ import annotations

from collections.abc import Mapping

from gscn_sim.fabric.component import Component
from gscn_sim.fabric.dram import Dram, Transfer


class MemoryPort(Component):
    """The way of one user to a memory that others use too.

    Two ports may call their streams the same. Counters: ``read_bytes`` and ``write_bytes`` (whole
    bursts) that went through this port.
    """

    def __init__(self, dram: Dram, path: str = "") -> None:
        super().__init__(dram.env, path)
        self.dram = dram
        self._burst_bytes = dram.burst_bytes
        self._prefix = f"{path}/" if path else ""

    def lay_out(self, sizes_bytes: Mapping[str, int]) -> None:
        """Put the streams of an operand one behind the other, from a row of their own on."""
        self.dram.lay_out({self._prefix + name: size for name, size in sizes_bytes.items()})

    def transfer(self, size_bytes: int, *, write: bool, stream: str) -> Transfer:
        """Reserve a run of bytes, now (:meth:`Dram.transfer`)."""
        burst = self._burst_bytes
        key = "write_bytes" if write else "read_bytes"
        self.counters[key] += -(-size_bytes // burst) * burst
        return self.dram.transfer(size_bytes, write=write, stream=self._prefix + stream)

    def read(self, size_bytes: int, stream: str) -> int:
        """Reserve a read now; the absolute cycle at which its last byte has arrived."""
        return self.transfer(size_bytes, write=False, stream=stream).done_cycle

    def write(self, size_bytes: int, stream: str) -> int:
        """Reserve a write now; the absolute cycle at which the memory has taken its last byte."""
        return self.transfer(size_bytes, write=True, stream=stream).done_cycle
