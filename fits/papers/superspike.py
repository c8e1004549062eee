"""SuperSpike: supervised learning in multilayer spiking neural networks."""

from __future__ import annotations

from neuromodels.fits.papers.paper import Paper
from neuromodels.fits.papers.superspike_braille import BRAILLE
from neuromodels.fits.papers.superspike_figures import draw
from neuromodels.fits.papers.superspike_raster_claims import LOGO, OXFORD
from neuromodels.fits.papers.superspike_single import FOUR, SINGLE
from neuromodels.fits.papers.superspike_xor import XOR

PAPER = Paper(
    name="superspike",
    citation="Zenke & Ganguli 2018, Neural Computation 30:1514",
    claim=(
        "A three-factor rule with a surrogate of the spike's derivative teaches spiking networks, "
        "also with hidden layers, to answer input spikes with given output spikes."
    ),
    sizes={
        "small": "about 12 minutes on 2 free cores; few seeds of most networks",
        "full": "about 40 minutes on 2 free cores; all networks, at least five seeds",
    },
    experiments=(SINGLE, FOUR, XOR, LOGO, OXFORD, BRAILLE),
    draw=draw,
)
