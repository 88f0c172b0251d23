"""Which passes of the layers belong to one training iteration."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from resprop_train.reuse import LayerEvent

if TYPE_CHECKING:
    from resprop_train.capture import Recorder


class Follower:
    """Tells iterations apart in anyone's loop and has the wanted ones recorded.

    An iteration begins with the first training forward pass of a converted layer after a backward
    pass. One that was asked for and turns out to be an ordinary one is replaced by the next.
    """

    def __init__(self, recorder: Recorder, wanted: Collection[int] | None) -> None:
        self.recorder = recorder
        self.wanted = None if wanted is None else sorted(set(wanted))
        self.count = 0
        self.pending: list[int] = []
        self.open = False
        self.went_back = False
        recorder.may_begin = lambda: self.went_back or not self.open
        for reuse in recorder.layers.values():
            reuse.observers.insert(0, self)

    def on_forward(self) -> None:
        """Perhaps the beginning of an iteration."""
        if self.open and not self.went_back:
            return
        self.end()
        self.open, self.went_back = True, False
        if self.wanted is None:
            self.recorder.begin(self.count)
        else:
            if self.count in self.wanted:
                self.pending.append(self.count)
            if self.pending:
                asked = self.pending[0]
                moved = asked if asked != self.count else None
                self.recorder.begin(self.count, in_place_of=moved)
        self.count += 1

    def on_pass(self, event: LayerEvent) -> None:
        """A backward pass ends the forward part of an iteration."""
        self.went_back = self.went_back or event.backward

    def end(self) -> None:
        """The iteration is over."""
        if self.went_back:
            self.recorder.recorded.seen += 1
        if self.recorder.recording and self.recorder.finish() and self.pending:
            self.pending.pop(0)
        self.went_back = False

    def leave(self) -> None:
        """Look on no longer."""
        for reuse in self.recorder.layers.values():
            reuse.observers = [o for o in reuse.observers if o is not self]
        self.recorder.recorded.asked = self.wanted
        self.recorder.recorded.unreplaced = self.pending
        for iteration in self.wanted or ():
            if iteration >= self.count:
                self.recorder.recorded.never.append(iteration)
