"""The report's part on held-out pairs: whether painting them beats a copy of their input."""

import math
from collections.abc import Sequence
from html import escape

from scumble.events import Scored
from scumble.observers import charts, sentences

ROWS = 40
"""More pairs than these stand in the journal alone; those that came out worst are shown."""


def brief(newest: Scored) -> str:
    """The newest count in a few words, for the head of the page."""
    return f"{newest.better:,} of {len(newest.pairs):,} pairs"


def body(course: Sequence[Scored], steps: int) -> str:
    """What came out, by step, in a run of so many steps; empty without a comparison."""
    if not course:
        return ""
    first, newest = course[0], course[-1]
    told = f"{sentences.scored(newest)}, at step {newest.step:,}"
    then = f" At step {first.step:,}: {_then(first)}." if first is not newest else ""
    lost = newest.step >= steps and newest.pairs and not newest.won
    question = " Are reference and target swapped?" if lost else ""
    chart = charts.band_chart([_point(one) for one in course if one.ratio], name="ratio")
    figure = f"<figure>{chart}{_caption()}</figure>" if chart and len(course) > 1 else ""
    words = (
        "Every pair is painted from a noise of its own, the same each time. Distances are between"
        " latents; the copy is the first reference, cut as the target is."
    )
    return (
        f"<p><b>{escape(told)}.</b>{escape(then)}{question}</p><p>{words}</p>{figure}"
        f"{_table(first, newest)}{_alike(newest)}"
    )


def _then(first: Scored) -> str:
    ratio = "-" if first.ratio is None else f"{first.ratio.mean:.2f}"
    return f"{first.better:,} of {len(first.pairs):,} pairs nearer than a copy, ratio {ratio}"


def _caption() -> str:
    return (
        "<figcaption>Distance of what is painted over that of the copy, mean of all pairs; below 1"
        " it is nearer. The band is the 95 % interval.</figcaption>"
    )


def _point(one: Scored) -> tuple[int, float, float, float]:
    assert one.ratio is not None
    low, high = one.ratio.low, one.ratio.high
    mean = one.ratio.mean
    return one.step, mean, mean if low is None else low, mean if high is None else high


def _table(first: Scored, newest: Scored) -> str:
    """Pair by pair, the worst first."""
    if not newest.pairs:
        return ""
    cells = ("Pair", "Copy", f"Step {first.step:,}", f"Step {newest.step:,}", "Ratio")
    head = "".join(f"<th>{cell}</th>" for cell in cells)
    order = sorted(newest.pairs, key=lambda id: -_ratio(newest.pairs[id]))
    rows = "".join(_row(id, first, newest) for id in order[:ROWS])
    more = len(order) - ROWS
    rest = f"<p>{more:,} more pairs came out better than these.</p>" if more > 0 else ""
    return f"<table><tr>{head}</tr>{rows}</table>{rest}"


def _ratio(pair: tuple[float, float]) -> float:
    """Of a pair; what is no number stands above all others."""
    ratio = pair[0] / pair[1]
    return ratio if math.isfinite(ratio) else math.inf


def _row(id: str, first: Scored, newest: Scored) -> str:
    output, copy = newest.pairs[id]
    then = f"{first.pairs[id][0]:.4f}" if id in first.pairs else "-"
    cells = (id, f"{copy:.4f}", then, f"{output:.4f}", f"{output / copy:.2f}")
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _alike(newest: Scored) -> str:
    if not newest.alike:
        return ""
    names = escape(", ".join(newest.alike))
    return f"<p>Left out, for their input is their target: {names}.</p>"
