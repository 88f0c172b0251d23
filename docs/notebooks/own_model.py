# %% [markdown]
# # Your model to a speed-up, in a notebook
#
# A CNN of your own, trained with ReSprop for a few steps; its sparse gradients on the simulated accelerator; the
# speed-up against a GPU, layer by layer. The same as the tutorial of this name, with plots.
# %%
import torch
from torch import nn

import gscn_sim
import resprop_train
import workloads

# %% [markdown]
# ## A model and its data
# Yours in real life; here small and made up.
# %%
torch.manual_seed(0)
torch.set_num_threads(1)
model = nn.Sequential(
    nn.Conv2d(3, 32, 3, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Conv2d(32, 64, 3, stride=2, padding=1),
    nn.BatchNorm2d(64),
    nn.ReLU(),
    nn.Conv2d(64, 64, 3, padding=1),
    nn.BatchNorm2d(64),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(64, 4),
)
pictures = torch.randn(256, 3, 32, 32)
labels = pictures.mean(dim=(2, 3)).argmax(dim=1)

# %% [markdown]
# ## Train with ReSprop and record
# `convert` replaces the convolutions, `record` keeps the masks of the steps inside its block.
# %%
model = resprop_train.convert(model, reuse_sparsity=0.9)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def train(steps):
    for step in range(steps):
        chosen = torch.arange(32) + 32 * (step % 8)
        loss = nn.functional.cross_entropy(model(pictures[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


train(40)
with resprop_train.record(model, "mine.npz"):
    train(4)

# %% [markdown]
# ## What was recorded
# The density is the fraction of non-zeros in what is back-propagated.
# %%
trace = workloads.load("mine.npz")
for layer in trace.layers:
    print(f"{layer.iteration:3}  {layer.name:4} {layer.gradient.density:.3f}")

# %% [markdown]
# ## Simulate
# One row a phase, each layer as the mean of the four steps. `backward_with_pre` counts ReSprop's own dense one-sample
# convolutions too: it is the row to quote.
# %%
config = gscn_sim.load_config("gscn")
phases = ("dgrad", "wgrad", "pre_dgrad", "pre_wgrad")
run = gscn_sim.simulate(trace, config, phases=phases)
run.summary[["phase", "seconds", "gpu_seconds", "speedup", "utilization", "limited_by"]]

# %% [markdown]
# ## Speed-up by layer
# %%
speedups = run.table.groupby(["layer", "phase"], sort=False)["speedup"].mean().unstack()
axes = speedups[["dgrad", "wgrad"]].plot.bar(
    rot=0, figsize=(7, 3), ylabel="speed-up (times the GPU)"
)

# %% [markdown]
# ## Where the multipliers' time went
# Each bar adds up to 100 %.
# %%
slots = [name for name in run.summary if name.startswith("slots_")]
shares = run.summary.set_index("phase")[slots].rename(
    columns=lambda name: name[6:].replace("_", " ")
)
shares = 100 * shares.div(shares.sum(axis=1), axis=0)
axes = shares.plot.barh(stacked=True, figsize=(7, 3), xlabel="multiplier slots (%)", ylabel="")
axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)

# %% [markdown]
# ## Another design
# Half the PEs at the same clock:
# %%
half = gscn_sim.load_config("gscn", {"array.pe_rows": 7})
other = gscn_sim.simulate(trace, half, phases=phases)
for name, made in (("224 PEs", run), ("112 PEs", other)):
    row = made.summary.set_index("phase").loc["backward_with_pre"]
    print(f"{name}: {1e6 * row['seconds']:.1f} µs, {row['speedup']:.1f}x")
