"""A whole training step on the machine, on the same array without sparsity, and on a GPU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from gscn_sim.config import Config
from gscn_sim.errors import ConfigError
from gscn_sim.results.record import facts_of_layer
from gscn_sim.results.timeline import Timeline
from gscn_sim.run.simulate import prepare
from gscn_sim.step.as_trained import as_trained
from gscn_sim.step.coprocessor import BesideGpu, beside_gpu, coprocessor_config, is_ours
from gscn_sim.step.headline import step_cautions
from gscn_sim.step.machine import MachineStep, ReadyPhase, dense_step, sparse_step
from gscn_sim.step.result import Deploy, StepRun
from workloads import Phase, Trace, TraceError
from workloads.step import Step
from workloads.step_file import known_step, known_steps

if TYPE_CHECKING:
    import pandas as pd

    from gscn_sim.run.memo import Cache
    from gscn_sim.run.simulate import Progress

DEPLOY: tuple[Deploy, ...] = ("standalone", "coprocessor")


def simulate_step(
    trace: Trace,
    config: Config,
    *,
    step: Step | None = None,
    batch_size: int | None = None,
    gpu: str | None = "gtx-1080ti",
    precision: str | None = None,
    deploy: Deploy = "standalone",
    link_gbps: float = 64.0,
    cache: Cache | None = None,
    progress: Progress | None = None,
    timeline: str | Path | None = None,
    iterations: Collection[int] | None = None,
) -> StepRun:
    """Run a whole training step.

    Args:
        step: its operations; those in the trace by default, else (or for another batch size)
            those of a well-known network of the trace's name and batch size.
        batch_size: samples; the step's own if it is given or in the trace, else the trace's.
        gpu, precision: what to compare with (None: nothing).
        deploy: ``standalone``: all of it here; ``coprocessor``: the GPU keeps all but the backward
            convolutions, whose operands and results cross a link of ``link_gbps`` 10^9 bytes a
            second in each direction; both sides and the link work at the same time where the
            graph allows.
        timeline: file to write a trace-event timeline of the step to.
        iterations: those of the trace to run; all by default.

    Raises:
        TraceError: there is no step. StepMismatchError: it is not the trace's, or it has an
            operation without a rule.
        ConfigError: an unknown way to deploy, or a co-processor without a GPU.
    """
    _check_deployment(deploy, gpu, link_gbps)
    found = step_of(trace, step, batch_size)
    table, energy = _on_gpu(found, gpu, precision)  # an unknown device is refused before the work
    if deploy == "coprocessor":
        config = coprocessor_config(config)
    # Matmuls of the step stay at their best case.
    recorded = trace.without_matmuls()
    ready = _iterations(recorded, found, config, cache, progress, iterations)
    recorder = None
    if timeline is not None:
        recorder = Timeline(clock_ghz=config.array.clock_ghz, num_pes=config.num_pes)
    on_machine, records = sparse_step(found, ready, config, recorder)
    if recorder is not None and timeline is not None:
        recorder.save(timeline)
    facts = trace.metadata()
    beside = None
    if deploy == "coprocessor" and gpu is not None:
        beside = _beside(found, on_machine, config, gpu, precision, link_gbps)
    return StepRun(
        config=config,
        network=trace.network,
        batch_size=found.batch_size,
        deploy=deploy,
        gpu=gpu if precision is None else f"{gpu}:{precision}",
        on_machine=on_machine,
        on_dense=dense_step(found, config),
        gpu_operations=table,
        gpu_energy_j=energy,
        beside=beside,
        trace={**facts, "digest": trace.digest},
        cautions=step_cautions(records, facts, gpu, precision, table),
    )


def _check_deployment(deploy: str, gpu: str | None, link_gbps: float) -> None:
    if deploy not in DEPLOY:
        raise ConfigError(f"deploy must be one of {', '.join(DEPLOY)}, got {deploy!r}")
    if deploy == "coprocessor" and gpu is None:
        raise ConfigError("a co-processor needs a GPU beside it, got none")
    if link_gbps <= 0:
        raise ConfigError(f"link_gbps must be above 0, got {link_gbps}")


def _beside(
    step: Step,
    on_machine: MachineStep,
    config: Config,
    gpu: str,
    precision: str | None,
    link_gbps: float,
) -> BesideGpu:
    """The step on a GPU and the machine beside it."""
    from gscn_sim.gpu import operation_seconds

    kept = {i: o for i, o in enumerate(step.operations) if not is_ours(o)}
    return beside_gpu(
        step.operations,
        {i: o.cycles for i, o in enumerate(on_machine.operations) if i not in kept},
        operation_seconds(kept, gpu, precision),
        clock_ghz=config.array.clock_ghz,
        link_gbps=link_gbps,
    )


def step_of(trace: Trace, step: Step | None, batch_size: int | None) -> Step:
    """The step to run for a trace: given, recorded or known, with the trace's extra phases.

    Raises:
        TraceError: there is none, or it is of another batch size.
    """
    found = step or trace.step
    is_other = found is not None and batch_size not in (None, found.batch_size)
    if found is None or (step is None and is_other and _is_known(trace.network, batch_size)):
        found = known_step(trace.network, batch_size or trace.batch_size)
    if batch_size not in (None, found.batch_size):
        raise TraceError(
            f"the step of {found.network} is of batch {found.batch_size}, not {batch_size}"
        )
    return as_trained(found, trace)


def _is_known(network: str, batch_size: int | None) -> bool:
    return (network, batch_size) in known_steps()


def _phases(trace: Trace, step: Step) -> list[Phase]:
    """Phases that the trace has masks for and the step has operations of, in the enum's order."""
    recorded = {phase for layer in trace.layers for phase in layer.phases()}
    in_step = {operation.layer_phase for operation in step.operations}
    return [phase for phase in Phase if phase in recorded and phase in in_step]


def _iterations(
    trace: Trace,
    step: Step,
    config: Config,
    cache: Cache | None,
    progress: Progress | None,
    wanted_iterations: Collection[int] | None,
) -> list[dict[tuple[str, Phase], ReadyPhase]]:
    """The layer-phases of each recorded iteration; a layer without it is as it last was."""
    wanted = _phases(trace, step)
    found: dict[int, dict[tuple[str, Phase], ReadyPhase]] = defaultdict(dict)
    every: dict[tuple[str, Phase], ReadyPhase] = {}
    for layer, phase, prepared in prepare(
        *(trace, config, wanted),
        batch_size=step.batch_size,
        cache=cache,
        progress=progress,
        iterations=wanted_iterations,
    ):
        ready = ReadyPhase(prepared=prepared, facts=facts_of_layer(layer, step.batch_size))
        found[layer.iteration][layer.name, phase] = ready
        every.setdefault((layer.name, phase), ready)
    iterations = []
    for _, its_own in sorted(found.items()):
        every = {**every, **its_own}
        iterations.append(every)
    return iterations or [{}]


def _on_gpu(
    step: Step, gpu: str | None, precision: str | None
) -> tuple[pd.DataFrame | None, float]:
    """The ordinary step on a GPU, and its energy."""
    if gpu is None:
        return None, float("nan")
    from gscn_sim.gpu import GpuError, predict_step, step_energy_j

    table = predict_step(step.without("resprop"), device=gpu, precision=precision)
    try:
        return table, step_energy_j(table, gpu, precision)
    except GpuError:  # nobody measured this device's energy
        return table, float("nan")
