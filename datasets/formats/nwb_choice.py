"""Which of the stimuli of an NWB file are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.formats.nwb_data import Reading
from neuromodels.datasets.formats.nwb_presentations import (
    PRESENTATIONS,
    Presentations,
    find_presentations,
)
from neuromodels.datasets.formats.nwb_stimuli import PASS_FRAMES, frame_problem, place_of


@dataclass(frozen=True, eq=False)
class Chosen:
    """Series with frames of their own, presentations of templates, and notes on the rest.

    With `as_images` there is one set of presentations, and it shows images.
    """

    series: list = field(default_factory=list)
    presented: list[Presentations] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    as_images: bool = False


def choose(
    nwb, wanted: str | Sequence[str] | None, images: bool | None, reading: Reading
) -> Chosen:
    """The stimuli to read: those that the user names, or all that were shown as movies.

    Parameters
    ----------
    wanted : str or list of str, optional
        Names of series in /stimulus/presentation, or of stimuli in `*_presentations` tables.
    images : bool, optional
        Whether to read images rather than movies (default: where nothing else was shown).

    Raises
    ------
    InputError
        If there is none, or not the one that the user names, or only ones without frames.
    """
    from pynwb import TimeSeries
    from pynwb.image import ImageSeries, IndexSeries

    where = f"{reading.name}: /stimulus/presentation"
    shown = dict(nwb.stimulus or {})
    series = {
        name: item
        for name, item in shown.items()
        if isinstance(item, TimeSeries) and not isinstance(item, IndexSeries)
    }
    names = _names(wanted, reading)
    only_series = bool(names) and all(name in series for name in names)
    # Damaged tables of other stimuli must not stand in the way of one that is named.
    presented = [] if only_series else find_presentations(nwb, reading)
    if wanted is not None:
        return _named(list(dict.fromkeys(names)), series, presented, images, where, reading)
    if images:
        return _images([p for p in presented if p.are_images] or presented, where)

    usable = {name: item for name, item in series.items() if not frame_problem(item)}
    pictures = {name: item for name, item in usable.items() if isinstance(item, ImageSeries)}
    with_frames = [p for p in presented if p.template is not None]
    movies = [p for p in with_frames if images is False or not p.are_images]
    chosen = pictures or ({} if movies else usable)
    movies = [p for p in movies if p.name not in chosen]
    still = [p for p in presented if images is not False and p.are_images]
    if not chosen and not movies:
        if still:
            return _images(still, where)
        _refuse(nwb, series, presented, where, reading)
    names = [*chosen, *(p.name for p in movies)]
    unused = [name for name in shown if name not in names]
    notes = []
    if unused:
        notes.append(
            f"/stimulus/presentation: {', '.join(names)} read, {', '.join(unused)} not (choose "
            "with stimulus=)"
        )
    tables = [p.table for p in presented if p.name not in [*names, *unused]]
    if tables:
        notes.append(
            f"{', '.join(dict.fromkeys(tables))} not read: images (images=True reads them), or "
            "frames that the file lacks"
        )
    return Chosen(list(chosen.values()), movies, notes)


def _names(wanted, reading: Reading) -> list[str]:
    names = [wanted] if isinstance(wanted, str) else wanted
    if names is None:
        return []
    listed = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    if not listed or not names:
        raise InputError(
            f"is {wanted!r}"[:80],
            where=f"{reading.name}: stimulus",
            remedy='Give a name in the file, a list of names, or the frames: "movie.npy".',
        )
    return list(names)


def _named(names: list[str], series, presented, images, where: str, reading: Reading) -> Chosen:
    own, indexed = [], []
    for name in names:
        same = [p for p in presented if name in (p.name, p.table)]
        if name in series:
            problem = frame_problem(series[name])
            if problem:
                place = f"{reading.name}: {place_of(series[name])}"
                raise InputError(problem[0], where=place, remedy=problem[1])
            own.append(series[name])
        elif same:
            indexed += same
        else:
            known = [*series, *(p.name for p in presented)]
            raise InputError(
                f"there is no series {name!r}, and no file of that name",
                where=where,
                remedy=f"Choose stimulus= from: {', '.join(known) or 'none is there'}; frames from "
                "a file must exist under that name.",
            )
    if images or (images is None and not own and all(p.are_images for p in indexed)):
        return _images(indexed, where)
    for item in indexed:
        check_template(item)
    return Chosen(own, indexed)


def check_template(shown: Presentations) -> None:
    """Refuse presentations whose frames the file lacks.

    Raises
    ------
    InputError
        Says how to give them.
    """
    if shown.template is None:
        raise InputError(
            f"says which frames of {shown.name} were shown, but /stimulus/templates has no such "
            "frames",
            where=shown.where,
            remedy=f'Pass them: stimulus="{shown.name}.npy" with table="{shown.table}".',
        )


def _images(presented: list[Presentations], where: str) -> Chosen:
    if len(presented) != 1:
        listed = ", ".join(p.name for p in presented)
        raise InputError(
            f"shows several sets of images ({listed})" if presented else "shows no images",
            where=where,
            remedy="Choose one with stimulus=." if presented else "Leave images= out.",
        )
    return Chosen([], presented, [], True)


def _refuse(nwb, series, presented, where: str, reading: Reading) -> None:
    for item in presented:
        check_template(item)
    for item in series.values():
        what, remedy = frame_problem(item)
        raise InputError(what, where=f"{reading.name}: {place_of(item)}", remedy=remedy)
    elsewhere = [*(nwb.stimulus_template or {}), *(nwb.acquisition or {})]
    elsewhere += [name for name in nwb.intervals or {} if name.endswith(PRESENTATIONS)]
    seen = f" (elsewhere: {', '.join(elsewhere[:5])})" if elsewhere else ""
    pass_frames = PASS_FRAMES[0].upper() + PASS_FRAMES[1:]
    raise InputError(
        f"the file has no stimulus that was presented{seen}",
        where=where,
        remedy=f"{pass_frames}; or add them as an ImageSeries with nwbfile.add_stimulus.",
    )
