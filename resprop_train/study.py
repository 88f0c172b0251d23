"""The accuracy study: ordinary training against ReSprop, over sparsities, warm-up and seeds."""

from __future__ import annotations

import csv
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from resprop_train.data import Dataset, load_dataset
from resprop_train.data.validation import hold_out
from resprop_train.errors import TrainError, check_reuse_sparsity
from resprop_train.methods import DEFAULT, find_method
from resprop_train.recipe import Recipe
from resprop_train.run import check_writable, train_once
from resprop_train.threshold import make_rule
from workloads.errors import GscnWarning, reason
from workloads.files import atomic_file, read_regular
from workloads.sealed_text import DIGEST, row_digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One training of the study; ``reuse_sparsity`` None is the ordinary baseline.

    ``judged_on`` is ``test``, or ``validation``: a part of the training pictures that is held back,
    for choices that the test pictures must not decide.
    """

    model: str
    dataset: str
    judged_on: str
    method: str
    rule: str
    epochs: int
    batch_size: int
    learning_rate: float
    clip_norm: float | None
    reuse_sparsity: float | None
    density_margin: float
    warmup_epochs: float
    seed: int

    @property
    def baseline(self) -> Run:
        """The ordinary training with the same initial weights and order of pictures."""
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        none = {"method": "", "rule": "", "reuse_sparsity": None}
        return Run(**settings | none | {"density_margin": 0.0, "warmup_epochs": 0.0})


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one run gave: fractions after the last epoch; density and work after the warm-up."""

    accuracy: float
    batch_accuracy: float
    mean_density: float
    backward_work_reduction: float
    whole_run_work_reduction: float
    seconds: float


def plan(
    *,
    model: str,
    dataset: str,
    rule: str,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    clip_norm: float | None,
    reuse_sparsities: Sequence[float],
    warmup_epochs: float,
    seeds: int,
    only_warm_up: bool = False,
    method: str = DEFAULT,
    density_margin: float = 0.0,
    first_seed: int = 0,
    validation: bool = False,
) -> list[Run]:
    """All runs of a study, seed by seed, the baseline of each seed first.

    Each sparsity is trained with warm-up and, unless ``only_warm_up``, without.

    Raises:
        TrainError: a setting that no run can have.
    """
    if seeds < 2:
        raise TrainError(f"seeds must be at least 2 for an interval, got {seeds}")
    make_rule(rule)
    for value in reuse_sparsities:
        find_method(method).check_density(1 - check_reuse_sparsity(value))
    runs: list[Run] = []
    for seed in range(first_seed, first_seed + seeds):
        for sparsity in reuse_sparsities:
            for warm_up in (warmup_epochs,) if only_warm_up else (warmup_epochs, 0.0):
                run = Run(
                    model=model,
                    dataset=dataset,
                    judged_on="validation" if validation else "test",
                    method=method,
                    rule=rule,
                    epochs=epochs,
                    batch_size=batch_size,
                    learning_rate=learning_rate,
                    clip_norm=clip_norm,
                    reuse_sparsity=sparsity,
                    density_margin=density_margin,
                    warmup_epochs=warm_up,
                    seed=seed,
                )
                runs += [r for r in (run.baseline, run) if r not in runs]
    return runs


def carry_out(
    runs: Sequence[Run],
    folder: Path,
    *,
    data_folder: Path | None = None,
    device: str = "auto",
    processes: int = 1,
    report: Callable[[str], None] = lambda line: None,
) -> dict[Run, Outcome]:
    """Do the runs that ``folder/accuracy_runs.csv`` does not have yet; returns all in it.

    Each run is one appended row, so a study that is interrupted goes on where it was, and further
    data sets or rules join the same table. Several ``processes`` share a GPU, or have a core each.
    """
    if processes < 1:
        raise TrainError(f"processes must be at least 1, got {processes}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainError(f"{folder}: cannot be the folder of a study: {reason(error)}") from None
    path = folder / "accuracy_runs.csv"
    check_writable(path)
    done = read_runs(path)
    _rewrite(path, done)
    missing = [run for run in runs if run not in done]
    for index, (run, outcome) in enumerate(_outcomes(missing, data_folder, device, processes)):
        done[run] = outcome
        with open(path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(_sealed_row(run, outcome))
            file.flush()
            os.fsync(file.fileno())
        kind = "ordinary" if run.reuse_sparsity is None else f"{run.method} {run.reuse_sparsity:g}"
        report(
            f"{len(runs) - len(missing) + index + 1}/{len(runs)} {run.dataset} seed {run.seed} "
            f"{kind} warm-up {run.warmup_epochs:g}: accuracy {outcome.accuracy:.4f}, "
            f"density {outcome.mean_density:.3f}, {outcome.seconds:.0f} s"
        )
    return done


def _outcomes(
    runs: Sequence[Run], data_folder: Path | None, device: str, processes: int
) -> Iterator[tuple[Run, Outcome]]:
    """Each run with its outcome, as they end."""
    if processes == 1 or len(runs) < 2:
        for run in runs:
            yield run, _train(run, data_folder, device)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin_process) as pool:
        futures = {pool.submit(_train, run, data_folder, device): run for run in runs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise


def _begin_process() -> None:
    """One thread, and an end when the parent's comes."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def read_runs(path: Path) -> dict[Run, Outcome]:
    """The whole rows of a table of runs.

    A row that an interruption cut short is left out, and with a warning one that is not what its
    digest says; tables of version 0.2 have no digests.

    Raises:
        TrainError: the file is something else.
    """
    if not path.exists():
        return {}
    try:
        lines = read_regular(path).decode("utf-8", "replace").splitlines()
        header, *found = csv.reader(lines) if lines else ([], [])
    except (OSError, csv.Error) as error:
        raise TrainError(f"{path}: cannot be read as a table of runs: {reason(error)}") from None
    sealed = header == [*_header(), DIGEST]
    if lines and not sealed and header != _header():
        raise TrainError(f"{path}: not a table of runs: its columns must be {_header()}")
    rows = [row for row in found if len(row) == len(header)]
    if sealed:
        whole = [row[:-1] for row in rows if row[-1] == row_digest(row[:-1])]
        cut_short = bool(found) and len(found[-1]) < len(header)
        if lost := len(found) - len(whole) - cut_short:
            warnings.warn(
                f"{path}: {lost} rows are not what was written and are left out; their runs run "
                "again",
                GscnWarning,
                stacklevel=2,
            )
        rows = whole
    done = {}
    for row in rows:
        values: Iterator[str] = iter(row)
        try:
            run = Run(**{f.name: _parse(f.type, next(values)) for f in fields(Run)})
            outcome = Outcome(**{f.name: float(next(values)) for f in fields(Outcome)})
        except ValueError:
            raise TrainError(f"{path}: not a row of a study: {','.join(row)}") from None
        done[run] = outcome
    return done


def _rewrite(path: Path, done: dict[Run, Outcome]) -> None:
    rows = [[*_header(), DIGEST], *(_sealed_row(run, outcome) for run, outcome in done.items())]
    with atomic_file(path) as file:
        file.write("".join(",".join(row) + "\n" for row in rows).encode())


def _train(run: Run, data_folder: Path | None, device: str) -> Outcome:
    dataset = _dataset(run.dataset, data_folder)
    if run.judged_on == "validation":
        dataset = hold_out(dataset)
    recipe = Recipe(
        epochs=run.epochs,
        batch_size=run.batch_size,
        learning_rate=run.learning_rate,
        clip_norm=run.clip_norm,
        reuse_sparsity=run.reuse_sparsity,
        density_margin=run.density_margin,
        warmup_epochs=run.warmup_epochs,
        evaluate_every=run.epochs,
        seed=run.seed,
        method=run.method or DEFAULT,  # the baseline has none
        rule=run.rule or "halve-double",
    )
    summary = train_once(run.model, dataset, recipe, device=device, progress=False)
    return Outcome(
        accuracy=summary["accuracy"],
        batch_accuracy=summary["batch_accuracy"],
        mean_density=summary["after_warm_up"]["mean_density"],
        backward_work_reduction=summary["after_warm_up"]["backward_work_reduction"],
        whole_run_work_reduction=summary["whole_run"]["backward_work_reduction"],
        seconds=summary["seconds"],
    )


@cache
def _dataset(name: str, folder: Path | None) -> Dataset:
    """Read once in each process."""
    return load_dataset(name, folder)


def _header() -> list[str]:
    return [field.name for field in (*fields(Run), *fields(Outcome))]


def _row(run: Run, outcome: Outcome) -> list[str]:
    objects: Iterable[Any] = (run, outcome)
    return [as_text(getattr(o, field.name), exact=True) for o in objects for field in fields(o)]


def _sealed_row(run: Run, outcome: Outcome) -> list[str]:
    row = _row(run, outcome)
    return [*row, row_digest(row)]


def as_text(value: Any, *, exact: bool = False) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value) if exact else f"{value:.6g}"
    return str(value)


def _parse(kind: Any, text: str) -> Any:
    if kind == "float | None":
        return float(text) if text else None
    return {"int": int, "float": float, "str": str}[kind](text)
