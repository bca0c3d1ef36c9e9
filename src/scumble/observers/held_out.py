"""The report's part on the held-out loss: its course, and what it came to at each noise level."""

from collections.abc import Iterable, Sequence
from html import escape

from scumble.events import Band, Measured
from scumble.observers import charts, sentences


def brief(newest: Measured) -> str:
    """The newest loss in a few words, for the head of the page."""
    if newest.first is None:
        return f"{newest.mean:.4f}"
    return f"{newest.mean:.4f} ({100 * newest.first.change:+.1f} %)"


def body(course: Sequence[Measured]) -> str:
    """What was measured, by step; empty without a measurement."""
    if not course:
        return ""
    first, newest = course[0], course[-1]
    words = "On pictures that are not trained on, from the same noise at the same levels each time."
    averaged = [(one.step, one.ema.mean) for one in course if one.ema is not None]
    chart = charts.band_chart([_point(one) for one in course], name="loss", beside=averaged)
    band = charts.legend() if averaged else ""
    band += (
        "<figcaption>The band is the 95 % interval of the change since the first measurement: each"
        " picture is compared with itself.</figcaption>"
    )
    figure = f"<figure>{chart}{band if len(course) > 1 else ''}</figure>" if chart else ""
    return (
        f"<p>{words} {escape(sentences.held_out(newest))}.</p>{figure}"
        f"{_table('Noise level', _levels(first, newest), newest.step)}"
        f"{_table('Set', _sets(first, newest), newest.step) if len(newest.sets) > 1 else ''}"
    )


def _point(one: Measured) -> tuple[int, float, float, float]:
    """Step, loss and the interval that it has against the first measurement."""
    since = one.first
    if since is None or since.low is None or since.high is None:
        return one.step, one.mean, one.mean, one.mean
    return one.step, one.mean, since.mean * (1 + since.low), since.mean * (1 + since.high)


Row = tuple[str, Band, Band]


def _levels(first: Measured, newest: Measured) -> list[Row]:
    then = dict(first.by_time)
    return [(f"{time:g}", then[time], band) for time, band in newest.by_time]


def _sets(first: Measured, newest: Measured) -> list[Row]:
    return [(name, first.sets[name], band) for name, band in newest.sets.items()]


def _table(title: str, rows: Iterable[Row], step: int) -> str:
    head = f"<th>{title}</th><th>First</th><th>Step {step:,}</th><th>Change</th><th>Pictures</th>"
    told = "".join(_row(*row) for row in rows)
    return f"<table><tr>{head}</tr>{told}</table>"


def _row(name: str, then: Band, now: Band) -> str:
    change = f"{100 * (now.mean / then.mean - 1):+.1f} %" if then.mean else "-"
    cells = (name, _told(then), _told(now), change, f"{now.pictures:,}")
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _told(band: Band) -> str:
    if band.low is None or band.high is None:
        return f"{band.mean:.4f}"
    return f"{band.mean:.4f} ({band.low:.4f} to {band.high:.4f})"
