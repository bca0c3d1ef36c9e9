"""Curves over steps as inline SVG: sharp at any width, coloured by the page's stylesheet.

Text keeps its size when the page narrows, because only the inner picture of the curves is
stretched; places along the steps are therefore told in per cent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

POINTS = 400
"""More than a page's width can show apart."""

ABOVE, BELOW = 22, 26
"""Pixels over the curves, for the name of the values, and under them, for the steps."""

Point = tuple[int, float]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What part of the plane a chart shows, and how tall it is in pixels."""

    first: int
    last: int
    low: float
    high: float
    height: int

    def across(self, step: int) -> float:
        """Per cent of the width at which a step stands."""
        return 100 * (step - self.first) / max(1, self.last - self.first)

    def down(self, value: float) -> float:
        """Pixels from the top at which a value stands; one outside stands on the border."""
        share = (value - self.low) / (self.high - self.low)
        return ABOVE + self.height * (1 - min(1.0, max(0.0, share)))


def smoothed(values: Sequence[float]) -> list[float]:
    """A running mean, weighted to both sides so that it does not lag; as long as `values`."""
    keep = 1 - 1 / max(2.0, len(values) / 50)
    means = list(values)
    for _ in range(2):
        forward, backward = _running(means, keep), _running(means[::-1], keep)[::-1]
        means = [(a + b) / 2 for a, b in zip(forward, backward, strict=True)]
    return means


def thinned(points: Sequence[Point], limit: int = POINTS) -> list[Point]:
    """At most `limit` of the points, evenly, the first and the last among them."""
    return [points[place] for place in evenly(len(points), limit)]


def evenly(count: int, limit: int) -> list[int]:
    """At most `limit` of the places 0 to count - 1, both ends among them."""
    if count <= limit:
        return list(range(count))
    return [round(place * (count - 1) / (limit - 1)) for place in range(limit)]


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from low to high, 1, 2, 2.5 or 5 times a power of ten apart."""
    if high <= low:
        return [low]
    raw = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    gap = min((m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.75), default=raw)
    start = math.ceil(low / gap - 1e-9)
    return [gap * place for place in range(start, math.floor(high / gap + 1e-9) + 1)]


def loss_chart(losses: Sequence[Point], *, resumed: Sequence[int] = ()) -> str:
    """Faint points for single steps under the line of their mean; empty without a number."""
    points = [(step, loss) for step, loss in losses if math.isfinite(loss)]
    if not points:
        return ""
    mean = smoothed([loss for _, loss in points])
    line = thinned([(step, value) for (step, _), value in zip(points, mean, strict=True)])
    low, high = _span([loss for _, loss in points], mean)
    frame = Frame(first=points[0][0], last=points[-1][0], low=low, high=high, height=280)
    dots = "".join(f"M{_place(frame, point)}h0" for point in thinned(points))
    marks = "".join(_mark(frame, step) for step in resumed if frame.first <= step < frame.last)
    end = f'<circle class="end" cx="100%" cy="{frame.down(line[-1][1]):.1f}" r="4"/>'
    curves = f'<path class="dots" d="{dots}"/><path class="curve" d="{_path(frame, line)}"/>'
    return _svg(frame, marks, curves, end, name="loss", rows=5)


def rate_chart(rates: Sequence[Point]) -> str:
    """The learning rate, from zero up; empty without a number."""
    points = [(step, rate) for step, rate in rates if math.isfinite(rate)]
    high = max((rate for _, rate in points), default=0.0)
    if not points:
        return ""
    low, top = 0.0, high * 1.08 or 1.0
    frame = Frame(first=points[0][0], last=points[-1][0], low=low, high=top, height=90)
    curve = f'<path class="curve rate" d="{_path(frame, thinned(points))}"/>'
    return _svg(frame, "", curve, "", name="rate", rows=2)


def legend() -> str:
    """What the two lines of a chart with one `beside` it are."""
    return (
        '<figcaption class="keys"><i></i> the weights as they train (raw) <i class="other"></i>'
        " their moving average (EMA)</figcaption>"
    )


def band_chart(
    course: Sequence[tuple[int, float, float, float]], *, name: str, beside: Sequence[Point] = ()
) -> str:
    """A line through few points, and the band that it may lie in: step, value, low and high of
    each, by step. `beside` is a second line, without a band. Empty without a number."""
    points = [row for row in course if all(map(math.isfinite, row))]
    if not points:
        return ""
    other = [(step, value) for step, value in beside if math.isfinite(value)]
    seen = [value for _, value in other]
    low = min([row[2] for row in points] + seen)
    high = max([row[3] for row in points] + seen)
    room = 0.08 * (high - low) or abs(high) * 0.1 or 1.0
    first, last = points[0][0], points[-1][0]
    frame = Frame(first=first, last=last, low=low - room, high=high + room, height=200)
    line = [(step, value) for step, value, _, _ in points]
    lows = [(step, value) for step, _, value, _ in points]
    highs = [(step, value) for step, _, _, value in points]
    dots = "".join(f"M{_place(frame, point)}h0" for point in line)
    curves = f'<path class="curve rate" d="{_path(frame, line)}"/><path class="dots" d="{dots}"/>'
    if len(points) > 1:
        round_it = "L".join(_place(frame, point) for point in (*highs, *lows[::-1]))
        curves = f'<path class="band" d="M{round_it}Z"/>{curves}'
    if other:
        curves += f'<path class="curve other" d="{_path(frame, other)}"/>'
    return _svg(frame, "", curves, "", name=name, rows=4)


def _running(values: Sequence[float], keep: float) -> list[float]:
    total = weight = 0.0
    means = []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        means.append(total / weight)
    return means


def _span(values: list[float], mean: list[float]) -> tuple[float, float]:
    """Low and high for the vertical axis: the middle 96 of 100 points and all of the line."""
    ordered = sorted(values)
    aside = len(ordered) // 50
    low, high = min(ordered[aside], *mean), max(ordered[-1 - aside], *mean)
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return (max(0.0, low - room) if low >= 0 else low - room), high + room


def _mark(frame: Frame, step: int) -> str:
    x, floor = frame.across(step), ABOVE + frame.height
    return (
        f'<line class="mark" x1="{x:.2f}%" x2="{x:.2f}%" y1="{ABOVE}" y2="{floor}">'
        f"<title>Resumed after step {step:,}</title></line>"
    )


def _place(frame: Frame, point: Point) -> str:
    return f"{10 * frame.across(point[0]):.1f} {frame.down(point[1]) - ABOVE:.1f}"


def _path(frame: Frame, points: Sequence[Point]) -> str:
    """A line through the points; a single one is drawn right across."""
    if len(points) == 1:
        return f"M0 {_place(frame, points[0]).split()[1]}h1000"
    return "M" + "L".join(_place(frame, point) for point in points)


def _svg(frame: Frame, marks: str, curves: str, end: str, *, name: str, rows: int) -> str:
    total = frame.height + ABOVE + BELOW
    return (
        f'<svg class="chart" height="{total}" role="img" aria-label="{name} over steps">'
        f"{_grid(frame, rows)}{marks}"
        f'<svg x="0" y="{ABOVE}" width="100%" height="{frame.height}" overflow="visible" '
        f'viewBox="0 0 1000 {frame.height}" preserveAspectRatio="none">{curves}</svg>'
        f"{end}{_labels(frame, name, rows)}</svg>"
    )


def _grid(frame: Frame, rows: int) -> str:
    heights = [frame.down(value) for value in ticks(frame.low, frame.high, rows)]
    rules = "".join(f'<line x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>' for y in heights)
    floor = ABOVE + frame.height
    return f'<g class="rules">{rules}</g><line class="floor" x2="100%" y1="{floor}" y2="{floor}"/>'


def _labels(frame: Frame, name: str, rows: int) -> str:
    """Values in the gutter on the left, steps under the floor; the outermost stay inside."""
    floor = ABOVE + frame.height
    gutter = [
        (frame.down(value) + 4, _number(value)) for value in ticks(frame.low, frame.high, rows)
    ]
    gutter += [(9.0, name), (floor + 19.0, "step")]
    texts = [f'<text x="-9" y="{y:.1f}" text-anchor="end">{words}</text>' for y, words in gutter]
    for step in sorted({round(step) for step in ticks(float(frame.first), float(frame.last), 5)}):
        x = frame.across(step)
        anchor = "start" if x < 4 else "end" if x > 96 else "middle"
        texts.append(
            f'<line class="floor" x1="{x:.2f}%" x2="{x:.2f}%" y1="{floor}" y2="{floor + 4}"/>'
            f'<text x="{x:.2f}%" y="{floor + 19}" text-anchor="{anchor}">{step:,}</text>'
        )
    return f"<g>{''.join(texts)}</g>"


def _number(value: float) -> str:
    """Three figures; the small ones as learning rates are written, `5e-5`."""
    if value == 0 or 1e-2 <= abs(value) < 1e5:
        return f"{value:.3g}"
    figures, power = f"{value:.2e}".split("e")
    return f"{float(figures):g}e{int(power)}"
