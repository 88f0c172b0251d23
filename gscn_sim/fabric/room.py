"""The room of the global buffer: who has how much of it, job by job."""

from __future__ import annotations

import simpy

from gscn_sim.fabric.component import Component, Probe


class BufferRoom(Component):
    """Bytes of the global buffer that are taken, by what they are taken for.

    ``held``: by the schedule on the PEs; ``kept``: an operand for the job after it too;
    ``sending``: fills read ahead that still go to the PEs; ``ahead``: read ahead for the next job.
    """

    def __init__(
        self, env: simpy.Environment, size_bytes: int, timeline: Probe | None = None
    ) -> None:
        super().__init__(env, "buffer")
        self.size_bytes = size_bytes
        self.taken = dict.fromkeys(("held", "kept", "sending", "ahead"), 0)
        self._changed = env.event()
        self._timeline = timeline

    @property
    def free_bytes(self) -> int:
        """What nobody has."""
        return self.size_bytes - sum(self.taken.values())

    def set(self, **bytes_for: int) -> None:
        """Take so much for each, in place of what it had."""
        self.taken.update(bytes_for)
        if self._timeline is not None:
            level = sum(self.taken.values())
            self._timeline.counter("buffer", "bytes in it", int(self.env.now), level)
        changed, self._changed = self._changed, self.env.event()
        changed.succeed()

    def change(self) -> simpy.Event:
        """The next time anything is taken or given back."""
        return self._changed
