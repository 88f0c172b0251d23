"""What the shell proposes for words whose possible values only this program knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem


def _starting(incomplete: str, words: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders, by the shell itself."""
    return [CompletionItem(incomplete, type="file")]


def presets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Designs that ship; where none begins so, files."""
    from gscn_sim.config import preset_names

    return _starting(incomplete, preset_names()) or files(ctx, param, incomplete)


def devices(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """GPUs that ship, and their rooflines; where none begins so, files."""
    from gscn_sim.gpu.device import device_names

    names = device_names()
    words = [*names, "roofline", *(f"roofline:{name}" for name in names)]
    return _starting(incomplete, words) or files(ctx, param, incomplete)


def quantities(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What designs can be brought to the same of."""
    return _starting(incomplete, ("area=", "multipliers=", "bandwidth_gbs="))


def networks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Networks whose layers are known."""
    from workloads.networks import network_names

    return _starting(incomplete, network_names())


def assignments(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """``KEY=``, and after it the values that a key with a choice can have."""
    from gscn_sim.config.sections import SECTIONS

    key, equals, _ = incomplete.partition("=")
    choices = {"dram.preset": _memories()}
    for section, made in SECTIONS.items():
        for field in dataclasses.fields(made):
            choices[f"{section}.{field.name}"] = _choices(field)
    if equals:
        return _starting(incomplete, [f"{key}={value}" for value in choices.get(key, ())])
    return _starting(incomplete, [f"{name}=" for name in choices])


def _choices(field: dataclasses.Field[object]) -> tuple[str, ...]:
    if field.type in (bool, "bool"):
        return ("true", "false")
    allowed = field.metadata.get("allowed", ())
    return tuple(map(str, allowed() if callable(allowed) else allowed))


def _memories() -> tuple[str, ...]:
    from gscn_sim.config.overrides import dram_preset_names

    return tuple(dram_preset_names())
