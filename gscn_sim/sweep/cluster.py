"""Points evaluated by the workers of a Dask cluster that is already there."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path

from distributed import (
    Client,
    Future,
    KilledWorker,
    Security,
    Worker,
    WorkerPlugin,
    get_worker,
    wait,
)

from gscn_sim.results.provenance import code_digest
from gscn_sim.sweep.errors import ClusterError
from gscn_sim.sweep.evaluate import Evaluate, Results, outcome
from gscn_sim.sweep.points import Point, Workload
from gscn_sim.sweep.store import Outcome
from workloads.errors import one_line

CONNECT_SECONDS = 5
LOOK_SECONDS = 10
"""After so long without a result, look whether there are any workers."""
POINTS_AHEAD = 1
"""Points handed out beyond one for each thread of the cluster, so that none idles."""


@dataclasses.dataclass(frozen=True)
class Stale:
    """What a worker of another version answers."""

    worker: str


class TraceFile(WorkerPlugin):
    """Lays a trace into the worker's own folder, once, also of those that join."""

    def __init__(self, workload: Workload) -> None:
        self.digest = workload.digest
        self.name = f"gscn-sim-trace-{workload.digest}"
        self.content = Path(workload.path).read_bytes()

    def setup(self, worker: Worker) -> None:
        path = trace_path(worker.local_directory, self.digest)
        if not path.exists():
            path.write_bytes(self.content)


class Cluster:
    """A scheduler of points on a Dask cluster: a context manager.

    Each trace travels once to each worker. A point whose worker dies is given to another by Dask;
    if that happens too often (``distributed.scheduler.allowed-failures``) or its result is lost, it
    is tried once more, alone, and then fails. Without workers it waits for some, and ``say``s so.
    A worker with another version of the simulator gets no more points, and others get those it had.

    Raises:
        ClusterError: nothing answers at ``address``, or a trace cannot be read; later, the
            scheduler is gone, or every worker has another version.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        address: str,
        workloads: Sequence[Workload],
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.evaluate, self.address, self.say = evaluate, address, say
        self.stale: set[str] = set()
        _check_certificates(address)
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # errors are said here, once
        try:
            files = {w.digest: TraceFile(w) for w in workloads if Path(w.path).is_file()}
        except OSError as error:
            raise ClusterError(f"a trace cannot be read: {error}") from None
        try:
            self.client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
            for file in files.values():
                self.client.register_plugin(file)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ClusterError(f"no Dask scheduler answers at {address}: {reason}") from None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(OSError, TimeoutError):  # a scheduler that is gone
            self.client.close(timeout=CONNECT_SECONDS)

    def results(self, points: Iterator[Point]) -> Results:
        try:
            yield from self._results(points)
        except (CancelledError, OSError, TimeoutError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of our own store or disk
            raise self._gone() from None

    def _results(self, points: Iterator[Point]) -> Results:
        flying: dict[Future, Point] = {}
        suspects: list[Point] = []
        more = True
        while True:
            while more and len(flying) < self._threads() + POINTS_AHEAD:
                point = next(points, None)
                more = point is not None
                if point is not None:
                    flying[self._submit(point)] = point
            if not flying:
                break
            for future in self._ended(flying):
                point, found = flying.pop(future), self._outcome(future)
                if isinstance(found, Stale):
                    self._exclude(found)
                    flying[self._submit(point)] = point
                elif isinstance(found, str):
                    suspects.append(point)
                else:
                    yield point, found
        for point in suspects:  # beside another that killed the worker, perhaps: now alone
            while isinstance(found := self._alone(point), Stale):
                self._exclude(found)
            yield point, Outcome(metrics=None, error=found) if isinstance(found, str) else found

    def _alone(self, point: Point) -> Outcome | Stale | str:
        (future,) = self._ended([self._submit(point)])
        return self._outcome(future)

    def _threads(self) -> int:
        threads = self.client.nthreads()
        return sum(count for worker, count in threads.items() if worker not in self.stale)

    def _exclude(self, found: Stale) -> None:
        if found.worker not in self.stale:
            self.stale.add(found.worker)
            self.say(f"worker {found.worker} has another version of the simulator: left out")

    def _ended(self, flying: Collection[Future]) -> Collection[Future]:
        """Wait until at least one of the futures has ended, however long there are no workers."""
        told = False
        while True:
            try:
                with self.client.as_current():  # wait() knows no other way to be told
                    ended: set[Future] = wait(
                        list(flying), timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED"
                    ).done
            except TimeoutError:
                if not told and not self._threads():
                    self.say(
                        f"no worker at {self.address}: waiting for 'dask worker {self.address}'"
                    )
                    told = True
            else:
                return ended

    def _submit(self, point: Point) -> Future:
        fitting = None
        if self.stale:
            fitting = [worker for worker in self.client.nthreads() if worker not in self.stale]
            if not fitting:
                raise ClusterError(
                    f"{self.address}: every worker has another version of the simulator; what was "
                    "finished is kept, and the same command goes on"
                )
        return self.client.submit(
            _on_worker, self.evaluate, point, code_digest(), pure=False, workers=fitting
        )

    def _gone(self) -> ClusterError:
        return ClusterError(
            f"{self.address}: the scheduler is gone; what was finished is kept, "
            "and the same command goes on"
        )

    def _outcome(self, future: Future) -> Outcome | Stale | str:
        """How a point ended, or why the cluster lost it: outcome() catches what evaluating raises.

        Raises:
            ClusterError: the scheduler is gone.
        """
        try:
            found: Outcome | Stale = future.result()  # run again if it died with its worker
        except KilledWorker:
            return "the workers of the cluster that ran it died (out of memory?)"
        except CancelledError:
            raise self._gone() from None
        except Exception as error:  # a result that was on a worker when it died, for one
            text = " ".join(str(error).split())
            return f"the point could not be run on the cluster: {text}"
        return found


def _check_certificates(address: str) -> None:
    """Raises ClusterError if an address asks for TLS and Dask is told of no certificates."""
    if not address.startswith("tls://"):
        return
    try:
        context = Security().get_connection_args("client")["ssl_context"]
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(f"{address}: certificates cannot be read: {one_line(error)}") from None
    if context is None:
        raise ClusterError(
            f"{address}: needs certificates: set distributed.comm.tls.ca-file, .client.cert and "
            ".client.key in Dask's configuration or environment"
        )


def trace_path(folder: str, digest: str) -> Path:
    """Where a worker keeps a trace."""
    return Path(folder) / f"trace-{digest}.npz"


def _on_worker(evaluate: Evaluate, point: Point, code: str) -> Outcome | Stale:
    """Evaluate a point where the code is that of the sweep and the trace lies beside the worker."""
    worker = get_worker()
    if code_digest() != code:
        return Stale(worker=worker.address)
    path = trace_path(worker.local_directory, point.workload.digest)
    if path.exists():
        workload = dataclasses.replace(point.workload, path=str(path))
        point = dataclasses.replace(point, workload=workload)
    return outcome(evaluate, point)
