"""The report's part on drift: how far the base model has moved on prompts it is not to forget."""

from collections.abc import Sequence
from html import escape

from scumble.events import Drifted
from scumble.observers import charts, sentences

ROWS = 20
"""More prompts than these stand in the journal alone; those that moved most are shown."""


def brief(newest: Drifted) -> str:
    """The newest figure in a few words, for the head of the page."""
    return sentences.percent(newest.drift)


def body(course: Sequence[Drifted]) -> str:
    """What was measured, by step; empty without a measurement."""
    if not course:
        return ""
    newest = course[-1]
    words = (
        "How far the network's answers are from those with the adapter off, as a share of these, "
        "along the base model's own way from noise to a picture; the same noise each time."
    )
    points = [(one.step, one.drift, one.drift, one.drift) for one in course]
    averaged = [(one.step, one.ema) for one in course if one.ema is not None]
    chart = charts.band_chart(points, name="drift", beside=averaged)
    caption = charts.legend() if averaged else ""
    figure = f"<figure>{chart}{caption}</figure>" if chart and len(course) > 1 else ""
    return f"<p>{words} {escape(sentences.drifted(newest))}.</p>{figure}{_table(course)}"


def _table(course: Sequence[Drifted]) -> str:
    """Prompt by prompt, the one that moved most first."""
    first, newest = course[0], course[-1]
    earlier = first is not newest
    cells = ("Prompt", *((f"Step {first.step:,}",) if earlier else ()), f"Step {newest.step:,}")
    head = "".join(f"<th>{cell}</th>" for cell in cells)
    order = sorted(newest.prompts, key=lambda prompt: -newest.prompts[prompt])
    rows = ""
    for prompt in order[:ROWS]:
        then = first.prompts.get(prompt)
        before = (("-" if then is None else sentences.percent(then)),) if earlier else ()
        told = (prompt or "(no words)", *before, sentences.percent(newest.prompts[prompt]))
        rows += f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in told)}</tr>"
    more = len(order) - ROWS
    rest = f"<p>{more:,} more prompts moved less than these.</p>" if more > 0 else ""
    return f"<table><tr>{head}</tr>{rows}</table>{rest}"
