"""Who evaluates the points: this process, several on this machine, or a cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, Self

from gscn_sim.kernels.place import code_folders
from gscn_sim.sweep.errors import ClusterError
from gscn_sim.sweep.evaluate import Evaluate, Results, outcome
from gscn_sim.sweep.points import Point, Workload
from gscn_sim.sweep.store import Outcome

MAX_DEATHS = 2
TIDY_SECONDS = 3.0


class Scheduler(Protocol):
    """Evaluates points in any order; takes the next one only when it has room for it."""

    def results(self, points: Iterator[Point]) -> Results: ...


def open_scheduler(
    place: str,
    evaluate: Evaluate,
    workers: int,
    workloads: Sequence[Workload],
    say: Callable[[str], None] = lambda text: None,
) -> AbstractContextManager[Scheduler]:
    """The scheduler that ``local`` or the address of a Dask scheduler asks for.

    ``say`` is told what people should know while a cluster is at work.

    Raises:
        ClusterError: it is neither, nothing answers there, or dask.distributed is not installed.
    """
    if place == "local":
        return nullcontext(InProcess(evaluate)) if workers == 1 else Processes(evaluate, workers)
    if "://" not in place:
        raise ClusterError(f"--scheduler must be local or tcp://HOST:PORT, got {place!r}")
    try:
        from gscn_sim.sweep.cluster import Cluster
    except ImportError:
        raise ClusterError(
            f"--scheduler {place} needs dask.distributed (pip install 'gscn-sim[cluster]')"
        ) from None
    return Cluster(evaluate, place, workloads, say)


class InProcess:
    """One point after the other, here."""

    def __init__(self, evaluate: Evaluate) -> None:
        self.evaluate = evaluate

    def results(self, points: Iterator[Point]) -> Results:
        for point in points:
            yield point, outcome(self.evaluate, point)


class Processes:
    """Worker processes on this machine; they end with this process, however it ends.

    They stay, with what they remember, from batch to batch until the scheduler is closed. A point
    during which a worker dies is tried once more, alone, and then fails.
    """

    def __init__(self, evaluate: Evaluate, workers: int) -> None:
        self.evaluate, self.workers = evaluate, workers
        self._open: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def results(self, points: Iterator[Point]) -> Results:
        suspects: list[Point] = []
        pool = self._pool_of_all()
        flying: dict[Future[Outcome], Point] = {}
        try:
            more, broken = True, False
            while more or flying:
                # One more than there are workers, so that none idles.
                while more and not broken and len(flying) <= self.workers:
                    point = next(points, None)
                    more = point is not None
                    if point is None:
                        break
                    try:
                        flying[pool.submit(outcome, self.evaluate, point)] = point
                    except BrokenProcessPool:  # a worker died since the last look
                        suspects.append(point)
                        broken = True
                done, _ = wait(flying, return_when=FIRST_COMPLETED)
                for future in done:
                    point = flying.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        suspects.append(point)
                        broken = True
                    else:
                        yield point, future.result()
                if broken:
                    suspects.extend(flying.values())
                    flying.clear()
                    self._close()
                    pool = self._pool_of_all()
                    yield from self._alone(suspects)
                    suspects.clear()
                    broken = False
        finally:
            if flying:  # whoever asked wants no more
                self._close()

    def _pool_of_all(self) -> ProcessPoolExecutor:
        if self._open is None:
            code_folders()  # chosen here, all workers use the same
            self._open = self._pool(self.workers)
        return self._open

    def _close(self) -> None:
        if self._open is not None:
            _end(self._open)
            self._open = None

    def _alone(self, points: list[Point]) -> Results:
        """Evaluate points that may have killed a worker, each in a process of its own."""
        for point in points:
            pool = self._pool(1)
            try:
                yield point, pool.submit(outcome, self.evaluate, point).result()
            except BrokenProcessPool:
                text = f"the worker process died {MAX_DEATHS} times (out of memory?)"
                yield point, Outcome(metrics=None, error=text)
            finally:
                _end(pool)

    def _pool(self, workers: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def _end(pool: ProcessPoolExecutor) -> None:
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + TIDY_SECONDS
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0.0))
        if process.is_alive():  # it has been stopped, for one, and does not see the signal
            process.kill()
            process.join()


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when the parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
