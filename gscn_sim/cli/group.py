"""The command group: subcommands by name, imported when they are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from workloads.command import OneLineErrors


class CommandGroup(OneLineErrors):
    """A group that imports a subcommand when it is used.

    ``commands`` maps a name to ``module:attribute`` and the line that ``--help`` shows for it. A
    name may have two words, the first of them a command too. Those in ``apart`` come in a section
    of their own, under that heading. ``former`` maps names that commands once had to theirs.
    """

    def __init__(
        self,
        *,
        commands: Mapping[str, tuple[str, str]],
        apart: Mapping[str, Sequence[str]] | None = None,
        former: Mapping[str, str] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(**attributes)
        self.homes = dict(commands)
        self.apart = dict(apart or {})
        self.former = dict(former or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.homes)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.homes:
            return None
        module, _, attribute = self.homes[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        first = str(args[0])
        both = " ".join(map(str, args[:2]))
        if len(args) > 1 and both in self.homes:
            args = [both, *args[2:]]
        elif first in self.former:
            if not ctx.resilient_parsing:
                now = f"{ctx.command_path} {self.former[first]}"
                click.echo(f"note: {ctx.command_path} {first} is now {now}", err=True)
            args = [self.former[first], *args[1:]]
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        lines = [(name, line) for name, (_, line) in self.homes.items()]
        write_sections(formatter, lines, self.apart)


def write_sections(
    formatter: click.HelpFormatter,
    lines: Sequence[tuple[str, str]],
    apart: Mapping[str, Sequence[str]],
) -> None:
    """Write commands and their lines, those in ``apart`` last, under its headings."""
    elsewhere = {name for names in apart.values() for name in names}
    with formatter.section("Commands"):
        formatter.write_dl([line for line in lines if line[0] not in elsewhere])
    for heading, names in apart.items():
        with formatter.section(heading):
            formatter.write_dl([line for line in lines if line[0] in names])
