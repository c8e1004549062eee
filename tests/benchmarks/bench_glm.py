"""Population GLM fits: seconds of this package and of NeMoS, side by side, on simulated neurons.

    python tests/benchmarks/bench_glm.py
    python tests/benchmarks/bench_glm.py --peer-python PATH/TO/python   # with NeMoS installed

20 neurons, 100,000 bins, 0.1 spikes per bin: 40 AR(1) inputs (0.8), spike history −2 exp(−lag/2),
couplings on 8 log-raised-cosine bases over 40 bins. p = 40 is the stimulus only, 100 and 200 add
the first 60 and all 160 spike-history columns (so that 40 and 100 leave out true terms). Ridge
1e-4. Tolerances do not mean the same (ours bounds the largest gradient entry, the peer has a
criterion of its own), so the gradient that each reached is printed and both can be set. The peer
runs in an interpreter of its own; its first fit, which compiles, is timed apart from the repeated
ones. Each may use as many threads as it likes.
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
from pathlib import Path

import numpy as np

RIDGE = 1e-4


def simulate(n_bins: int, n_neurons: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Regressors (bin, 200) float32 and counts (bin, neuron)."""
    rng = np.random.default_rng(seed)
    n_inputs, n_lags, n_basis = 40, 40, 8
    inputs = np.zeros((n_bins, n_inputs))
    noise = rng.standard_normal((n_bins, n_inputs)) * np.sqrt(1 - 0.8**2)
    for t in range(1, n_bins):
        inputs[t] = 0.8 * inputs[t - 1] + noise[t]
    weights = rng.normal(0, 0.6 / np.sqrt(n_inputs), (n_inputs, n_neurons))
    lag = np.log(np.arange(n_lags) + 3)
    centers = np.linspace(lag[0], lag[-1], n_basis)
    phase = (lag[:, None] - centers) * np.pi / (2 * (centers[1] - centers[0]))
    basis = 0.5 * (1 + np.cos(np.clip(phase, -np.pi, np.pi)))
    basis /= basis.sum(0)
    coupling = rng.normal(0, 0.1, (n_basis, n_neurons, n_neurons))
    history = -2.0 * np.exp(-np.arange(n_lags) / 2)
    counts = np.zeros((n_bins + n_lags, n_neurons))
    past = np.zeros((n_bins, n_neurons, n_basis))
    drive = np.log(0.12) + inputs @ weights
    for t in range(n_bins):
        recent = counts[t : t + n_lags][::-1]
        past[t] = recent.T @ basis
        log_rate = drive[t] + history @ recent + np.einsum("sb,bsn->n", past[t], coupling)
        counts[t + n_lags] = rng.poisson(np.exp(np.clip(log_rate, -10, 3)))
    regressors = np.concatenate([inputs, past.reshape(n_bins, -1)], axis=1)
    return regressors.astype(np.float32), counts[n_lags:]


def nll(regressors: np.ndarray, counts: np.ndarray, coef: np.ndarray, intercept) -> float:
    """Mean over bins and neurons of μ − y log μ."""
    eta = regressors.astype(np.float64) @ coef + intercept
    return float(np.mean(np.exp(eta) - counts * eta))


def time_ours(regressors: np.ndarray, counts: np.ndarray, repeats: int, tolerance: float) -> dict:
    """Design, Gram and converged fit, every time anew."""
    from neuromodels.fits.glm.design import Design
    from neuromodels.fits.glm.penalties import QuadraticPenalty, ridge
    from neuromodels.fits.glm.solver import fit_glm

    penalty = QuadraticPenalty([ridge(regressors.shape[1])], [RIDGE])
    wall, cpu = [], []
    for _ in range(repeats):
        began, began_cpu = time.perf_counter(), time.process_time()
        fit = fit_glm(Design(regressors), counts, penalty=penalty, tolerance=tolerance)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
    return {
        "first": wall[0],
        "wall": wall,
        "cpu": cpu,
        "steps": int(fit.iterations.max()),
        "nll": nll(regressors, counts, fit.weights.shared, fit.weights.intercept),
        "gradient": float(fit.gradient_norm.max()),
    }


def time_peer(folder: Path) -> None:
    """Runs in the peer's interpreter; prints one line of JSON."""
    import nemos as nmo

    regressors, counts = np.load(folder / "regressors.npy"), np.load(folder / "counts.npy")
    options = json.loads((folder / "options.json").read_text())
    wall, cpu = [], []
    for _ in range(options["repeats"] + 1):
        model = nmo.glm.PopulationGLM(
            regularizer="Ridge",
            regularizer_strength=RIDGE,
            solver_name="LBFGS",
            solver_kwargs={"tol": options["tolerance"], "maxiter": 500},
        )
        began, began_cpu = time.perf_counter(), time.process_time()
        model.fit(regressors, counts)
        coef = np.asarray(model.coef_, dtype=np.float64)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
    intercept = np.asarray(model.intercept_, dtype=np.float64)
    residual = np.exp(regressors.astype(np.float64) @ coef + intercept) - counts
    gradient = regressors.T.astype(np.float64) @ residual / len(counts) + RIDGE * coef
    result = {
        "version": nmo.__version__,
        "first": wall[0],
        "wall": wall[1:],
        "cpu": cpu[1:],
        "nll": nll(regressors, counts, coef, intercept),
        "gradient": float(max(np.abs(gradient).max(), np.abs(residual.mean(0)).max())),
    }
    print(json.dumps(result))


def run_peer(python: str, regressors: np.ndarray, counts: np.ndarray, options: dict) -> dict:
    """Time the peer in its own interpreter, on the same arrays."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "regressors.npy", regressors)
        np.save(folder / "counts.npy", counts)
        (folder / "options.json").write_text(json.dumps(options))
        command = [python, str(Path(__file__).resolve()), "--as-peer", name]
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"the peer failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Parse, simulate, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="interpreter that has NeMoS")
    parser.add_argument("--bins", type=int, default=100_000)
    parser.add_argument("--columns", type=int, nargs="+", default=[40, 100, 200])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tolerance", type=float, default=1e-6, help="ours")
    parser.add_argument("--peer-tolerance", type=float, default=1e-6)
    parser.add_argument("--as-peer", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.as_peer:
        time_peer(args.as_peer)
        return
    if args.peer_python and not Path(args.peer_python).exists():
        print(f"no interpreter at {args.peer_python}: the peer is skipped", file=sys.stderr)
        args.peer_python = None
    regressors, counts = simulate(args.bins)
    print(f"{args.bins} bins, {counts.shape[1]} neurons, {counts.mean():.3f} spikes per bin")
    for p in args.columns:
        columns = np.ascontiguousarray(regressors[:, :p])
        ours = time_ours(columns, counts, args.repeats, args.tolerance)
        print(f"p = {p}")
        show("ours", ours)
        if not args.peer_python:
            continue
        options = {"repeats": args.repeats, "tolerance": args.peer_tolerance}
        peer = run_peer(args.peer_python, columns, counts, options)
        show(f"NeMoS {peer['version']}", peer)
        ratios = [statistics.median(peer[k]) / statistics.median(ours[k]) for k in ("wall", "cpu")]
        print(f"  ratio of medians: {ratios[0]:.1f} (wall), {ratios[1]:.1f} (CPU)")
    if not args.peer_python:
        print("no peer: give --peer-python to compare with NeMoS")


def show(name: str, result: dict) -> None:
    """One line of a result."""
    wall, cpu = statistics.median(result["wall"]), statistics.median(result["cpu"])
    print(
        f"  {name:14s} {wall:6.2f} s wall, {cpu:6.2f} s CPU (first {result['first']:.2f})   "
        f"largest gradient {result['gradient']:.1e}   negative log-likelihood {result['nll']:.6f}"
    )


if __name__ == "__main__":
    main()
