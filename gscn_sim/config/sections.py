"""The sections of a machine's configuration, each frozen and validated when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from gscn_sim.config.fields import check_fields, choice, count, named, real, switch
from gscn_sim.config.memory import DramConfig as DramConfig
from gscn_sim.config.names import dataflows_for, mapping_kinds
from gscn_sim.config.overrides import flatten, make_sections, merge, parsed
from gscn_sim.errors import ConfigError
from gscn_sim.units import exact

MOST_STAGED_DEPTH = 1024
"""Places of a bank queue behind an adder of several stages, of which each is kept track of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayConfig:
    """The grid of PEs and its clock."""

    pe_rows: int = count(14, "rows of the PE grid", maximum=1 << 12)
    pe_cols: int = count(16, "columns of the PE grid", maximum=1 << 12)
    clock_ghz: float = real(1.582, "clock", minimum=0.001, maximum=100.0)

    def __post_init__(self) -> None:
        check_fields(self, "array")


@dataclass(frozen=True, kw_only=True, slots=True)
class PeConfig:
    """One PE: multiplier array, banked accumulators, operand buffers, compression."""

    streamed_vector: int = count(4, "F: streamed non-zeros taken a cycle", maximum=256)
    stationary_vector: int = count(4, "I: stationary non-zeros taken a cycle", maximum=256)
    accumulator_banks: int = count(32, "A: banks, each retires one product a cycle", maximum=4096)
    accumulator_entries: int = count(
        2048, "partial sums a PE holds over all banks (a second set drains)", maximum=1 << 24
    )
    bank_queue_depth: int = count(
        8, "D: products that may wait at a bank", minimum=0, maximum=1 << 20
    )
    bank_hash: str = choice(
        "xor", "which bank an output goes to", "modulo", "xor", "channel", "dnnsim"
    )
    stationary_buffer_bytes: int = count(16384, "buffer of the stationary operand")
    streamed_fifo_entries: int = count(
        256, "FIFO of the streamed operand, in entries; limits with policy.drift = fifo"
    )
    anticipator_vectors: int = count(
        16, "anticipated dataflow: streamed vectors whose ranges are compared a cycle"
    )
    index_bits: int = count(
        6, "bits of a zero-run length; a longer run costs a placeholder", minimum=0, maximum=32
    )
    value_bytes: int = count(4, "bytes of one operand value", maximum=16)
    partial_sum_bytes: int = count(4, "bytes of one partial sum", maximum=16)
    arithmetic: str = choice(
        "exact",
        "what functional mode computes in; bf16: operands and results are rounded to bfloat16, "
        "products are exact, sums in fp32",
        "exact", "bf16",
    )  # fmt: skip
    bank_queue_ports: int = count(
        2, "products a bank takes into its queue a cycle; 0: any number", minimum=0, maximum=65536
    )
    adder_stages: int = count(
        3, "cycles until a sum can be added to again, while other sums go on", maximum=64
    )
    gather_fragments: int = count(
        1,
        "positional: fragments (I entries of a pixel, at most) of the next window read a cycle; "
        "0: any number, with no time ahead",
        minimum=0, maximum=256,
    )  # fmt: skip
    visits_per_cycle: int = count(
        1, "pairing groups without pairs that are passed over a cycle; 0: any number",
        minimum=0, maximum=1 << 16,
    )  # fmt: skip
    group_bubble: int = count(
        1, "cycles between one pairing group and the next", minimum=0, maximum=1 << 10
    )
    round_latency: int = count(
        6, "cycles from the first operands of a round to its first step", minimum=0, maximum=1 << 16
    )
    list_resend: bool = switch(
        True, "a streamed list longer than the FIFO is sent again for every stationary vector"
    )

    def __post_init__(self) -> None:
        check_fields(self, "pe")
        if self.arithmetic == "bf16" and (self.value_bytes, self.partial_sum_bytes) != (2, 4):
            raise ConfigError(
                "pe.value_bytes and pe.partial_sum_bytes must be 2 and 4 with pe.arithmetic bf16, "
                f"got {self.value_bytes} and {self.partial_sum_bytes}"
            )
        if self.gather_fragments > self.stationary_vector:
            raise ConfigError(
                f"pe.gather_fragments must be at most pe.stationary_vector "
                f"({self.stationary_vector}), got {self.gather_fragments}"
            )
        if 0 < self.bank_queue_depth < self.bank_queue_ports - 1:
            raise ConfigError(
                f"pe.bank_queue_depth must be 0 or at least pe.bank_queue_ports - 1 "
                f"({self.bank_queue_ports - 1}), got {self.bank_queue_depth}"
            )
        if self.list_resend and self.streamed_fifo_entries < self.streamed_vector:
            raise ConfigError(
                f"pe.streamed_fifo_entries must be at least pe.streamed_vector "
                f"({self.streamed_vector}) with pe.list_resend, got {self.streamed_fifo_entries}"
            )
        if self.adder_stages > 1 and self.bank_queue_depth > MOST_STAGED_DEPTH:
            raise ConfigError(
                f"pe.bank_queue_depth must be at most {MOST_STAGED_DEPTH} where pe.adder_stages "
                f"is above 1, got {self.bank_queue_depth}"
            )

    @property
    def multipliers(self) -> int:
        """F * I, the multipliers of one PE."""
        return self.streamed_vector * self.stationary_vector

    @property
    def on_chip_bytes(self) -> int:
        """Memory of one PE: stationary buffer, FIFO, and two sets of accumulators."""
        fifo_bits = self.streamed_fifo_entries * (8 * self.value_bytes + self.index_bits)
        return (
            self.stationary_buffer_bytes
            + -(-fifo_bits // 8)
            + 2 * self.accumulator_entries * self.partial_sum_bytes
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BufferConfig:
    """The global buffer between DRAM and the broadcast network."""

    size_bytes: int = count(4 << 20, "capacity of the global buffer")
    rounds_ahead: int = count(4, "rounds whose streamed operand is read from DRAM ahead of use")

    def __post_init__(self) -> None:
        check_fields(self, "buffer")


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """The broadcast network that carries operands to PEs, and partial sums between them."""

    operand_bytes_per_cycle: int = count(
        2048, "distinct operand bytes a cycle, copies are free; 0 never limits", minimum=0
    )
    partial_sums_per_cycle: int = count(
        1, "partial sums a PE exchanges a cycle, in a halo or a reduction", maximum=1 << 16
    )
    dispatch_latency: int = count(
        8, "cycles that word of a begun round, a list done or a meeting is on its way",
        minimum=0, maximum=1 << 16,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_fields(self, "network")


@dataclass(frozen=True, kw_only=True, slots=True)
class DrainConfig:
    """The path from accumulators back to memory: post-processing and write-back."""

    entries_per_cycle: int = count(
        4, "partial sums a PE post-processes a cycle; 0 never limits", minimum=0, maximum=1 << 16
    )
    staging_rounds: int = count(8, "drained rounds that may be on their way to DRAM")
    overlap: bool = switch(True, "drain one accumulator set while the other computes")

    def __post_init__(self) -> None:
        check_fields(self, "drain")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataflowConfig:
    """Which pairs of non-zeros a phase forms; pre-phases follow their phase."""

    forward: str = named("cartesian", "dataflow of forward", dataflows_for("forward"))
    dgrad: str = named("cartesian", "dataflow of dgrad and pre_dgrad", dataflows_for("dgrad"))
    wgrad: str = named("auto", "dataflow of wgrad and pre_wgrad", dataflows_for("wgrad"))

    def __post_init__(self) -> None:
        check_fields(self, "dataflow")


@dataclass(frozen=True, kw_only=True, slots=True)
class MappingConfig:
    """How a layer-phase is split over the PEs."""

    kind: str = named("auto", "what is split over PEs", mapping_kinds)
    tile_rule: str = choice(
        "exact",
        "padded: tiles cut the padded input, accumulators leave out the halo, as DNNsim does",
        "exact",
        "padded",
    )

    group_outputs: int = count(
        0, "most output channels of an accumulator group in forward and dgrad; 0: all that fit",
        minimum=0, maximum=1 << 20,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_fields(self, "mapping")


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyConfig:
    """When PEs, and the operations of a step, wait for each other."""

    barrier: str = choice(
        "none", "PEs that share a stream meet after each", "input_channel", "group", "none"
    )
    drift: str = choice(
        "round", "PEs that share weights are apart by a round, or by what a FIFO holds, at most",
        "round", "fifo",
    )  # fmt: skip
    halo: str = choice("overlapped", "halo exchange and the next group", "serial", "overlapped")
    load_balance: str = choice(
        "sorted", "how the channels and units of wgrad are dealt to PEs", "static", "sorted"
    )
    overlap: bool = switch(
        True, "a step: PE array and vector unit work at the same time, as dependencies allow"
    )
    prefetch: bool = switch(
        True, "with overlap: the next operation's operands are read while the present one runs"
    )
    share_delta: bool = switch(
        True, "with overlap: a delta that fits the global buffer is read once for dgrad and wgrad"
    )

    knowledge: str = choice(
        "previous", "by which masks mappings are chosen and work is dealt: these, those of the "
        "iteration before, or any of these densities", "shape", "previous", "oracle",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_fields(self, "policy")


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorConfig:
    """The vector unit beside the PEs: what a training step does that is no convolution."""

    lanes: int = count(320, "elements it takes a cycle", maximum=1 << 20)
    chunk_bytes: int = count(
        65536, "bytes of one of its two staging buffers: as much is read while the other computes",
        minimum=64, maximum=1 << 30,
    )  # fmt: skip
    parameter_bytes: int = count(
        4, "bytes of a parameter, and of each of its states, as the optimizer keeps them; where "
        "operands differ it writes a copy for the PEs too", maximum=16,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_fields(self, "vector")


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionConfig:
    """Which memory passes a training step saves by doing two things in one."""

    delta: bool = switch(
        True, "the gradient delta is formed, thresholded and compressed where G is made"
    )
    pre_terms: bool = switch(True, "the drain adds the pre-phases' results to dA and dW")
    batch_sum: bool = switch(True, "A is summed over the batch where it is made, for pre_wgrad")
    norm_statistics: bool = switch(True, "the drain sums up for batch-norm as outputs leave")
    activation: bool = switch(True, "ReLU and its mask are applied in the memory pass beside them")
    optimizer: bool = switch(True, "one memory pass of the optimizer over parameters and state")

    def __post_init__(self) -> None:
        check_fields(self, "fusion")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """One machine. ``name`` is the preset or file it came from."""

    name: str = "gscn"
    array: ArrayConfig = field(default_factory=ArrayConfig)
    pe: PeConfig = field(default_factory=PeConfig)
    buffer: BufferConfig = field(default_factory=BufferConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    drain: DrainConfig = field(default_factory=DrainConfig)
    dram: DramConfig = field(default_factory=DramConfig)
    dataflow: DataflowConfig = field(default_factory=DataflowConfig)
    mapping: MappingConfig = field(default_factory=MappingConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    vector: VectorConfig = field(default_factory=VectorConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)

    @property
    def num_pes(self) -> int:
        """PEs of the array."""
        return self.array.pe_rows * self.array.pe_cols

    @property
    def multipliers(self) -> int:
        """Multipliers of one PE (F * I)."""
        return self.pe.multipliers

    @property
    def on_chip_bytes(self) -> int:
        """All memory on the chip: the PEs' and the global buffer."""
        return self.num_pes * self.pe.on_chip_bytes + self.buffer.size_bytes

    @property
    def peak_macs_per_second(self) -> float:
        """Products a second if every multiplier slot were useful."""
        return self.num_pes * self.multipliers * self.array.clock_ghz * 1e9

    @property
    def sections(self) -> dict[str, Any]:
        """The sections by name, in order."""
        return {name: getattr(self, name) for name in SECTIONS}

    def replace(
        self,
        overrides: Mapping[str, Any] | None = None,
        /,
        *,
        name: str | None = None,
        array: ArrayConfig | Mapping[str, Any] | None = None,
        pe: PeConfig | Mapping[str, Any] | None = None,
        buffer: BufferConfig | Mapping[str, Any] | None = None,
        network: NetworkConfig | Mapping[str, Any] | None = None,
        drain: DrainConfig | Mapping[str, Any] | None = None,
        dram: DramConfig | Mapping[str, Any] | None = None,
        dataflow: DataflowConfig | Mapping[str, Any] | None = None,
        mapping: MappingConfig | Mapping[str, Any] | None = None,
        policy: PolicyConfig | Mapping[str, Any] | None = None,
        vector: VectorConfig | Mapping[str, Any] | None = None,
        fusion: FusionConfig | Mapping[str, Any] | None = None,
    ) -> Config:
        """The same machine but for some keys, or with another name.

        ``config.replace({"pe.accumulator_banks": 64})`` and
        ``config.replace(pe={"accumulator_banks": 64})`` are the same. Overrides are as in
        :func:`gscn_sim.load_config`; ``dram={"preset": "hbm2"}`` replaces the whole memory. A whole
        section may be given too.

        Raises:
            ConfigError: naming the key, the value and what is allowed.
        """
        given = {
            "array": array,
            "pe": pe,
            "buffer": buffer,
            "network": network,
            "drain": drain,
            "dram": dram,
            "dataflow": dataflow,
            "mapping": mapping,
            "policy": policy,
            "vector": vector,
            "fusion": fusion,
        }
        changes = parsed(overrides)
        for section, keys in given.items():
            if isinstance(keys, SECTIONS[section]):
                changes |= flatten({section: keys})
            elif isinstance(keys, Mapping | None):
                changes |= parsed({f"{section}.{key}": v for key, v in (keys or {}).items()})
            else:
                raise ConfigError(
                    f"{section} must be a {SECTIONS[section].__name__} or map its keys to values, "
                    f"got {type(keys).__name__}"
                )
        made = make_sections(SECTIONS, merge(flatten(self.sections), changes))
        return Config(name=self.name if name is None else name, **made)

    def cycles(self, nanoseconds: float) -> int:
        """Whole cycles that cover a time (the clock's own rounding, once, at the boundary)."""
        return -int(-nanoseconds * self.array.clock_ghz // 1)

    def seconds(self, cycles: int) -> float:
        """Time of a number of cycles."""
        return cycles / (self.array.clock_ghz * 1e9)

    def memory_cycles(self, moved_bytes: int) -> int:
        """Cycles in which DRAM moves so many bytes at its peak, rounded down; 0 if ideal."""
        if self.dram.kind == "ideal":
            return 0
        return int(moved_bytes * exact(self.array.clock_ghz) / self.dram.exact_peak_gbps)


SECTIONS: dict[str, type] = {
    f.name: f.default_factory  # type: ignore[misc]
    for f in fields(Config)
    if f.name != "name"
}
