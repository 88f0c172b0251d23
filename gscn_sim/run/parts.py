"""Layer-phases one by one, each remembered: a run that stopped half-way goes on where it ended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count

from gscn_sim.config import Config
from gscn_sim.config.names import DATAFLOWS, MAPPING_KINDS
from gscn_sim.config.sections import FusionConfig, VectorConfig
from gscn_sim.results.record import PhaseRecord, facts_of_layer
from gscn_sim.run.knowledge import layers_to_run
from gscn_sim.run.memo import Cache, digest_of
from gscn_sim.run.pipeline import finish_phase, prepare_phase
from gscn_sim.run.simulate import dense_key
from workloads import Layer, Phase, Trace


def records_of(
    trace: Trace,
    config: Config,
    phases: Sequence[Phase],
    *,
    batch_size: int | None,
    cache: Cache,
    wanted: Collection[int] | None = None,
) -> Mapping[int, PhaseRecord]:
    """The records of some layer-phases (None: all) by their numbers in the order of the trace.

    They are those of :func:`gscn_sim.run.simulate.simulate`.

    Raises:
        ConfigError: one cannot be mapped.
    """
    found: dict[int, PhaseRecord] = {}
    dense: dict[object, PhaseRecord] = {}
    # Convolutions do not read these.
    machine = replace(config, name="", vector=VectorConfig(), fusion=FusionConfig())
    numbers = count()
    for layer, before in layers_to_run(trace):
        batch = batch_size or trace.batch_of(layer)
        for phase in phases:
            if phase not in layer.phases():
                continue
            number = next(numbers)
            if wanted is not None and number not in wanted:
                continue
            key = dense_key(layer, phase)
            record = dense.get(key)
            if record is None:
                record = _remembered(layer, phase, machine, batch, before, cache)
            if phase.is_pre_phase:
                dense[key] = record
            facts = facts_of_layer(layer, batch)
            found[number] = replace(record, network=trace.network, **facts)
    return found


def _remembered(
    layer: Layer, phase: Phase, config: Config, batch_size: int, before: Layer | None, cache: Cache
) -> PhaseRecord:
    arguments = layer, phase, config, batch_size
    compute: Callable[[], PhaseRecord] = partial(_simulated, *arguments, before, cache)
    if DATAFLOWS.was_added_to or MAPPING_KINDS.was_added_to:
        return compute()  # whose code is in no digest
    return cache.get_on_disk(digest_of(_simulated, *arguments, before), compute)


def _simulated(
    layer: Layer, phase: Phase, config: Config, batch_size: int, before: Layer | None, cache: Cache
) -> PhaseRecord:
    prepared = prepare_phase(layer, phase, config, batch_size, cache, before)
    return finish_phase("", layer, prepared, config)[0]
