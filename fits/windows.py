"""How far back a model sees: the windows that a fit chooses among."""

from __future__ import annotations

from collections.abc import Sequence

from neuromodels.datasets.splits import Partition
from neuromodels.encoding.base import bins_of
from neuromodels.encoding.bases import lead_in_of
from neuromodels.options import OptionError

#: Windows that a fit chooses among on the validation blocks, s.
HISTORIES = (0.4, 0.8, 1.2, 2.0)
#: A window may take up at most this share of the shortest validation block.
LARGEST_SHARE = 0.5


def candidate_histories(
    history: float | str, partition: Partition, bin_width: float, delay: int = 1
) -> tuple[float, ...]:
    """Windows to try: the one that was given, or all that the blocks are long enough for.

    Parameters
    ----------
    history : float or "auto"
        Option of the model, s.
    partition : Partition
        Training and validation blocks.
    bin_width : float
        s.
    delay : int
        Bins between an output and the last bin seen.

    Raises
    ------
    OptionError
        The window given is longer than the validation blocks.
    """
    blocks = [*partition.train, *partition.validation]
    shortest = min(block.n_bins for block in blocks) * bin_width
    if history != "auto":
        if history + (delay - 1) * bin_width >= shortest:
            raise OptionError(
                f"history = {history:g} s, but the shortest block lasts {shortest:g} s.",
                remedy="Give a shorter history.",
            )
        return (float(history),)
    largest = LARGEST_SHARE * shortest - delay * bin_width
    fitting = tuple(h for h in HISTORIES if bin_width <= h <= largest)
    return fitting or (max(bin_width, LARGEST_SHARE * shortest),)


def longest_lead_in(histories: Sequence[float], bin_width: float, delay: int) -> int:
    """First bin that all candidates can predict, so that all are scored on the same bins."""
    return max(lead_in_of(bins_of(h, bin_width, "history"), delay) for h in histories)
