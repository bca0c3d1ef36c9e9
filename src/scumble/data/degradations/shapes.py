"""Shapes of random masks: drawn as numbers first, painted at any scale afterwards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from scumble.spec.degradation import RandomMasks

Point = tuple[float, float]
BENDS = 6
"""Points of a brush stroke."""


@dataclass(frozen=True, slots=True)
class Area:
    """A closed outline; corners are relative to `centre`."""

    centre: Point
    corners: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Disc:
    """A circle."""

    centre: Point
    radius: float


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line with round ends and bends; points are relative to `centre`."""

    centre: Point
    points: tuple[Point, ...]
    width: float


Shape = Area | Disc | Stroke


def drawn(size: tuple[int, int], spec: RandomMasks, random: np.random.Generator) -> Shape:
    """A shape of one of the wanted kinds; its centre lies within the picture."""
    weights = np.array(spec.mask_type_weights or [1.0] * len(spec.mask_types))
    kind = spec.mask_types[random.choice(len(weights), p=weights / weights.sum())]
    centre = (float(random.uniform(0, size[0])), float(random.uniform(0, size[1])))
    short = min(size)
    match kind:
        case "rectangle":
            x = size[0] * within(spec.rectangle_size, random) / 2
            y = size[1] * within(spec.rectangle_size, random) / 2
            return Area(centre, ((-x, -y), (x, -y), (x, y), (-x, y)))
        case "circle":
            return Disc(centre, short * within(spec.circle_size, random))
        case "brush":
            return _stroke(centre, short, spec, random)
        case "irregular":
            return _blob(centre, short, spec, random)


def paint(canvas: Image.Image, shape: Shape, scale: float) -> None:
    """White on the canvas, `scale` times as large as it was drawn."""
    draw = ImageDraw.Draw(canvas)
    match shape:
        case Area():
            draw.polygon(_placed(shape.centre, shape.corners, scale), fill=255)
        case Disc():
            _disc(draw, shape.centre, shape.radius * scale)
        case Stroke():
            width = max(1.0, shape.width * scale)
            points = _placed(shape.centre, shape.points, scale)
            for start, end in pairwise(points):
                draw.line([start, end], fill=255, width=round(width))
            for point in points:
                _disc(draw, point, width / 2)


def within(span: tuple[float, ...], random: np.random.Generator) -> float:
    """A number between the first and the second, all alike."""
    low, high = span
    return float(random.uniform(low, high))


def _stroke(centre: Point, short: int, spec: RandomMasks, random: np.random.Generator) -> Stroke:
    """A wandering line: each piece turns away from the one before by up to a right angle."""
    low, high = spec.brush_width
    width = float(random.integers(low, high + 1))
    piece = short * within(spec.brush_length, random) / (BENDS - 1)
    turn, x, y = float(random.uniform(0, 2 * math.pi)), 0.0, 0.0
    points = [(x, y)]
    for _ in range(BENDS - 1):
        x, y = x + piece * math.cos(turn), y + piece * math.sin(turn)
        points.append((x, y))
        turn += float(random.uniform(-math.pi / 2, math.pi / 2))
    return Stroke(centre, tuple(points), width)


def _blob(centre: Point, short: int, spec: RandomMasks, random: np.random.Generator) -> Area:
    """Corners all around the centre, between half of the radius and all of it away."""
    low, high = spec.irregular_points
    count = int(random.integers(low, high + 1))
    radius = short * within(spec.circle_size, random)
    away = radius * random.uniform(0.5, 1, count)
    angles = 2 * np.pi * (np.arange(count) + random.uniform(0, 0.8, count)) / count
    corners = zip((away * np.cos(angles)).tolist(), (away * np.sin(angles)).tolist(), strict=True)
    return Area(centre, tuple(corners))


def _placed(centre: Point, points: tuple[Point, ...], scale: float) -> list[Point]:
    return [(centre[0] + scale * x, centre[1] + scale * y) for x, y in points]


def _disc(draw: ImageDraw.ImageDraw, centre: Point, radius: float) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
