"""The ``resprop-train`` command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from workloads.errors import GscnError


class OneLineErrors(click.Group):
    """A command group whose every user error is one line on stderr and exit code 2."""

    def main(self, *args: Any, standalone_mode: bool = True, **kwargs: Any) -> Any:
        """Run; exits the process unless ``standalone_mode`` is off."""
        kwargs["standalone_mode"] = False
        if not standalone_mode:
            return super().main(*args, **kwargs)
        try:
            code = super().main(*args, **kwargs)
        except (GscnError, click.ClickException) as error:
            text = error.format_message() if isinstance(error, click.ClickException) else str(error)
            click.echo(f"Error: {' '.join(text.split())}", err=True)
            sys.exit(2)
        except (click.Abort, KeyboardInterrupt):
            click.echo("Aborted.", err=True)
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)


@click.group(
    cls=OneLineErrors,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.option("--model", default="resnet8", help="Network; an unknown name lists all.")
@click.option("--dataset", default="digits", help="Data set; an unknown name lists all.")
@click.option("--reuse-sparsity", type=float, default=0.9, help="Zeros wanted, 0 <= s < 1.")
@click.option("--dense", is_flag=True, help="Train with ordinary back-propagation.")
@click.option("--rule", help="Threshold rule; an unknown name lists all.")
@click.option("--warmup-epochs", type=float, help="Length of the gradual warm-up.")
@click.option("--epochs", type=int, help="Length of training.")
@click.option("--steps", "max_steps", type=int, help="Stop after so many steps.")
@click.option("--batch-size", type=int)
@click.option("--learning-rate", type=float)
@click.option("--seed", type=int, default=0)
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
@click.option("--threads", type=int, help="CPU threads; without it as many as cores.")
@click.option("--trace", "trace_path", type=click.Path(path_type=Path), help="Trace to write.")
@click.option("--record", "record_steps", default="last", help="Steps to record: 0,100-103,last")
@click.option("--record-samples", type=int, default=2, help="Samples of a batch to record.")
@click.option("--record-values", is_flag=True, help="Record values, not only masks.")
@click.option(
    "--summary-json", type=click.Path(path_type=Path), help="Write the summary as JSON too."
)
@click.pass_context
def main(context: click.Context, **options: Any) -> None:
    """Train a network with ReSprop and record its sparse gradients."""
    if context.invoked_subcommand is None:
        train(**options)


def train(
    *,
    model: str,
    dataset: str,
    dense: bool,
    device: str,
    threads: int | None,
    trace_path: Path | None,
    record_steps: str,
    record_samples: int,
    record_values: bool,
    summary_json: Path | None,
    **settings: Any,
) -> None:
    """Train once as the options say, and print what came out."""
    from resprop_train.recipe import Recipe
    from resprop_train.run import Recording, train_once

    if threads is not None:
        set_threads(threads)
    settings = {name: value for name, value in settings.items() if value is not None}
    if dense:
        settings["reuse_sparsity"] = None
    recipe = Recipe(**settings)
    if summary_json is not None:
        check_writable(summary_json)
    recording = None
    if trace_path is not None:
        recording = Recording(
            path=trace_path, steps=record_steps, samples=record_samples, values=record_values
        )
    summary = train_once(model, dataset, recipe, device=device, recording=recording)
    click.echo(report(summary))
    if summary_json is not None:
        write_json(summary_json, summary)


def set_threads(threads: int) -> None:
    """Limit the CPU threads of the process."""
    import torch

    from resprop_train.errors import TrainError

    if threads < 1:
        raise TrainError(f"threads must be at least 1, got {threads}")
    torch.set_num_threads(threads)


def report(summary: dict[str, Any]) -> str:
    """The summary of a run in a few lines."""
    lines = ["{model} on {dataset}: {train_pictures} training and {test_pictures} test pictures"]
    lines.append("{steps} steps of batch {batch_size} on {device} in {seconds:.0f} s")
    if summary["accuracy"] is not None:
        lines.append("test accuracy    {accuracy:.1%} (with batch statistics {batch_accuracy:.1%})")
    lines = [line.format_map(summary) for line in lines]
    if summary["reuse_sparsity"] is not None:
        nominal, batch_size = summary["reuse_sparsity"], summary["batch_size"]
        for part, name in (("after_warm_up", "after the warm-up"), ("whole_run", "whole run")):
            figures = summary[part]
            if not figures["steps"]:
                continue
            lines += [
                f"{name}, {figures['steps']} steps:",
                "  reuse sparsity {reuse_sparsity:.3f} reached".format_map(figures)
                + f" ({nominal:.3f} nominal)",
                "  density        {mean_density:.3f} mean, {median_step_density:.3f} median of the "
                "steps".format_map(figures),
                "  backward work  {backward_work_reduction:.2f}x less".format_map(figures)
                + f", pre-phases (1/{batch_size}) included",
            ]
    if summary["trace"] is not None:
        trace = summary["trace"]
        lines.append(
            f"trace            {trace['path']}: iteration "
            f"{', '.join(map(str, trace['iterations']))}, {trace['layers']} layers, "
            f"{trace['samples']} of {summary['batch_size']} samples, "
            f"{trace['size_bytes'] / 1e3:.0f} kB"
        )
    return "\n".join(lines)


def check_writable(path: Path) -> None:
    """Raise TrainError unless a file can be made beside ``path``."""
    from tempfile import TemporaryFile

    from resprop_train.errors import TrainError

    try:
        with TemporaryFile(dir=path.resolve().parent):
            pass
    except OSError as error:
        raise TrainError(f"{path}: cannot write: {error.strerror or error}") from None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    from resprop_train.errors import TrainError
    from workloads.files import atomic_file

    try:
        with atomic_file(path) as file:
            file.write((json.dumps(content, indent=2) + "\n").encode())
    except OSError as error:
        raise TrainError(f"{path}: cannot write: {error.strerror or error}") from None
