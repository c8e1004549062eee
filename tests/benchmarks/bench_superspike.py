"""The SuperSpike rule: CPU seconds per simulated second, per synapse, and against the sgemm limit.

    python tests/benchmarks/bench_superspike.py

Oxford, 200-256-200 at 0.1 ms (102,400 synapses), single precision, one thread. Nothing is timed
unless our spikes are those of Brian2 on the same network, weights and input. Then: whole training
(forward, errors, learning, updates) with the engine `event`; and the learning of one 1.89 s trial
alone with each engine, beside one matrix product of the same shape as `gemm`'s (18,900 x 200 by
18,900 x 256 and 256 x 200), whose speed is the machine's limit for any engine that multiplies. The
authors' program (in C++, measured apart) took 4.23 CPU seconds per simulated second.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from neuromodels.datasets.sample.superspike import superspike_task
from neuromodels.fits.superspike.engines import ENGINES, Chunk, RuleKernels, make_engine
from neuromodels.fits.superspike.errors import ErrorFilter
from neuromodels.fits.superspike.options import superspike_options
from neuromodels.fits.superspike.tasks import RasterTask
from neuromodels.fits.superspike.training import SuperSpikeTrainer
from neuromodels.spiking.brian2_script import run_brian2
from neuromodels.spiking.kernels import error_kernel, psp_kernel
from neuromodels.spiking.simulation import simulate

SIZES, STEPS, DT_S = (200, 256, 200), 18_900, 1e-4
N_SYNAPSES = 200 * 256 + 256 * 200
AUTHORS_CPU_S = 4.23
BOUND_CPU_S = 0.03


def clock(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median CPU and wall seconds of repeated calls, after one that compiles."""
    work()
    cpu, wall = [], []
    for _ in range(repeats):
        began, began_cpu = time.perf_counter(), time.process_time()
        work()
        cpu.append(time.process_time() - began_cpu)
        wall.append(time.perf_counter() - began)
    return statistics.median(cpu), statistics.median(wall)


def check_against_brian2(task: RasterTask) -> str:
    """Compare all spikes of a trial, one by one; an error where one differs."""
    options = superspike_options(hidden=(256,), dtype="float64")
    network = options.network(200, 200)
    weights = network.initial_weights(0.3, np.random.default_rng(0))
    inputs = task.inputs(0, STEPS)
    ours = simulate(network, weights, inputs, STEPS, record="no")[0].spikes
    counts = []
    for name, one, other in zip(
        network.names, ours, run_brian2(network, weights, inputs, STEPS), strict=True
    ):
        pairs = [set(zip(e.steps.tolist(), e.neurons.tolist(), strict=True)) for e in (one, other)]
        if pairs[0] != pairs[1]:
            raise SystemExit(f"{name}: {len(pairs[0] ^ pairs[1])} spikes differ from Brian2's")
        counts.append(f"{name} {len(pairs[0]):,}")
    return "spikes identical with Brian2: " + ", ".join(counts)


def time_training(task: RasterTask, seconds: float, repeats: int) -> dict[str, float]:
    """CPU and wall seconds per simulated second of a whole training, after its noisy start."""
    options = superspike_options("demo", duration_s=1e6, epoch_s=seconds, burn_in_s=0.0)
    trainer = SuperSpikeTrainer(task, options, seed=0)
    while trainer.time_s < 60:
        trainer.advance(5000)

    def work() -> None:
        until = trainer.step + round(seconds / DT_S)
        while trainer.step < until:
            trainer.advance(5000)

    cpu, wall = clock(work, repeats)
    return {"cpu": cpu / seconds, "wall": wall / seconds}


def time_engines(task: RasterTask, repeats: int) -> dict[str, float]:
    """CPU seconds to learn from one trial, given its spikes, surrogates and errors."""
    options = superspike_options(hidden=(256,))
    network = options.network(200, 200)
    rng = np.random.default_rng(0)
    weights = {k: v.astype(np.float32) for k, v in network.initial_weights(0.3, rng).items()}
    activity, _ = simulate(network, weights, task.inputs(0, STEPS), STEPS, superspike=(1000.0, 1.0))
    alpha = error_kernel(5e-3, 10e-3, DT_S)
    mismatch = task.mismatch(0, STEPS, activity.spikes[-1])
    feedback = weights["hidden_to_output"].T
    errors = [
        ErrorFilter(alpha, 256, dtype=np.float32)(mismatch, STEPS, feedback),
        ErrorFilter(alpha, 200, dtype=np.float32)(mismatch, STEPS),
    ]
    kernels = RuleKernels(psp_kernel(network.coefficients), alpha)
    found, sums = {}, {}
    for name in ENGINES:

        def work(name: str = name) -> None:
            for layer in (1, 2):
                engine = make_engine(
                    name, [network.connections[layer - 1].shape], kernels, DT_S, np.float32
                )
                engine.accumulate(
                    Chunk(
                        activity.distance[layer - 1],
                        errors[layer - 1],
                        [activity.arrivals[layer - 1]],
                    )
                )
                sums[name, layer] = engine.take()[0]

        found[name] = clock(work, 1 if name == "online" else repeats)[0]
    for layer in (1, 2):
        largest = np.abs(sums["online", layer]).max()
        for name in ENGINES:
            off = np.abs(sums[name, layer] - sums["online", layer]).max() / largest
            if off > 1e-4:
                raise SystemExit(f"{name} differs from the literal rule by {off:.1e}")
    traces = rng.normal(size=(STEPS, 256)).astype(np.float32)
    found["matrix product alone"] = clock(
        lambda: (activity.distance[0].T @ traces, activity.distance[1].T @ traces), repeats
    )[0]
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="simulated, per repeat")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    oxford = superspike_task("oxford")
    task = RasterTask(oxford.inputs, oxford.target, DT_S)
    said = check_against_brian2(task)
    training = time_training(task, arguments.seconds, arguments.repeats)
    engines = time_engines(task, arguments.repeats)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if arguments.json:
        print(json.dumps({"training": training, "engines": engines, "peak_mb": memory}))
        return
    print(said)
    print(f"\nOxford 200-256-200 at 0.1 ms, float32, one thread, medians of {arguments.repeats}")
    print(
        f"  whole training       {training['cpu']:.4f} CPU-s, {training['wall']:.4f} s per "
        f"simulated s   ({training['cpu'] / BOUND_CPU_S:.2f} of the bound of {BOUND_CPU_S}; "
        f"authors' program {AUTHORS_CPU_S}: {AUTHORS_CPU_S / training['cpu']:.0f} times as much)"
    )
    print(f"\nlearning of one 1.89 s trial ({N_SYNAPSES:,} synapses x {STEPS:,} steps)")
    limit = engines["matrix product alone"]
    for name, seconds in engines.items():
        per_step = seconds / (N_SYNAPSES * STEPS) * 1e12
        print(
            f"  {name:<20} {seconds * 1e3:8.1f} CPU-ms   {per_step:8.2f} ps per synapse and step   "
            f"{seconds / limit:6.2f} x the matrix product"
        )


if __name__ == "__main__":
    main()
