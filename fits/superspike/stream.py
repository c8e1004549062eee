"""Learn from a stream, one step of time at a time: closed loops, robots, experiments under way.

What a chunk at a time does for a training, in the same order and with the same result: neurons,
arrivals, PSP traces, errors, eligibility of every synapse; weights change once per update block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numba import njit

from neuromodels.fits.superspike.options import SuperSpikeOptions
from neuromodels.fits.superspike.training import SuperSpikeTrainer
from neuromodels.options import OptionError
from neuromodels.spiking.simulation import Events


class StreamLearner:
    """A network that acts and learns step by step.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Neurons.
    options : SuperSpikeOptions
        How it learns; `duration_s`, `epoch_s` and `engine` do not matter here.
    seed : int
        Of initial weights and random feedback.
    weights : dict of numpy.ndarray, optional
        Where to start, (n_source, n_target) per connection, V.

    Raises
    ------
    OptionError
        An engine is asked for that needs whole chunks, or weights of another network.

    Examples
    --------
    >>> learner = StreamLearner(20, 4, SuperSpikeOptions(hidden=(8,)))
    >>> sent = learner.step([3, 7], targets=[1])  # 0.1 ms later
    """

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        options: SuperSpikeOptions | None = None,
        *,
        seed: int = 0,
        weights: dict[str, np.ndarray] | None = None,
    ):
        options = options or SuperSpikeOptions()
        if options.engine not in ("auto", "online"):
            raise OptionError(
                f"the engine {options.engine!r} needs whole chunks of time.",
                "StreamLearner",
                "Leave it out: streams take the engine 'online'.",
            )
        self._trainer = SuperSpikeTrainer(
            _Stream(n_inputs, n_outputs),
            replace(options, engine="online"),
            seed=seed,
            weights=weights,
        )
        trainer, network = self._trainer, self._trainer.network
        self.network, self.dtype = network, trainer.dtype
        n, total = sum(network.sizes[1:]), sum(network.sizes)
        self._update_steps = round(options.update_s / options.dt_s)
        self._n_spikes = 0
        self._sent = np.empty(n, np.int64)
        self._starts = network.offsets[1:] - n_inputs
        longest = int(network.delay_steps.max()) + 1
        # Spikes under way, counted per step of arrival and source.
        self._waiting = np.zeros((longest, total), np.int64)
        self._neurons = tuple(part.copy() for part in trainer.state[:3])
        self._psp, self._errors = np.zeros((2, total), self.dtype), np.zeros((2, n), self.dtype)
        late = round(options.feedback_delay_s / options.dt_s)
        self._mismatch = np.zeros((late + 1, n_outputs), self.dtype)
        self._surrogate = np.empty((1, n), self.dtype)
        self._cost_errors = np.zeros((self._update_steps, n_outputs), self.dtype)
        self._constants = self._collect_constants()
        self._table = np.array(
            [
                (c.source, network.offsets[c.target] - n_inputs, c.shape[1])
                for c in network.connections
            ]
        )
        self._take_weights()
        # Compiles everything now instead of in the loop; at rest, a step without spikes is none.
        nobody = np.empty(0, np.int64)
        self._pass(nobody, nobody, False)
        self._learn()
        self._silence()

    def _collect_constants(self) -> np.ndarray:
        trainer, network = self._trainer, self.network
        engine = trainer.learners[len(network.sizes) - 1].engine
        beta, height = trainer.compiled_surrogate or (0.0, 1.0)
        membrane, gain, synapse, _ = network.coefficients
        neuron = (membrane, gain, synapse, network.parameters.gap_v, beta, height)
        psp, alpha = engine.kernels
        filters = (psp.decay, psp.rise, psp.drive, alpha.decay, alpha.rise, alpha.drive)
        return np.array((*neuron, *filters), self.dtype)

    def _take_weights(self) -> None:
        """Lay out what the compiled step reads, after the weights have changed."""
        network, trainer = self.network, self._trainer
        self._flat = np.concatenate([trainer.weights[c.name].ravel() for c in network.connections])
        n_outputs, last = network.sizes[-1], len(network.sizes) - 1
        parts = [
            trainer.feedback_of(layer)
            if layer in trainer.learners
            else np.zeros((n_outputs, network.sizes[layer]))
            for layer in range(1, last)
        ]
        none = np.zeros((n_outputs, 0))
        self._back = np.ascontiguousarray(np.concatenate([none, *parts], axis=1), self.dtype)

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """(n_source, n_target) per connection, V."""
        return {name: values.copy() for name, values in self._trainer.weights.items()}

    @property
    def n_steps(self) -> int:
        """Steps done."""
        return self._trainer.step

    @property
    def time_s(self) -> float:
        """Time gone by, s."""
        return self._trainer.time_s

    @property
    def cost(self) -> float:
        """Running average of the cost up to the last update, as a training reports it."""
        return self._trainer.cost.running if self.n_steps >= self._update_steps else float("nan")

    def step(
        self, inputs: Sequence[int] | np.ndarray, targets: Sequence[int] | np.ndarray | None = None
    ) -> np.ndarray:
        """Let one step of time pass.

        Parameters
        ----------
        inputs : sequence of int
            Input neurons that spike in this step; one that is named twice counts twice.
        targets : sequence of int, optional
            Output neurons that should spike in this step. Empty says that none should; None says
            nothing, and there is no error from this step.

        Returns
        -------
        numpy.ndarray
            Output neurons that spiked.

        Raises
        ------
        OptionError
            No such neuron.
        """
        network, trainer = self.network, self._trainer
        inputs = _checked(inputs, network.sizes[0], "input")
        wanted = _checked(() if targets is None else targets, network.sizes[-1], "target")
        self._pass(inputs, wanted, targets is not None)
        self._learn()
        sent = self._sent[: self._n_spikes] - self._starts[-2]
        sent = sent[sent >= 0]
        trainer.step += 1
        if trainer.step % self._update_steps == 0:
            self._update()
        return sent

    def _pass(self, inputs: np.ndarray, wanted: np.ndarray, is_taught: bool) -> None:
        network, trainer = self.network, self._trainer
        self._n_spikes = _pass(
            trainer.step,
            inputs,
            wanted,
            is_taught,
            *self._neurons,
            self._waiting,
            self._flat,
            self._table,
            network.offsets,
            network.delay_steps,
            network.coefficients.refractory_steps,
            self._constants,
            trainer.options.surrogate_read == "after reset",
            self._psp,
            self._errors,
            self._mismatch,
            self._back,
            self._surrogate[0],
            self._sent,
        )

    def _learn(self) -> None:
        trainer, starts, offsets = self._trainer, self._starts, self.network.offsets
        last = len(self.network.sizes) - 1
        now = self._errors[1:]
        for layer, learner in trainer.learners.items():
            engine = learner.engine
            a, b = starts[layer - 1], starts[layer]
            # The sources of a layer, the one below and itself if recurrent, are neighbours.
            first = offsets[layer - 1]
            traces = self._psp[1:, first : first + len(engine.first)]
            engine.learn(traces, self._surrogate[:, a:b], now[:, a:b])
            if learner.rate is not None:
                sent = self._sent[: self._n_spikes]
                sent = sent[(sent >= a) & (sent < b)] - a
                gate = now[:, a:b] * 1e-3 if trainer.options.regulariser_gated else None
                spikes = Events(np.zeros(len(sent), np.int64), sent)
                learner.powers += learner.rate.powers(spikes, 1, gate)
        self._cost_errors[trainer.step % self._update_steps] = now[0, starts[last - 1] :]

    def _update(self) -> None:
        self._trainer.cost.add(self._cost_errors)
        self._silence()
        self._trainer.update_weights()
        self._take_weights()

    def _silence(self) -> None:
        for learner in self._trainer.learners.values():
            learner.engine.silence()


class _Stream:
    """Sizes alone: what a trainer asks a task for before it runs."""

    loop_steps = 1

    def __init__(self, n_inputs: int, n_outputs: int):
        self.n_inputs, self.n_outputs = n_inputs, n_outputs


def _checked(neurons: Sequence[int] | np.ndarray, n_neurons: int, what: str) -> np.ndarray:
    found = np.asarray(neurons)
    if found.size == 0:
        return np.empty(0, np.int64)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise OptionError(
            f"{what} neurons came as {found.dtype} of shape {found.shape}.",
            "StreamLearner.step",
            "Give the numbers of those that spike, such as [3, 17]; of a vector of zeros and ones: "
            "np.flatnonzero(vector).",
        )
    found = found.astype(np.int64)
    if not (found.min() >= 0 and found.max() < n_neurons):
        wrong = found[(found < 0) | (found >= n_neurons)][0]
        raise OptionError(
            f"there is no {what} neuron {wrong}.",
            "StreamLearner.step",
            f"They are counted from 0 to {n_neurons - 1}.",
        )
    return found


@njit(cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
def _pass(
    t,
    inputs,
    wanted,
    is_taught,
    voltage,
    current,
    held,
    waiting,
    weights,
    table,
    offsets,
    delays,
    refractory,
    constants,
    after_reset,
    psp,
    errors,
    mismatch,
    back,
    surrogate,
    sent,
):
    membrane, gain, synapse, gap, beta, height = constants[:6]
    psp_decay, psp_rise, psp_drive, decay, rise, drive = constants[6:]
    n, n_input, longest = voltage.size, offsets[1], len(waiting)
    one = constants.dtype.type(1)
    n_outputs = mismatch.shape[1]
    n_spikes = 0
    for k in range(inputs.size):
        waiting[(t + delays[inputs[k]]) % longest, inputs[k]] += 1
    for i in range(n):
        moved = voltage[i] * membrane + current[i] * gain
        if held[i] > 0:
            moved = constants.dtype.type(0)
            held[i] -= 1
        current[i] *= synapse
        distance = moved - gap
        if distance > 0:
            moved = constants.dtype.type(0)
            held[i] = refractory
            if after_reset:
                distance = -gap
            sent[n_spikes] = i
            n_spikes += 1
            waiting[(t + delays[n_input + i]) % longest, n_input + i] += 1
        voltage[i] = moved
        scaled = one + abs(beta * distance)
        surrogate[i] = height / (scaled * scaled)
    # Errors, from the mismatch of earlier steps; then that of this one.
    for i in range(n):
        errors[1, i] = decay * errors[1, i] + drive * errors[0, i]
        errors[0, i] *= rise
    now = mismatch[t % len(mismatch)]
    now[:] = 0
    if is_taught:
        for k in range(n_spikes):
            if sent[k] >= n - n_outputs:
                now[sent[k] - (n - n_outputs)] += 1
        for k in range(wanted.size):
            now[wanted[k]] -= 1
    for k in range(n_outputs):
        errors[0, n - n_outputs + k] += now[k]
    arriving = mismatch[(t + 1) % len(mismatch)]
    for k in range(n_outputs):
        if arriving[k] != 0:
            for i in range(n - n_outputs):
                errors[0, i] += arriving[k] * back[k, i]
    # Spikes that arrive move currents and PSP traces.
    due = waiting[t % longest]
    population = 0
    for source in range(due.size):
        psp[1, source] = psp_decay * psp[1, source] + psp_drive * psp[0, source]
        psp[0, source] *= psp_rise
        while source >= offsets[population + 1]:
            population += 1
        if due[source] > 0:
            psp[0, source] += due[source]
            begin = 0
            for c in range(len(table)):
                start, size = table[c, 1], table[c, 2]
                if table[c, 0] == population:
                    row = begin + (source - offsets[population]) * size
                    for i in range(size):
                        current[start + i] += due[source] * weights[row + i]
                begin += (offsets[table[c, 0] + 1] - offsets[table[c, 0]]) * size
            due[source] = 0
    return n_spikes
