"""Which blocks are fitted, which choose, which judge: the same for every model."""

from __future__ import annotations

from dataclasses import dataclass

from neuromodels.datasets.blocks import Block
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.recording import Recording, format_duration

FEW_BLOCKS = 10  # with fewer, blocks are first cut into segments


@dataclass(frozen=True, eq=False)
class Partition:
    """What every model of a comparison shares.

    Attributes
    ----------
    train, validation, heldout : list of Block
        Unrepeated blocks: to fit, to choose penalties and to stop early, to score.
    test : list of Block
        Blocks with trials; empty if the recording has no repeated test.
    description : dict
        The rule, the labels and what was carved, ready for JSON.
    """

    train: list[Block]
    validation: list[Block]
    heldout: list[Block]
    test: list[Block]
    description: dict


def spread_evenly(n: int, k: int) -> list[int]:
    """Indices of k of n blocks spread evenly over the session: floor((i + 0.5) n / k)."""
    return [(2 * i + 1) * n // (2 * k) for i in range(k)]


def partition(
    recording: Recording,
    stimulus: str | None = None,
    validation_blocks: int = 5,
    heldout_fraction: float = 0.1,
    segment: float = 30.0,
) -> Partition:
    """Split a recording into whole blocks, evenly over the session, because cells drift.

    If `train` has fewer than 10 blocks, they are first cut into segments, each of which is
    then a block of its own. No window crosses a block's edge, so the lead-in at the start of
    each segment is the gap on both of its sides. Without a `heldout` role a tenth of the
    blocks is held out by the same rule.

    Parameters
    ----------
    recording : Recording
        At the bin width of the fit.
    stimulus : str, optional
        Which stimulus, if there are several.
    validation_blocks : int
        Blocks for validation; at most a quarter of what is left for training is taken.
    heldout_fraction : float
        Share of the blocks to hold out where the recording declares none; 0 for none.
    segment : float
        Length of the segments, s. Shorter ones are cut where train lasts less than
        10 segments.

    Raises
    ------
    InputError
        If there is no train role, or too little of it to split.
    """
    stimulus = (
        recording.stimuli[0] if stimulus is None and len(recording.stimuli) == 1 else stimulus
    )
    roles = recording.roles(stimulus)
    where = f"{recording.source}: /{stimulus}/train"
    if validation_blocks < 1 or not 0 <= heldout_fraction < 1 or not segment > 0:
        raise InputError(
            f"cannot be split with validation_blocks={validation_blocks}, "
            f"heldout_fraction={heldout_fraction}, segment={segment}",
            where=where,
            remedy="validation_blocks >= 1, 0 <= heldout_fraction < 1, segment > 0 s.",
        )
    blocks = recording.blocks("train", stimulus)
    blocks = [block for block in blocks if block.n_bins]
    description = {"stimulus": stimulus, "bin_width_s": recording.bin_width}
    if len(blocks) < FEW_BLOCKS:
        blocks, segments = cut_segments(blocks, segment, recording.bin_width)
        description["segments"] = segments
        description["segment_rule"] = (
            f"train has fewer than {FEW_BLOCKS} blocks: they were cut into {len(blocks)} segments; "
            "the lead-in at the start of each segment is the gap between neighbours"
        )
    if len(blocks) < 4:
        lasts = format_duration(sum(block.n_bins for block in blocks) * recording.bin_width)
        raise InputError(
            f"lasts {lasts}: too short to be split into training, validation and held-out blocks",
            where=where,
            remedy="Record longer, use narrower bins, or declare the roles yourself.",
        )
    description["rule"] = "of n blocks, k are taken at floor((i + 0.5) n / k)"

    if "heldout" in roles:
        heldout = recording.blocks("heldout", stimulus)
        description["heldout_from"] = "role heldout of the recording"
    else:
        n_heldout = max(1, round(heldout_fraction * len(blocks))) if heldout_fraction else 0
        heldout, blocks = _take(blocks, n_heldout)
        description["heldout_from"] = (
            f"carved from train: {n_heldout} of {n_heldout + len(blocks)} blocks"
        )
    n_validation = min(validation_blocks, max(1, len(blocks) // 4))
    validation, train = _take(blocks, n_validation)
    test = recording.blocks("test", stimulus) if "test" in roles else []
    for name, members in (
        ("train", train),
        ("validation", validation),
        ("heldout", heldout),
        ("test", test),
    ):
        description[name] = {
            "labels": [block.label for block in members],
            "duration_s": sum(block.n_bins for block in members) * recording.bin_width,
        }
    description["test"]["trials"] = [block.n_trials for block in test]
    if not test:
        description["test"]["reason"] = "the recording has no repeated test"
    return Partition(train, validation, heldout, test, description)


def cut_segments(
    blocks: list[Block], segment: float, bin_width: float, at_least: int = FEW_BLOCKS
) -> tuple[list[Block], list[dict]]:
    """Cut blocks into equal segments of about `segment` seconds, `at_least` in all.

    Returns
    -------
    segments : list of Block
        Labelled 0, 1, ... in order; nothing is copied.
    origin : list of dict
        For each: its label, the block it came from, its start and stop, s.
    """
    total = sum(block.n_bins for block in blocks)
    length = min(segment / bin_width, total / at_least) if total else 1.0
    segments, origin = [], []
    for block in blocks:
        pieces = min(max(1, round(block.n_bins / max(length, 1.0))), max(1, block.n_bins))
        edges = [block.n_bins * i // pieces for i in range(pieces + 1)]
        for start, stop in zip(edges[:-1], edges[1:], strict=True):
            label = len(segments)
            segments.append(block.cut(start, stop, label=label))
            times = (float(block.time[start]), float(block.time[stop - 1] + bin_width))
            origin.append(
                {"label": label, "block": block.label, "start_s": times[0], "stop_s": times[1]}
            )
    return segments, origin


def _take(blocks: list[Block], k: int) -> tuple[list[Block], list[Block]]:
    chosen = set(spread_evenly(len(blocks), k))
    taken = [block for i, block in enumerate(blocks) if i in chosen]
    return taken, [block for i, block in enumerate(blocks) if i not in chosen]
