"""Reference pages made from the program itself; ``make reference`` writes them.

``python -m gscn_sim.cli.reference`` prints the page of the commands.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import click

from gscn_sim.cli import COMMANDS, main

if TYPE_CHECKING:
    from gscn_sim.config import Config

HEAD = """# Commands

Generated from the program by `python -m gscn_sim.cli.reference`; do not edit.

Every command prints its tables on stdout and its progress on stderr. Bad input is one line on
stderr and exit code 2, an internal error exit code 1 (`gscn-sim --debug COMMAND ...` shows the
traceback), an interrupt 130. Output files appear whole or not at all.
"""


SHARED_HEAD = """## Options that several commands have

The last line of a command's section names those of these that it has.
"""
SHARED_FROM = 3
"""Commands with the same option, in the same words, from which on it is explained once."""


def reference() -> str:
    """The page, in Markdown."""
    sections: list[_Section] = []
    with click.Context(main, info_name="gscn-sim", **main.context_settings) as context:
        for name in COMMANDS:
            command = main.get_command(context, name)
            assert command is not None
            sections.extend(_commands(command, name, context))
    shared = _shared([option for section in sections for option in section.options])
    parts = [HEAD, f"{SHARED_HEAD}\n{_list(shared)}"]
    parts.extend(text for section in sections for text in section.texts(shared))
    return "\n".join(parts)


def _shared(options: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those that many commands have; of a name with several meanings the most frequent one."""
    counts = Counter(option for option in options if option[1])
    named: dict[str, tuple[str, str]] = {}
    for option, count in counts.most_common():
        if count >= SHARED_FROM:
            named.setdefault(_name(option[0]), option)
    return [option for option in dict.fromkeys(options) if option in named.values()]


def command_reference(command: click.Command, name: str, head: str) -> str:
    """The page of one other program's command, in Markdown, below ``head``."""
    sections = _commands(command, name, None)
    return "\n".join([head, *(text for section in sections for text in section.texts(()))])


CONFIG_HEAD = """# Configuration keys

Generated from the program by `make reference`; do not edit. `gscn-sim config show NAME --keys`
prints the same for one design.

A design is a preset's name or a TOML file: a table for each section below, and at the top `preset
= "NAME"` to start from another design than the default. `dram.preset = "NAME"` puts in a whole
memory, which further `dram` keys change. `--set section.key=value` changes one key after that. An
unknown key, a wrong type or a value out of its range ends with one line that says what is
allowed.
"""


def config_reference() -> str:
    """The page of every configuration key and of what each preset changes, in Markdown."""
    from gscn_sim.cli.config import explained_keys
    from gscn_sim.config import Config
    from gscn_sim.config.overrides import dram_preset_names

    default = Config()
    parts = [CONFIG_HEAD]
    rows = explained_keys(default)
    for section in dataclasses.fields(Config):
        keys = [row for row in rows if row["key"].startswith(f"{section.name}.")]
        if not keys:
            continue
        parts.append(f"## `[{section.name}]`\n\n{getattr(default, section.name).__doc__}\n")
        lines = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
        for row in keys:
            cells = (f"`{row['key']}`", f"`{row['value']}`", row["allowed"], row["meaning"])
            lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
        parts.append("\n".join(lines) + "\n")
    parts.append(f"{PRESETS_HEAD}\n{_presets(default)}")
    memories = ", ".join(f"`{name}`" for name in dram_preset_names())
    parts.append(f"Values of `dram.preset`: {memories}.\n")
    return "\n".join(parts)


PRESETS_HEAD = """## Presets

Keys in which a preset differs from the defaults above, which are `gscn`.
"""


def _presets(default: Config) -> str:
    """A column for each preset, with the name of its memory in place of the memory's keys."""
    from gscn_sim.config import load_config, preset_names
    from gscn_sim.config.loader import flatten_config
    from gscn_sim.config.overrides import dram_preset_names

    memories = {
        name: load_config("gscn", {"dram.preset": name}).dram for name in dram_preset_names()
    }

    def keys(config: Config) -> dict[str, object]:
        named = [name for name, dram in memories.items() if dram == config.dram]
        flat = flatten_config(config)
        if named:
            flat = {key: value for key, value in flat.items() if not key.startswith("dram.")}
        return flat | {"dram.preset": named[0] if named else "its own"}

    base = keys(default)
    presets = {name: keys(load_config(name)) for name in preset_names()}
    presets = {name: found for name, found in presets.items() if found != base}
    names = dict.fromkeys(key for found in (base, *presets.values()) for key in found)
    lines = [
        f"| key | {' | '.join(f'`{name}`' for name in presets)} |",
        "|---" * (1 + len(presets)) + "|",
    ]
    alone: dict[str, list[str]] = {}
    for key in names:
        changed = {
            name: str(found[key]).lower() if isinstance(found[key], bool) else str(found[key])
            for name, found in presets.items()
            if key in found and found[key] != base.get(key)
        }
        if len(changed) > 1:
            lines.append(f"| `{key}` | {' | '.join(changed.get(name, '') for name in presets)} |")
        for name, value in changed.items() if len(changed) == 1 else ():
            alone.setdefault(name, []).append(f"`{key}` {value}")
    lines.append("\nKeys that one preset alone changes:\n")
    lines.extend(f"- `{name}`: {', '.join(keys)}." for name, keys in alone.items())
    return "\n".join(lines) + "\n"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Section:
    """What the page says of one command; options are pairs of option and meaning."""

    path: str
    prose: str
    usage: str
    options: list[tuple[str, str]]

    def texts(self, shared: Collection[tuple[str, str]]) -> Iterator[str]:
        yield f"## `{self.path}`\n\n{self.prose}\n"
        if self.usage:
            yield f"    {self.usage}\n"
        if own := [option for option in self.options if option not in shared]:
            yield _list(own)
        if also := [
            f"`{_name(option)}`" for option, text in self.options if (option, text) in shared
        ]:
            yield f"Also {', '.join(also)}.\n"


def _commands(
    command: click.Command, name: str, parent: click.Context | None
) -> Iterator[_Section]:
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield _Section(
        path=context.command_path,
        prose=_prose(command.help),
        usage="" if isinstance(command, click.Group) and not command.params else usage,
        options=[
            record
            for parameter in command.get_params(context)
            if isinstance(parameter, click.Option)
            and "--help" not in parameter.opts
            and (record := parameter.get_help_record(context)) is not None
        ],
    )
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from _commands(found, child, context)


def _list(options: Collection[tuple[str, str]]) -> str:
    lines = [
        f"- `{option}`: {_prose(text)}" if text else f"- `{option}`" for option, text in options
    ]
    return "\n".join(lines) + "\n"


def _name(option: str) -> str:
    """The long name of ``-o, --output PATH``."""
    return next(word for word in option.replace(",", " ").split() if word.startswith("--"))


def _prose(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    click.echo(reference(), nl=False)
