"""What errors, interrupts and readers that have left look like to the shell, in both commands."""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click

from workloads.errors import GscnError, GscnWarning, did_you_mean, one_line

USER_ERROR = 2
INTERNAL_ERROR = 1
INTERRUPTED = 130
MIN_OPEN_FILES = 16
"""With fewer no compiled code can be kept, nor files take the place of others."""


class OneLineErrors(click.Group):
    """A group that turns errors into one line on stderr; ``--debug`` adds the traceback.

    An error of the user's, or of the system (memory, disk, files), ends with exit code 2, one of
    ours with 1, an interrupt with 130. SIGTERM and SIGHUP leave no temporary files behind.
    """

    def __init__(self, **attributes: Any) -> None:
        settings = {"help_option_names": ["-h", "--help"]} | attributes.pop("context_settings", {})
        super().__init__(context_settings=settings, **attributes)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand; the message about an unknown one proposes another."""
        name = str(args[0])
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            known = self.list_commands(ctx)
            raise click.UsageError(
                f"no such command {one_line(name)!r:.80}"
                f"{did_you_mean(name, known) or '; there are ' + ', '.join(known)}",
                ctx,
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that the context names."""
        shown = warnings.showwarning
        warnings.showwarning = functools.partial(_show_warning, shown)
        try:
            found = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
            return found
        except BrokenPipeError:
            # The reader has left.
            _drop_output()
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
        _open_streams()
        try:
            _check_open_files()
            with _ending_by_signals():
                code: Any = run(standalone_mode=False)
        except _Ended as ended:
            _end_by(ended.number)
        except (Exception, KeyboardInterrupt) as error:
            _leave(error, debug=debug)
        sys.exit(code if isinstance(code, int) else 0)


class _Ended(BaseException):
    """The system asked the process to end; what is open is closed on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _ending_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into exceptions, so that temporary files go and children end.

    A second signal ends the process at once.
    """

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise _Ended(number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # nohup, or whoever runs this, may have decided otherwise.
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_by(number: int) -> NoReturn:
    """End as the signal would have ended the process."""
    _drop_output()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    sys.exit(128 + number)


def _check_open_files() -> None:
    """Raise GscnError if the system allows too few open files."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < MIN_OPEN_FILES:
        raise GscnError(
            f"at least {MIN_OPEN_FILES} open files must be allowed, got {allowed}; ulimit -n "
            f"{4 * MIN_OPEN_FILES} allows more"
        )


def _open_streams() -> None:
    """Make output possible: to closed streams, of characters that a terminal does not have."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # or the next file that is opened would take its place
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _drop_output() -> None:
    """Let what is still to be printed go nowhere; Python would complain when it flushes at exit."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    if (reason := _of_the_system(error)) is not None:
        _drop_output()
        _say(f"error: {reason}")
        sys.exit(USER_ERROR)
    hint = "" if debug else " (--debug shows where)"
    _say(f"internal error: {type(error).__name__}: {str(error)[:1000]}{hint}")
    sys.exit(INTERNAL_ERROR)


def _of_the_system(error: BaseException) -> str | None:
    """What the system could not give, if that is what went wrong."""
    if isinstance(error, MemoryError):
        return "not enough memory" + (f": {error}" if str(error) else "")
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename is not None else ""
        if error.errno == errno.ENOSPC:
            where = where or "standard output or a temporary file: "
        return f"{where}{error.strerror or os.strerror(error.errno)}"
    if isinstance(error, ImportError) and os.strerror(errno.EMFILE) in str(error):
        return str(error)
    return None


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
    with suppress(OSError):  # nobody can be told
        click.echo(one_line(" ".join(line.split())), err=True)
