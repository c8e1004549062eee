"""Surrogate gradients: seconds of this package, snnTorch, and peers in an interpreter of their own.

    python tests/benchmarks/bench_surrogate.py
    python tests/benchmarks/bench_surrogate.py --peer-python PATH/TO/python   # with spyx and Norse

Two networks, forward and forward + backward, single precision, one thread, medians of repeated
runs after a first one that compiles: "batch" is 700-256-20, 64 trials of 500 steps; "single" is
200-256-200, one trial of 1,890 steps. Input spikes are random, at several densities. All start from
the same weights. Nothing is timed unless our spikes are those of Brian2 (a network of 200-64-200
with delays and refractoriness), and unless snnTorch, given the same dynamics (one step of
refractoriness), fires our spikes. The peers' dynamics differ in detail (spyx resets by
subtraction, Norse steps by Euler), so the rate of their hidden layer is printed: it should be
near ours.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

PROBLEMS = {
    # sizes, trials, steps, weight scale in mV of each layer
    "batch": ([700, 256, 20], 64, 500, [150.0, 100.0]),
    "single": ([200, 256, 200], 1, 1890, [300.0, 100.0]),
}
DT_S = 1e-3
PEERS = ("spyx", "norse", "norse-compiled")


def clock(work: Callable[[], object], repeats: int) -> dict:
    """Seconds of the first call, then wall and CPU seconds of the others."""
    began = time.perf_counter()
    work()
    first, wall, cpu = time.perf_counter() - began, [], []
    for _ in range(repeats):
        began, began_cpu = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
    return {"first": first, "wall": wall, "cpu": cpu}


# -- dynamics first --------------------------------------------------------------------------------
def check_against_brian2(n_steps: int = 3000) -> str:
    """Compare spikes, one by one; an error where one differs."""
    import brian2 as b2
    import torch

    from neuromodels.spiking.modules import LIFNetwork

    b2.prefs.codegen.target = "numpy"
    dt_s, delay_steps = 1e-4, 8
    generator = torch.Generator().manual_seed(0)
    network = LIFNetwork(
        [200, 64, 200], dt_s=dt_s, delay_steps=delay_steps, weight_scale_v=0.35,
        generator=generator,
    ).double()  # fmt: skip
    inputs = (torch.rand((1, n_steps, 200), generator=generator) < 1e-3).double()
    ours = [spikes[0].detach().nonzero().numpy() for spikes in network(inputs)[0]]

    b2.start_scope()
    b2.defaultclock.dt = dt_s * b2.second
    sent = inputs[0].nonzero().numpy()
    source = b2.SpikeGeneratorGroup(200, sent[:, 1], sent[:, 0] * dt_s * b2.second)
    equations = """
    dv/dt = (rest - v + current) / (10*ms) : volt (unless refractory)
    dcurrent/dt = -current / (5*ms) : volt
    """
    objects, monitors = [source], []
    for layer in network.layers:
        group = b2.NeuronGroup(
            layer.n_out, equations, threshold="v > -50*mV", reset="v = rest",
            # Brian2 counts the step of the spike too: 50 held steps are 51.
            refractory=5.1 * b2.ms, method="exact", namespace={"rest": -60 * b2.mV},
        )  # fmt: skip
        group.v = -60 * b2.mV
        synapses = b2.Synapses(
            source,
            group,
            "w : volt",
            on_pre="current_post += w",
            delay=delay_steps * dt_s * b2.second,
        )
        synapses.connect()
        synapses.w = layer.weight.detach().numpy()[synapses.i[:], synapses.j[:]] * b2.volt
        monitor = b2.SpikeMonitor(group)
        objects += [group, synapses, monitor]
        monitors.append(monitor)
        source = group
    b2.Network(objects).run(n_steps * dt_s * b2.second)
    counts = []
    for mine, monitor in zip(ours, monitors, strict=True):
        steps = np.round(np.asarray(monitor.t) / dt_s).astype(int)
        theirs = set(zip(steps.tolist(), np.asarray(monitor.i).tolist(), strict=True))
        if theirs != set(map(tuple, mine.tolist())):
            raise SystemExit("our spikes are not those of Brian2: nothing is timed")
        counts.append(len(theirs))
    return f"{counts[0]} hidden and {counts[1]} output spikes, all as in Brian2 {b2.__version__}"


# -- the contestants -------------------------------------------------------------------------------
def make_ours(name: str):
    """The network of a problem; one step of refractoriness, which snnTorch has too."""
    import torch

    from neuromodels.spiking.modules import LIFNetwork
    from neuromodels.spiking.neurons import LIFParameters
    from neuromodels.spiking.surrogates import SuperSpikeSurrogate

    sizes, _, _, scales = PROBLEMS[name]
    network = LIFNetwork(
        sizes, LIFParameters(refractory_s=DT_S), DT_S, reset_gradient="detached",
        # In units of the gap between rest and threshold this is a slope of 25.
        surrogate=SuperSpikeSurrogate(2500.0), weight_scale_v=1.0,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    with torch.no_grad():
        for layer, scale in zip(network.layers, scales, strict=True):
            layer.weight.mul_(scale * 1e-3)
    return network


def time_torch(network, inputs, repeats: int) -> dict:
    """Forward without and with backward of a module that returns spikes last."""
    import torch

    def output():
        out = network(inputs)
        return out[0][-1] if isinstance(out, tuple) else out

    def forward():
        with torch.no_grad():
            output()

    def backward():
        network.zero_grad()
        output().sum().backward()

    return {"forward": clock(forward, repeats), "backward": clock(backward, repeats)}


def make_snntorch(network):
    """The loop of snnTorch's tutorials, with our weights and dynamics."""
    import torch

    from neuromodels.spiking.snntorch_bridge import to_snntorch

    converted = to_snntorch(network)

    class Loop(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.neurons = converted.linear, converted.neurons

        def forward(self, inputs):
            states, out = [neuron.reset_mem() for neuron in self.neurons], []
            for x in inputs.unbind(0):
                for index, (linear, neuron) in enumerate(
                    zip(self.linear, self.neurons, strict=True)
                ):
                    x, *states[index] = neuron(linear(x), *states[index])
                out.append(x)
            return torch.stack(out)

    return Loop()


def time_peer(kind: str, folder: Path, repeats: int) -> dict:
    """Runs in the peers' interpreter."""
    inputs = np.load(folder / "inputs.npy")  # (step, trial, source)
    weights = [np.load(folder / f"weight{index}.npy") for index in range(2)]
    alpha, beta = (float(np.exp(-DT_S / tau)) for tau in (5e-3, 10e-3))
    if kind == "spyx":
        return _time_spyx(inputs, weights, alpha, beta, repeats)
    return _time_norse(inputs, weights, repeats, compiled=kind == "norse-compiled")


def _time_spyx(inputs, weights, alpha, beta, repeats) -> dict:
    import jax
    import jax.numpy as jnp
    import spyx
    from flax import nnx
    from spyx import nn as snn

    rngs, layers = nnx.Rngs(0), []
    for weight in weights:
        linear = nnx.Linear(*weight.shape, use_bias=False, rngs=rngs)
        linear.kernel.value = jnp.asarray(weight)
        neuron = snn.CuBaLIF((weight.shape[1],), alpha=alpha, beta=beta, rngs=rngs)
        layers += [linear, neuron]
    graph, start, other = nnx.split(snn.Sequential(*layers), _is_kernel(nnx), ...)
    x = jnp.asarray(inputs)

    def output(kernels, x):
        return snn.run(nnx.merge(graph, kernels, other), x)[0]

    forward = jax.jit(output)
    backward = jax.jit(jax.value_and_grad(lambda kernels, x: output(kernels, x).sum()))
    first_layer = snn.Sequential(*layers[:2])
    return {
        "version": getattr(spyx, "__version__", "1.0.0"),
        "hidden_rate": float(snn.run(first_layer, x)[0].mean()),
        "forward": clock(lambda: jax.block_until_ready(forward(start, x)), repeats),
        "backward": clock(lambda: jax.block_until_ready(backward(start, x)), repeats),
    }


def _is_kernel(nnx):
    return lambda path, value: isinstance(value, nnx.Param) and "kernel" in path


def _time_norse(inputs, weights, repeats, compiled) -> dict:
    import norse.torch as norse
    import torch

    torch.set_num_threads(1)
    parts = []
    for weight in weights:
        linear = torch.nn.Linear(*weight.shape, bias=False)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T))
        parts += [linear, norse.LIFCell(dt=DT_S)]

    class Loop(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.step = norse.SequentialState(*parts)

        def forward(self, x):
            out, state = [], None
            step = compiled_step or self.step
            for now in x.unbind(0):
                spikes, state = step(now, state)
                out.append(spikes)
            return torch.stack(out)

    compiled_step = None
    network, x = Loop(), torch.from_numpy(inputs)
    if compiled:
        compiled_step = torch.compile(network.step)
    hidden = norse.SequentialState(*parts[:2])
    with torch.no_grad():
        state, total = None, 0.0
        for now in x.unbind(0):
            spikes, state = hidden(now, state)
            total += float(spikes.mean())
    result = time_torch(network, x, repeats)
    import importlib.metadata

    version = importlib.metadata.version("norse")
    return result | {"version": version, "hidden_rate": total / len(x)}


def run_peer(python: str, kind: str, inputs, weights, repeats: int, limit_s: float) -> dict | str:
    """Time a peer in its own interpreter, on the same arrays; or say why it has no time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "inputs.npy", inputs)
        for index, weight in enumerate(weights):
            np.save(folder / f"weight{index}.npy", weight)
        command = [python, str(Path(__file__).resolve()), "--as-peer", kind, name]
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
            "OMP_NUM_THREADS": "1",
        }
        try:
            done = subprocess.run(
                [*command, "--repeats", str(repeats)], capture_output=True, text=True,
                env=environment, timeout=limit_s,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"no result within {limit_s:g} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["failed"])[-1][:90]
    return json.loads(done.stdout.splitlines()[-1])


# -- the comparison --------------------------------------------------------------------------------
def compare(name: str, density: float, args: argparse.Namespace) -> None:
    """Time everyone on one problem at one density, and print."""
    import torch

    from neuromodels.spiking.events import find_events

    sizes, n_trials, n_steps, _ = PROBLEMS[name]
    generator = torch.Generator().manual_seed(2)
    inputs = (torch.rand((n_trials, n_steps, sizes[0]), generator=generator) < density).float()
    network = make_ours(name)
    # Heavier weights for sparser input, so that hidden neurons fire at about the same rate.
    with torch.no_grad():
        network.layers[0].weight.mul_((PROBLEM_DENSITY[name] / density) ** 0.5)
        hidden = network(inputs)[0][0]
    print(
        f"{name}: {'-'.join(map(str, sizes))}, {n_trials} trials of {n_steps} steps, input density "
        f"{density:.1%}, hidden {float(hidden.mean()):.1%}"
    )
    ours = {"dense input": time_torch(network, inputs, args.repeats)}
    events = find_events(inputs)
    if events is not None:
        ours["spikes as events"] = time_torch(network, events, args.repeats)
    for kind, result in ours.items():
        show(f"ours, {kind}", result)
    best = min(ours.values(), key=lambda one: median(one["backward"]["cpu"]))

    theirs = make_snntorch(network)
    by_time = inputs.transpose(0, 1).contiguous()
    with torch.no_grad():
        same = network(inputs)[0][-1][:, 2:] == theirs(by_time).transpose(0, 1)[:, :-2]
    if same.float().mean() < 0.999:
        raise SystemExit("our spikes are not those of snnTorch: nothing is timed")
    result = time_torch(theirs, by_time, min(args.repeats, args.slow_repeats))
    show(f"snnTorch {_version('snntorch')}", result, best)

    gap_v = network.layers[0].constants.gap_v
    gains = [layer.coefficients.current_gain for layer in network.layers]
    weights = [layer.weight.detach().numpy() for layer in network.layers]
    for kind in args.peers if args.peer_python else ():
        # Norse steps the current by itself, from weights that carry no gain.
        scaled = [
            np.ascontiguousarray(weight * (gain if kind == "spyx" else 1.0) / gap_v)
            for weight, gain in zip(weights, gains, strict=True)
        ]
        repeats = args.repeats if kind == "spyx" else min(args.repeats, args.slow_repeats)
        result = run_peer(
            args.peer_python, kind, by_time.numpy(), scaled, repeats, args.peer_seconds
        )
        if isinstance(result, str):
            print(f"  {kind:24s} {result}")
        else:
            label = f"{kind} {result['version']}"
            show(label, result, best, note=f"   hidden {result['hidden_rate']:.1%}")


PROBLEM_DENSITY = {"batch": 0.015, "single": 0.005}


def median(values: list[float]) -> float:
    """Shorter than statistics.median."""
    return statistics.median(values)


def _version(name: str) -> str:
    import importlib.metadata

    return importlib.metadata.version(name)


def show(name: str, result: dict, best: dict | None = None, note: str = "") -> None:
    """One line of a result: milliseconds of CPU (wall)."""
    parts = []
    for kind in ("forward", "backward"):
        cpu, wall = (1e3 * median(result[kind][what]) for what in ("cpu", "wall"))
        parts.append(f"{cpu:8.1f} ({wall:8.1f})")
    ratio = ""
    if best is not None:
        times = median(result["backward"]["cpu"]) / median(best["backward"]["cpu"])
        ratio = f"   {times:6.1f} x ours"
    first = result["forward"]["first"] + result["backward"]["first"]
    print(f"  {name:24s} {parts[0]}  {parts[1]}  first {first:5.1f} s{ratio}{note}", flush=True)


def main() -> None:
    """Parse, check, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="interpreter that has spyx and Norse")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--densities", type=float, nargs="+", default=[0.005, 0.015, 0.05, 0.2])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--slow-repeats", type=int, default=5, help="of loops in PyTorch")
    parser.add_argument("--peer-seconds", type=float, default=300, help="after which a peer fails")
    parser.add_argument("--as-peer", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.as_peer:
        kind, folder = args.as_peer
        print(json.dumps(time_peer(kind, Path(folder), args.repeats)))
        return
    if args.peer_python and not Path(args.peer_python).exists():
        print(f"no interpreter at {args.peer_python}: the peers are skipped", file=sys.stderr)
        args.peer_python = None
    import torch

    torch.set_num_threads(1)
    print(f"dynamics: {check_against_brian2()}")
    print("milliseconds of CPU (wall), medians: forward, then forward + backward; one thread")
    for name in args.problems:
        for density in args.densities:
            compare(name, density, args)
    if not args.peer_python:
        print("no peers: give --peer-python to compare with spyx and Norse")


if __name__ == "__main__":
    main()
