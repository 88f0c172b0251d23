"""The training loop; everything that is not training itself hangs on callbacks."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resprop_train.conversion import convert, reuse_layers, schedule_densities, set_reuse
from resprop_train.data import Dataset
from resprop_train.data.batches import batches_per_epoch, training_batches
from resprop_train.errors import TrainError
from resprop_train.evaluate import accuracy, recalibrate
from resprop_train.recipe import Recipe
from resprop_train.reuse import LayerStep, Reuse, last_steps
from resprop_train.schedule import learning_rate
from resprop_train.work import WorkMeter


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """One training step; ``density`` is 1 in ordinary training."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    density: float
    seconds: float
    layers: tuple[LayerStep, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochReport:
    """One evaluation: fractions of test pictures classified correctly.

    ``accuracy`` uses batch normalisation's running statistics, ``batch_accuracy`` those of each
    test batch.
    """

    epoch: int
    step: int
    loss: float
    accuracy: float
    batch_accuracy: float
    mean_density: float


class Callback:
    """Called by the loop; override what is needed."""

    def on_start(self, trainer: Trainer) -> None:
        """Before the first step of this process."""

    def on_step_start(self, trainer: Trainer) -> None:
        """Before the forward pass of a step (``trainer.step``)."""

    def on_step_end(self, trainer: Trainer, report: StepReport) -> None:
        """After the backward pass and the update; ``trainer.step`` counts the step already."""

    def on_epoch_end(self, trainer: Trainer, report: EpochReport) -> None:
        """After an evaluation."""

    def on_end(self, trainer: Trainer) -> None:
        """After the last step."""


class Trainer:
    """Trains a model on a data set by a recipe.

    With a reuse sparsity in the recipe the model is converted. Everything random depends on the
    recipe's seed, the epoch and the batch, so that a run can be taken up again at any step.

    Raises:
        TrainError: the batch size does not fit the data, or the loss stops being a number.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: Dataset,
        recipe: Recipe,
        *,
        device: torch.device | str = "cpu",
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.recipe = recipe
        self.dataset = dataset
        self.device = torch.device(device)
        self.callbacks = list(callbacks)
        self.rank, self.ranks = _ranks()
        self.local_batch = recipe.batch_size // self.ranks
        if recipe.batch_size % self.ranks:
            raise TrainError(
                f"batch_size must be a multiple of the {self.ranks} processes, "
                f"got {recipe.batch_size}"
            )
        self.steps_per_epoch = batches_per_epoch(len(dataset.train), recipe.batch_size)
        if self.steps_per_epoch < 1:
            raise TrainError(
                f"batch_size must be at most the {len(dataset.train)} training pictures of "
                f"{dataset.name}, got {recipe.batch_size}"
            )
        if recipe.reuse_sparsity is not None:
            convert(
                model,
                recipe.reuse_sparsity,
                method=recipe.method,
                rule=recipe.rule,
                margin=recipe.density_margin,
                groups=recipe.sample_groups,
                linear=recipe.linear,
                per_layer=recipe.per_layer,
                seed=recipe.seed * self.ranks + self.rank,
            )
        memory_format = torch.channels_last if recipe.channels_last else torch.preserve_format
        self.model = model.to(self.device, memory_format=memory_format)  # type: ignore[call-overload]
        self.layers: dict[str, Reuse] = reuse_layers(model)
        self.parallel: nn.Module = self.model
        if self.ranks > 1:
            self.parallel = nn.parallel.DistributedDataParallel(self.model)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=recipe.amp and self.device.type == "cuda"
        )
        self.warm_up = recipe.warm_up()
        self.step = 0
        self.total_steps = recipe.epochs * self.steps_per_epoch
        if recipe.max_steps is not None:
            self.total_steps = min(self.total_steps, recipe.max_steps)
        self.whole_run = WorkMeter()
        self.after_warm_up = WorkMeter()
        self.reports: list[EpochReport] = []
        self.loss = math.nan
        self._loss_sum, self._loss_count = 0.0, 0
        self._ended_at = 0

    @property
    def epoch(self) -> float:
        """Position in training, in epochs."""
        return self.step / self.steps_per_epoch

    def run(self) -> list[EpochReport]:
        """Train to the end; returns the evaluations. Sets torch's generator (dropout) at step 0."""
        if self.step == 0:
            torch.manual_seed(self.recipe.seed * self.ranks + self.rank)
        self._call("on_start")
        while True:
            boundary = self.step % self.steps_per_epoch == 0 or self.step >= self.total_steps
            if boundary and self.step > self._ended_at:
                self._end_of_epoch((self.step - 1) // self.steps_per_epoch)
                self._ended_at = self.step
            if self.step >= self.total_steps:
                break
            epoch, first = divmod(self.step, self.steps_per_epoch)
            for pictures, labels in self._batches(epoch, first):
                self._step(pictures, labels)
                if self.step >= self.total_steps:
                    break
        self._call("on_end")
        return self.reports

    def progress(self) -> dict[str, Any]:
        """Where the run is and what it has summed up, as plain values."""
        return {
            "step": self.step,
            "ended_at": self._ended_at,
            "loss": self.loss,
            "loss_sum": self._loss_sum,
            "loss_count": self._loss_count,
            "whole_run": self.whole_run.state_dict(),
            "after_warm_up": self.after_warm_up.state_dict(),
            "reports": [asdict(report) for report in self.reports],
        }

    def load_progress(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.step, self._ended_at = state["step"], state["ended_at"]
        self.loss = state["loss"]
        self._loss_sum, self._loss_count = state["loss_sum"], state["loss_count"]
        self.whole_run.load_state_dict(state["whole_run"])
        self.after_warm_up.load_state_dict(state["after_warm_up"])
        self.reports = list(state["reports"])

    def reuses_in(self, step: int) -> bool:
        """Whether the schedule lets that step reuse gradients at all."""
        recipe = self.recipe
        if recipe.reuse_sparsity is None:
            return False
        within = step % self.steps_per_epoch
        edge = within in (0, self.steps_per_epoch - 1)
        wanted = self.warm_up.density(step / self.steps_per_epoch, 1 - recipe.reuse_sparsity)
        return not (recipe.dense_edges and edge) and (wanted < 1 or recipe.reuse_sparsity == 0)

    def _step(self, pictures: Tensor, labels: Tensor) -> None:
        started = time.perf_counter()
        recipe = self.recipe
        rate = self._prepare_step()
        self._call("on_step_start")
        pictures = pictures.to(self.device, non_blocking=True)
        if recipe.channels_last:
            pictures = pictures.to(memory_format=torch.channels_last)
        labels = labels.to(self.device, non_blocking=True)
        updates = (self.step + 1) % recipe.accumulate == 0 or self.step + 1 == self.total_steps
        synchronise = updates or not isinstance(self.parallel, nn.parallel.DistributedDataParallel)
        with nullcontext() if synchronise else self.parallel.no_sync():  # type: ignore[operator]
            with torch.autocast(self.device.type, enabled=recipe.amp, dtype=self._amp_dtype()):
                loss = nn.functional.cross_entropy(self.parallel(pictures), labels)
            self.scaler.scale(loss / recipe.accumulate).backward()
        if updates:
            if recipe.clip_norm is not None:
                self.scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)

        # All numbers of the step at once, when the host has nothing left to launch.
        layers, (self.loss,) = last_steps(self.layers.values(), loss)
        if not math.isfinite(self.loss):
            raise TrainError(
                f"step {self.step}: loss is {self.loss}; try a lower learning_rate "
                f"(now {rate:g}), a clip_norm or a lower reuse_sparsity"
            )
        density = self.whole_run.add(layers)
        if self.epoch >= self.warm_up.epochs:
            self.after_warm_up.add(layers)
        self._loss_sum += self.loss
        self._loss_count += 1
        report = StepReport(
            step=self.step,
            epoch=self.epoch,
            loss=self.loss,
            learning_rate=rate,
            density=density,
            seconds=time.perf_counter() - started,
            layers=layers,
        )
        self.step += 1
        self._call("on_step_end", report)

    def _prepare_step(self) -> float:
        """Set learning rate and wanted densities; returns the rate."""
        recipe, epoch = self.recipe, self.epoch
        rate = learning_rate(
            recipe.lr_schedule,
            base=recipe.learning_rate,
            epoch=epoch,
            epochs=recipe.epochs,
            step_epochs=recipe.lr_step_epochs,
            boost=recipe.lr_boost,
            boost_epochs=recipe.lr_boost_epochs,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.layers:
            schedule_densities(self.model, lambda name, target: self.warm_up.density(epoch, target))
            if not self.reuses_in(self.step):
                set_reuse(self.model, False)
        return rate

    def _end_of_epoch(self, epoch: int) -> None:
        last = self.step >= self.total_steps
        every = self.recipe.evaluate_every
        if self.rank != 0 or every == 0 or not (last or (epoch + 1) % every == 0):
            return
        if self.recipe.recalibrate:
            batches = self._batches(epoch, 0)
            pairs = zip(range(self.recipe.recalibrate), batches, strict=False)
            recalibrate(self.model, (pictures.to(self.device) for _, (pictures, _) in pairs))
        test = self.dataset.test
        report = EpochReport(
            epoch=epoch,
            step=self.step,
            loss=self._loss_sum / max(self._loss_count, 1),
            accuracy=accuracy(self.model, test, device=self.device),
            batch_accuracy=accuracy(self.model, test, device=self.device, batch_statistics=True),
            mean_density=self.whole_run.mean_density,
        )
        self._loss_sum, self._loss_count = 0.0, 0
        self.reports.append(report)
        self._call("on_epoch_end", report)

    def _batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        self.model.train()
        return training_batches(
            self.dataset.train,
            batch_size=self.local_batch,
            seed=self.recipe.seed,
            epoch=epoch,
            first=first,
            rank=self.rank,
            ranks=self.ranks,
        )

    def _amp_dtype(self) -> torch.dtype:
        return torch.float16 if self.device.type == "cuda" else torch.bfloat16

    def _call(self, event: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *arguments)


def _ranks() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def seeded_model(build: Any, seed: int) -> nn.Module:
    """Build a model with torch's generator set to ``seed``, and leave it set for what follows."""
    torch.manual_seed(seed)
    model: nn.Module = build()
    return model
