"""The ``resprop-train`` command."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from resprop_train.step_command import step
from workloads.command import OneLineErrors


def training_options(command: Any) -> Any:
    """All options of a training run; those left out keep the recipe's values."""
    flag: dict[str, Any] = {"is_flag": True, "default": None}
    file, folder = click.Path(path_type=Path), click.Path(path_type=Path)
    options = [
        click.option("--model", default="resnet8", help="Network; an unknown name lists all."),
        click.option(
            "--dataset", default="digits", help="Name (an unknown one lists all) or idx:DIR."
        ),
        click.option("--data-folder", type=folder, help="Where a local data set is."),
        click.option("--preset", default="default", help="default, or paper: its SGD recipe."),
        click.option("--reuse-sparsity", type=float, default=0.9, help="Zeros wanted, 0 <= s < 1."),
        click.option("--layer", multiple=True, help="Another sparsity for a layer: NAME=VALUE."),
        click.option("--dense", is_flag=True, help="Train with ordinary back-propagation."),
        click.option("--method", help="What is made sparse; an unknown name lists all."),
        click.option("--rule", help="Threshold rule; an unknown name lists all."),
        click.option("--warmup-epochs", type=float, help="Length of the gradual warm-up."),
        click.option("--density-margin", type=float, help="Added to wanted densities below 1."),
        click.option("--sample-groups", type=int, help="Parts of a batch with a reused sample."),
        click.option("--dense-edges", **flag, help="First and last step of an epoch ordinary."),
        click.option("--linear", **flag, help="Fully connected layers reuse gradients too."),
        click.option("--epochs", type=int, help="Length of training."),
        click.option("--steps", "max_steps", type=int, help="Stop after so many steps."),
        click.option("--batch-size", type=int),
        click.option("--accumulate", type=int, help="Batches for one update."),
        click.option("--learning-rate", type=float),
        click.option("--lr-schedule", help="constant, cosine or step."),
        click.option("--momentum", type=float),
        click.option("--weight-decay", type=float),
        click.option("--clip-norm", type=float, help="Shorten longer gradients to this norm."),
        click.option("--amp", **flag, help="Mixed precision."),
        click.option("--channels-last", **flag, help="Memory order N, H, W, C."),
        click.option("--recalibrate", type=int, help="Batches to renew batch-norm before a test."),
        click.option("--evaluate-every", type=int, help="Epochs between tests; 0 for none."),
        click.option("--seed", type=int, default=0),
        click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1, ..."),
        click.option("--threads", type=int, help="CPU threads; without it as many as cores."),
        click.option("--trace", type=file, help="Trace to write."),
        click.option("--record", default="last", help="Steps to record: 0,100-103,last:8"),
        click.option(
            "--record-samples", type=int, default=16, help="Samples of a batch to record, at most."
        ),
        click.option("--record-values", is_flag=True, help="Record values, not only masks."),
        click.option("--log", type=folder, help="Folder for steps.csv, epochs.csv, layers.csv."),
        click.option("--tensorboard", is_flag=True, help="Event files in the log folder too."),
        click.option("--cosine", is_flag=True, help="Log how far the hybrid gradient turns."),
        click.option("--checkpoint", type=file, help="File to save the whole state of the run in."),
        click.option("--checkpoint-every", type=int, default=0, help="Steps; 0: each epoch."),
        click.option("--resume", is_flag=True, help="Go on from the checkpoint, if it exists."),
        click.option("--summary-json", type=file, help="Write the summary as JSON too."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(
    cls=OneLineErrors,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
@training_options
@click.pass_context
def main(context: click.Context, debug: bool, **options: Any) -> None:
    """Train a network with ReSprop and record its sparse gradients."""
    if context.invoked_subcommand is None:
        train(**options)


def train(
    *,
    model: str,
    dataset: str,
    data_folder: Path | None,
    preset: str,
    layer: tuple[str, ...],
    dense: bool,
    device: str,
    threads: int | None,
    trace: Path | None,
    record: str,
    record_samples: int,
    record_values: bool,
    summary_json: Path | None,
    **settings: Any,
) -> None:
    """Train once as the options say, and print what came out."""
    from resprop_train.errors import TrainError
    from resprop_train.recipe import PRESETS, Recipe
    from resprop_train.run import Files, Recording, check_writable, train_once

    if threads is not None:
        set_threads(threads)
    if preset not in PRESETS:
        raise TrainError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    names = ("log", "tensorboard", "cosine", "checkpoint", "checkpoint_every", "resume")
    files = {name: settings.pop(name) for name in names}
    given = {name: value for name, value in settings.items() if value is not None}
    if dense:
        given["reuse_sparsity"] = None
    given["per_layer"] = dict(parse_layer(text) for text in layer)
    recipe = Recipe(**(PRESETS[preset] | given))
    recording = None
    if trace is not None:
        recording = Recording(
            path=trace, steps=record, samples=record_samples, values=record_values
        )
    if summary_json is not None:
        check_writable(summary_json)
    summary = train_once(
        model,
        dataset,
        recipe,
        data_folder=data_folder,
        device=device,
        files=Files(recording=recording, **files),
    )
    if int(os.environ.get("RANK", "0")) != 0:
        return
    click.echo(report(summary))
    if summary_json is not None:
        write_json(summary_json, summary)


def parse_layer(text: str) -> tuple[str, float]:
    """Name and reuse sparsity of ``NAME=VALUE``."""
    from resprop_train.errors import TrainError

    name, _, value = text.rpartition("=")
    try:
        return name, float(value)
    except ValueError:
        raise TrainError(f"layer must be like conv1=0.5, got {text!r}") from None


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
        nominal, extra = summary["reuse_sparsity"], summary["extra_phases"]
        added = "" if extra == "none" else f", {extra}-phases (1/{summary['batch_size']}) included"
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
                "  backward work  {backward_work_reduction:.2f}x less".format_map(figures) + added,
            ]
    if summary["trace"] is not None:
        trace = summary["trace"]
        steps = ", ".join(map(str, trace["iterations"]))
        lines.append(
            f"trace            {trace['path']}: iteration{'s' * (',' in steps)} {steps}, "
            f"{trace['layers']} layers, "
            f"{trace['samples']} of {summary['batch_size']} samples, "
            f"{trace['size_bytes'] / 1e3:.0f} kB"
        )
        lines += trace["notes"]
    return "\n".join(lines)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    from resprop_train.errors import TrainError
    from workloads.files import atomic_file

    try:
        with atomic_file(path) as file:
            file.write((json.dumps(content, indent=2) + "\n").encode())
    except OSError as error:
        raise TrainError(f"{path}: cannot write: {error.strerror or error}") from None


@main.command("measure-gpu")
@click.option("--output", "-o", type=click.Path(path_type=Path), default=Path("gpu.csv"))
@click.option("--minutes", type=float, default=30.0, help="Stop by then; a second run goes on.")
@click.option("--modes", default="fp32,tf32,bf16", help="Precisions, with commas.")
def measure_gpu(output: Path, minutes: float, modes: str) -> None:
    """Time layers and steps on the CUDA GPU at hand, for 'gscn-sim gpu fit'."""
    from resprop_train import measure_gpu as work
    from resprop_train.errors import TrainError

    chosen = tuple(modes.split(","))
    if set(chosen) - set(work.MODES):
        raise TrainError(f"--modes must be some of {', '.join(work.MODES)}, got {modes!r}")
    if not minutes > 0:
        raise TrainError(f"--minutes must be positive, got {minutes:g}")
    index = work.cuda_index()
    try:
        missing = work.measure(
            output,
            minutes=minutes,
            modes=chosen,
            figures=lambda: work.card_figures(index),
            time_of=lambda job: work.cuda_times(job, index),
            say=lambda line: click.echo(line, err=True),
        )
    except OSError as error:
        raise TrainError(f"{output}: cannot write: {error.strerror or error}") from None
    click.echo(f"wrote {output}; {missing} rows are missing")


@main.command()
@click.option("--model", default="resnet8")
@click.option("--dataset", default="digits")
@click.option("--data-folder", type=click.Path(path_type=Path), help="Where a local data set is.")
@click.option("--method", default="resprop", help="What is made sparse.")
@click.option("--rule", default="mean-density", help="Threshold rule.")
@click.option("--reuse-sparsity", default="0.5,0.7,0.8,0.9,0.95", help="Values, with commas.")
@click.option("--warmup-epochs", type=float, default=9.0, help="Compared with no warm-up.")
@click.option("--only-warm-up", is_flag=True, help="Leave out the runs without warm-up.")
@click.option("--epochs", type=int, default=30)
@click.option("--batch-size", type=int, default=128)
@click.option("--learning-rate", type=float, default=0.1)
@click.option("--clip-norm", type=float, help="Shorten longer gradients to this norm.")
@click.option("--density-margin", type=float, default=0.0, help="Added to wanted densities.")
@click.option("--seeds", type=int, default=5)
@click.option("--first-seed", type=int, default=0)
@click.option("--validation", is_flag=True, help="Judge by a fifth of the training pictures.")
@click.option("--processes", type=int, default=1, help="Runs at a time, each in one thread.")
@click.option("--device", default="auto")
@click.option("--threads", type=int, help="CPU threads; without it as many as cores.")
@click.option("--output", "-o", type=click.Path(path_type=Path), default=Path("results/study"))
def study(
    *,
    data_folder: Path | None,
    reuse_sparsity: str,
    device: str,
    threads: int | None,
    processes: int,
    output: Path,
    **settings: Any,
) -> None:
    """Compare accuracy with ordinary training; goes on where an earlier study stopped."""
    import shlex

    from resprop_train.errors import TrainError
    from resprop_train.study import carry_out, plan
    from resprop_train.study_comparison import compare
    from resprop_train.study_results import write_results

    if threads is not None:
        set_threads(threads)
    try:
        values = [float(part) for part in reuse_sparsity.split(",")]
    except ValueError:
        raise TrainError(f"reuse_sparsity must be like 0.8,0.9, got {reuse_sparsity!r}") from None
    runs = plan(reuse_sparsities=values, **settings)
    try:
        done = carry_out(
            runs,
            output,
            data_folder=data_folder,
            device=device,
            processes=processes,
            report=lambda line: click.echo(line, err=True),
        )
        rows = compare(done)
        write_results(rows, output, command=f"resprop-train {shlex.join(sys.argv[1:])}")
    except OSError as error:
        raise TrainError(f"{output}: cannot write: {error.strerror or error}") from None
    click.echo(
        f"data set   {'rule':25} wanted  warm-up  clip  seeds  density  work less  "
        f"{'points lost (95 %)':25} method"
    )
    for row in rows:
        clip_norm = "none" if row.clip_norm is None else f"{row.clip_norm:g}"
        lost = f"{row.loss_points:+.2f} ({row.loss_points_low:+.2f} to {row.loss_points_high:+.2f})"
        judged = "" if row.judged_on == "test" else f", judged on {row.judged_on}"
        click.echo(
            f"{row.dataset:10} {row.rule:25} {row.reuse_sparsity:6.2f}  {row.warmup_epochs:7g}  "
            f"{clip_norm:>4}  {row.seeds:5}  {row.mean_density:7.3f}  "
            f"{row.backward_work_reduction:8.2f}x  {lost:25} {row.method}{judged}"
        )


main.add_command(step)
