"""Options that several commands share, and what they mean."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from gscn_sim.cli import completion
from workloads import GscnError, Phase

if TYPE_CHECKING:
    from gscn_sim.config import Config
    from workloads import Trace

DEFAULT_GPU = "gtx-1080ti"
OBJECTIVES = "speedup,energy_j,area_mm2"
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
RUN_ITERATIONS = (
    "Recorded iterations to run; what was recorded before them is known all the same. Default: all."
)


class OutputFile(click.ParamType):
    """A file to write: whether it can be is checked before any work."""

    name = "path"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the path as it was given.

        Raises:
            GscnError: its folder is missing or read-only, or it is no regular file.
        """
        from gscn_sim.files import check_writable

        check_writable(value)
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Let the shell complete files."""
        return [CompletionItem(incomplete, type="file")]


OUTPUT_FILE = OutputFile()


@dataclass(frozen=True, kw_only=True, slots=True)
class DesignOptions:
    """The options that say which design is meant, as they were typed."""

    source: str
    assignments: tuple[str, ...] = ()
    iso: tuple[str, ...] = ()

    def read(self) -> Config:
        """Load the design; what ``--iso`` changed about it is a line on stderr.

        Raises:
            GscnError: no such design, key or value, or a size that it cannot have.
        """
        from gscn_sim.config import load_config

        config = load_config(self.source, read_assignments(self.assignments))
        if not self.iso:
            return config
        from gscn_sim.results.sizes import at_size, parse_iso, scaling_words

        isos = parse_iso(self.iso)
        scaled = at_size(config, isos)
        click.echo(scaling_words(config, scaled, isos), err=True)
        return scaled


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--config``, ``--set`` and ``--iso``; the command gets them as its ``design``."""

    @functools.wraps(command)
    def call(
        *arguments: Any,
        source: str,
        assignments: tuple[str, ...],
        iso: tuple[str, ...],
        **options: Any,
    ) -> Any:
        design = DesignOptions(source=source, assignments=assignments, iso=iso)
        return command(*arguments, design=design, **options)

    with_iso = click.option(
        "--iso",
        metavar="QUANTITY=VALUE",
        multiple=True,
        shell_complete=completion.quantities,
        help="Bring the design to a size: area=MM2 or multipliers=N by the number of PEs, "
        "bandwidth_gbs=GBPS by that of DRAM channels, as near as it comes from below.",
    )(call)
    with_set = click.option(
        "--set",
        "assignments",
        metavar="KEY=VALUE",
        multiple=True,
        shell_complete=completion.assignments,
        help="Change one key of the design, as pe.accumulator_banks=64. Repeatable.",
    )(with_iso)
    return click.option(
        "--config",
        "source",
        metavar="NAME|FILE",
        shell_complete=completion.presets,
        default="gscn",
        show_default=True,
        help="A preset's name or a TOML file.",
    )(with_set)


def phase_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--phase``; :func:`read_phases` takes it."""
    return click.option(
        "--phase",
        "phases",
        metavar="PHASE,...",
        help="Any of "
        + ", ".join(Phase)
        + ". Default: dgrad,wgrad, and both pre-phases for a trace with reuse sparsity.",
    )(command)


def gpu_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--gpu``; :func:`read_gpu` takes it."""
    return click.option(
        "--gpu",
        metavar="NAME|FILE",
        shell_complete=completion.devices,
        default=DEFAULT_GPU,
        show_default=True,
        help=f"The GPU to compare with; 'roofline' is the plain roofline of {DEFAULT_GPU}, "
        "'roofline:NAME' or 'roofline:FILE.toml' that of another. A sweep takes names only.",
    )(command)


def batch_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--batch``."""
    return click.option(
        "--batch",
        "batch_size",
        metavar="N",
        type=click.IntRange(min=1, max=1 << 20),
        help="Samples of a training step, if other than the trace's own.",
    )(command)


def iterations_option(text: str = RUN_ITERATIONS) -> Decorator:
    """Add ``--iterations``; :func:`read_iterations` takes it."""
    return click.option("--iterations", metavar="I,...|last", help=text)


def cache_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--cache``; :func:`gscn_sim.run.memo.open_cache` takes it."""
    return click.option(
        "--cache",
        metavar="DIR|off",
        help="Where results are kept for later runs. Default: $GSCN_SIM_CACHE, or the "
        "user's cache folder. Results do not depend on it.",
    )(command)


def step_gpu_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--gpu`` of whole steps: no roofline, but perhaps a precision, or none."""
    return click.option(
        "--gpu",
        metavar="NAME[:PRECISION]|none",
        shell_complete=completion.devices,
        default=DEFAULT_GPU,
        show_default=True,
        help="The GPU to compare with.",
    )(command)


def quiet_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``-q``; :func:`gscn_sim.cli.progress.progress` takes it."""
    return click.option("-q", "--quiet", is_flag=True, help="No progress.")(command)


def read_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Split ``KEY=VALUE`` texts.

    Raises:
        GscnError: one has no equals sign or an empty side.
    """
    pairs = {}
    for text in assignments:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key or not value:
            raise GscnError(f"--set must be KEY=VALUE, as pe.accumulator_banks=64, got {text!r}")
        pairs[key] = value
    return pairs


def read_phases(text: str | None, trace: Trace) -> tuple[Phase, ...]:
    """Read ``--phase``, or choose the phases of a backward pass of this trace.

    Raises:
        GscnError: an unknown or repeated phase.
    """
    if text is None:
        from gscn_sim.run.simulate import backward_phases

        return tuple(backward_phases(trace))
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in set(Phase):
            raise GscnError(f"--phase must be one or more of {', '.join(Phase)}; got {name!r}")
    if len(set(names)) < len(names):
        raise GscnError(f"--phase must name each phase once, got {text!r}")
    return tuple(Phase(name) for name in names)


def read_iterations(text: str | None, trace: Trace) -> tuple[int, ...] | None:
    """Read ``--iterations``: numbers, or the last one recorded; None for all.

    Raises:
        GscnError: it is neither.
    """
    if text is None:
        return None
    if text.strip() == "last":
        return trace.iterations[-1:]
    try:
        return tuple(sorted({int(number) for number in text.split(",")}))
    except ValueError:
        raise GscnError(
            f"--iterations must be numbers as 46,47, or last, got {text[:80]!r}"
        ) from None


def read_gpu(name: str) -> tuple[str, str]:
    """Return the device and the model of its times that ``--gpu`` asks for.

    Raises:
        GscnError: the device is unknown, or was not measured and its roofline is not asked for.
    """
    from gscn_sim.compare.gpu_times import check_gpu

    roofline, _, other = name.partition(":")
    if roofline == "roofline":
        device, model = other or DEFAULT_GPU, roofline
    else:
        device, model = name, "analytical"
    check_gpu(device, model)
    return device, model


def command_line() -> str:
    """The command as it was typed."""
    return shlex.join(["gscn-sim", *sys.argv[1:]])
