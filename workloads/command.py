"""What errors, interrupts and readers that have left look like to the shell, in both commands."""

from __future__ import annotations

import functools
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from workloads.errors import GscnError, GscnWarning

USER_ERROR = 2
INTERNAL_ERROR = 1
INTERRUPTED = 130


class OneLineErrors(click.Group):
    """A group that turns errors into one line on stderr; ``--debug`` adds the traceback.

    An error of the user's ends with exit code 2, one of ours with 1, an interrupt with 130.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that the context names."""
        shown = warnings.showwarning
        warnings.showwarning = functools.partial(_show_warning, shown)
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader has left. Python would complain again when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(0) from None
        finally:
            warnings.showwarning = shown

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run; exits the process unless ``standalone_mode`` is off."""
        run = functools.partial(super().main, args, prog_name, complete_var, **extra)
        if not standalone_mode:
            return run(standalone_mode=False)
        debug = "--debug" in (sys.argv[1:] if args is None else args)
        try:
            code: Any = run(standalone_mode=False)
        except (Exception, KeyboardInterrupt) as error:
            _leave(error, debug=debug)
        sys.exit(code if isinstance(code, int) else 0)


def _leave(error: BaseException, *, debug: bool) -> NoReturn:
    """Say what went wrong in one line on stderr and end the process."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        sys.exit(USER_ERROR)
    if isinstance(error, click.Abort | KeyboardInterrupt):
        _say("interrupted")
        sys.exit(INTERRUPTED)
    if isinstance(error, click.ClickException):
        _say(f"error: {error.format_message()}")
        sys.exit(error.exit_code)
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True)
    if isinstance(error, GscnError):
        _say(f"error: {error}")
        sys.exit(USER_ERROR)
    hint = "" if debug else " (--debug shows where)"
    _say(f"internal error: {type(error).__name__}: {error}{hint}")
    sys.exit(INTERNAL_ERROR)


def _show_warning(
    otherwise: Callable[..., None],
    message: Warning | str,
    category: type[Warning],
    *place: Any,
    **options: Any,
) -> None:
    if issubclass(category, GscnWarning):
        _say(f"warning: {message}")
    else:
        otherwise(message, category, *place, **options)


def _say(line: str) -> None:
    click.echo(" ".join(line.split()), err=True)
