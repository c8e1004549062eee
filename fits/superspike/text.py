"""What a spiking run says when it is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuromodels.fits.superspike.record import SpikingRun


def run_text(run: SpikingRun) -> str:
    """Describe a run in some lines: network, task, and its cost beside that of silence.

    Parameters
    ----------
    run : SpikingRun
        Finished.

    Returns
    -------
    str
        For people.
    """
    progress, network, options = run.progress, run.network, run.options
    about = progress.attrs
    sizes = "-".join(str(size) for size in network.sizes)
    feedback = f", {options.feedback} feedback" if options.hidden else ""
    cost = progress["epoch_cost"].values
    rates = ", ".join(
        f"{name} {rate:.1f}"
        for name, rate in zip(network.names, progress["rate"].values[-1], strict=True)
    )
    made = f"preset {run.attrs['call']['preset']}, seed {run.attrs['seed']}"
    made += f", engine {run.attrs['engine']}"
    if options.surrogate != "superspike":
        made += f", surrogate {run.attrs['surrogate']}"
    lines = [
        f"spiking network {sizes}{feedback}, {made}",
        f"  task       {run.attrs['duration']:g} s in a loop, {about['n_targets']:,} target spikes",
        f"  trained    {progress['time'].values[-1]:g} s simulated in "
        f"{progress['wall_time'].values[-1]:.0f} s",
        f"  cost       {cost[-1]:.2f}   (mean of the last epoch; of the first {cost[0]:.1f}; a "
        f"silent network {about['silent_cost']:.1f}; greedy answer {about['greedy_cost']:.1f}; "
        "one wrong spike per second and neuron adds 4)",
        f"  rates      {rates} Hz",
    ]
    if about["n_unreachable"]:
        lines.append(
            f"  note       {about['n_unreachable']:,} of {about['n_targets']:,} targets come "
            f"within the refractory period ({options.refractory_s * 1e3:g} ms) of another: the "
            "greedy answer leaves them out; one that spreads such spikes may cost less"
        )
    return "\n".join(lines)


def run_summary(run: SpikingRun) -> dict[str, Any]:
    """The same for programs.

    Parameters
    ----------
    run : SpikingRun
        Finished.

    Returns
    -------
    dict
        As JSON can hold it.
    """
    progress = run.progress
    return {
        "populations": dict(zip(run.network.names, run.network.sizes, strict=True)),
        "preset": run.attrs["call"]["preset"],
        "seed": run.attrs["seed"],
        "engine": run.attrs["engine"],
        "simulated_s": float(progress["time"].values[-1]),
        "cost": float(progress["epoch_cost"].values[-1]),
        "rates_hz": dict(zip(run.network.names, progress["rate"].values[-1].tolist(), strict=True)),
        **progress.attrs,
    }
