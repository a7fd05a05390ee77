"""What surrounds the person: cameras, panoramas, occluders, detector boxes.

A scene is drawn at drawing resolution (uint8 RGB), cut to the detector's box, reduced to the written size by
area averaging (that is the anti-aliasing), and then passes the camera model.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import cv2
import numpy as np

from synthreid.figure import Figure, Number, Sketch, count_labels, outline, paint, stand_up


@dataclass(frozen=True)
class Difficulty:
    """How hard the benchmark is; calibrated on the baselines BoT and PCB alone."""

    body: tuple[float, float] = (0.74, 0.97)  # body height / box height, uniform
    y_offset: float = (
        1.0  # share of the vertical gap within which the body moves; above 1 it crosses the border
    )
    x_jitter: float = 0.06  # standard deviation of the sideways offset / box width
    box_follows_visible: float = 0.5  # share of occluded images whose box follows the visible body
    box_jitter: float = 0.06  # standard deviation of that box's borders / its height
    visible: tuple[float, float] = (0.30, 0.72)  # visible share of the target's pixels under an occluder
    person_occluders: float = 0.40  # share of occluders that are another pedestrian
    cast: float = 0.6  # strength of the cameras' colour casts
    train_occluded: float = 0.09  # occluded share of the training images
    holistic_occluded: float = 0.03  # occluded share of query and gallery of the holistic sets
    gallery_occluded: float = 0.10  # occluded share of the gallery of the occluded sets
    distractor_occluded: float = 0.20  # occluded share of the distractors

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            low, *_, high = value if isinstance(value, tuple) else (0.0, value)
            if not 0 <= low <= high <= 2:
                raise ValueError(f"Difficulty.{field.name} is {value}, expected increasing numbers in [0, 2]")


DEFAULT_DIFFICULTY = Difficulty()


# ---------------------------------------------------------------- small painters' tools


def _mix(colour, other, share: Number) -> tuple[float, ...]:
    return tuple(float(a + (b - a) * share) for a, b in zip(colour, other))


def _bright(colour, factor: Number) -> tuple[float, ...]:
    return tuple(float(min(255, max(0, c * factor))) for c in colour)


def _natural(rng: np.random.Generator, *, low=50, high=200, vivid=0.5) -> tuple[float, ...]:
    grey = rng.uniform(low, high)
    return tuple(float(c) for c in (grey + vivid * rng.uniform(-70, 70, 3)).clip(15, 240))


_CAR_COLOURS = (
    (226, 226, 224), (176, 180, 184), (96, 100, 106), (44, 46, 50), (36, 66, 118), (150, 34, 36), (44, 88, 70),
    (112, 142, 172), (196, 178, 142), (92, 52, 44),
)  # fmt: skip
_WALL_COLOURS = (
    (172, 104, 80), (146, 92, 76), (196, 178, 148), (206, 198, 182), (150, 150, 152), (178, 160, 134),
    (128, 134, 142), (190, 162, 124), (160, 172, 172),
)  # fmt: skip


def _paint_of(rng: np.random.Generator, palette: tuple) -> tuple[float, ...]:
    shade = rng.uniform(0.85, 1.08)
    return tuple(
        float(min(245, c * shade + rng.normal(0, 5))) for c in palette[int(rng.integers(len(palette)))]
    )


def clouds(rng: np.random.Generator, shape: tuple[int, int], *, grain: int) -> np.ndarray:
    """Smooth noise in about [-1, 1], float32, with features of 1/grain of the height."""
    rows, columns = shape
    coarse = rng.uniform(-1, 1, (grain + 1, max(2, grain * columns // rows + 1))).astype(np.float32)
    return cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)


_TURN = np.linspace(0, 2 * np.pi, 26, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)  # [26, 2]


class _Easel:
    """Collects polygons, ellipses and rectangles in pixels; what is never looked at is never filled."""

    def __init__(self, shape: tuple[int, int]):
        self.shape, self.strokes = shape, []  # (corners, colour)

    def polygon(self, points, colour) -> None:
        self.strokes.append((np.rint(np.asarray(points, float) * 16).astype(np.int32), colour))

    def rectangle(self, x, y, w, h, colour) -> None:
        self.polygon([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], colour)

    def ellipse(self, x, y, w, h, colour) -> None:
        self.polygon((x, y) + _CIRCLE * (w, h), colour)

    def line(self, start, end, width, colour) -> None:
        (a, b), (c, d) = start, end
        across = np.array([b - d, c - a]) / max(np.hypot(c - a, d - b), 1e-6) * width / 2
        self.polygon([start + across, end + across, end - across, start - across], colour)

    def mask(self) -> np.ndarray:
        """Where something was drawn, [H, W] uint8 0 or 1."""
        mask = np.zeros(self.shape, np.uint8)
        for corners, _ in self.strokes:
            cv2.fillPoly(mask, [corners], 1, cv2.LINE_8, 4)
        return mask

    def onto(self, image: np.ndarray) -> None:
        """Fill the collected polygons, in place, and forget them."""
        for corners, colour in self.strokes:
            cv2.fillPoly(image, [corners], colour, cv2.LINE_8, 4)
        self.strokes = []


class _Thing:
    """An object at its place, lit from above and a little uneven; coloured only if it is wanted."""

    def __init__(self, easel: _Easel, rng: np.random.Generator, *, strength: float = 0.10):
        self.easel, self.mask = easel, easel.mask()
        self.box = x, y, w, h = cv2.boundingRect(self.mask)
        uneven = clouds(rng, (h, w), grain=4) if w else np.zeros((0, 0), np.float32)
        self.light = 1 + strength * (np.linspace(1, -1, h)[:, None] + 0.5 * uneven)  # [h, w]

    def paint(self, image: np.ndarray) -> None:
        """Draw it, in place."""
        x, y, w, h = self.box
        within = np.s_[y : y + h, x : x + w]
        own = np.zeros_like(image)
        self.easel.onto(own)
        lit = (own[within] * self.light[..., None]).clip(0, 255).astype(np.uint8)
        cv2.copyTo(lit, self.mask[within], image[within])


def _shadow(
    image: np.ndarray, x: Number, y: Number, *, wide: Number, tall: Number, depth: Number
) -> tuple[slice, slice]:
    """Darken an ellipse on the ground softly, in place; returns the box within which it did."""
    rows, columns = image.shape[:2]
    y0, y1 = (int(min(max(end, 0), rows)) for end in (y - 2.5 * tall, y + 2.5 * tall + 1))
    x0, x1 = (int(min(max(end, 0), columns)) for end in (x - 2.2 * wide, x + 2.2 * wide + 1))
    box = np.s_[y0:y1, x0:x1]
    if y0 < y1 and x0 < x1:
        dy, dx = (np.arange(y0, y1) - y) / tall, (np.arange(x0, x1) - x) / wide
        dark = 1 - depth * np.exp(-((dy**2)[:, None] + (dx**2)[None])).astype(np.float32)
        image[box] = image[box] * cv2.merge([dark] * 3)
    return box


# ---------------------------------------------------------------- objects: occluders and street furniture
# Each draws at (x, ground) with `h` the height of a person standing there, in pixels.


def _pole(rng, easel: _Easel, x: Number, ground: Number, h: Number) -> None:
    width = h * rng.uniform(0.07, 0.15)
    colour = _mix(_natural(rng, low=70, high=150, vivid=0.25), (70, 90, 80), rng.uniform(0, 0.6))
    for k in range(8):  # a cylinder: brightest a third from its lit side
        light = 0.62 + 0.55 * np.exp(-(((k - 2.6) / 2.4) ** 2))
        easel.rectangle(x + (k / 8 - 0.5) * width, -h, width / 8 + 0.6, ground + h, _bright(colour, light))
    if rng.random() < 0.6:
        band = _natural(rng, low=120, high=220, vivid=1.0)
        easel.rectangle(x - width / 2, ground - h * rng.uniform(0.5, 0.9), width, h * 0.12, band)
    easel.rectangle(x - width * 0.7, ground - 0.05 * h, width * 1.4, 0.06 * h, _bright(colour, 0.6))


def _box(rng, easel: _Easel, x: Number, ground: Number, h: Number) -> None:
    wide, tall, top = h * rng.uniform(0.34, 0.60), h * rng.uniform(0.28, 0.56), h * rng.uniform(0.03, 0.08)
    cardboard = rng.random() < 0.45
    colour = (176, 134, 88) if cardboard else _natural(rng, low=60, high=190, vivid=0.9)
    left, side = x - wide / 2, wide * rng.uniform(0.7, 0.85)
    easel.rectangle(left, ground - tall, side, tall, colour)
    easel.rectangle(left + side, ground - tall, wide - side, tall, _bright(colour, 0.72))
    roof = [(left, ground - tall), (left + side, ground - tall), (left + wide, ground - tall)]
    roof += [(left + wide - 0.4 * top, ground - tall - top), (left + 0.6 * top, ground - tall - top)]
    easel.polygon(roof, _bright(colour, 1.22))
    if cardboard:
        easel.rectangle(left + 0.44 * side, ground - tall, 0.12 * side, 0.35 * tall, _bright(colour, 1.2))
        easel.rectangle(left + 0.1 * side, ground - 0.3 * tall, 0.25 * side, 0.12 * tall, (216, 206, 186))
    else:
        inset = 0.07 * side
        easel.rectangle(
            left + inset, ground - 0.93 * tall, side - 2 * inset, 0.4 * tall, _bright(colour, 0.88)
        )
        easel.rectangle(
            left + inset, ground - 0.46 * tall, side - 2 * inset, 0.4 * tall, _bright(colour, 0.88)
        )
        easel.rectangle(
            left + 0.3 * side, ground - 0.86 * tall, 0.4 * side, 0.06 * tall, _bright(colour, 0.45)
        )


def _car(rng, easel: _Easel, x: Number, ground: Number, h: Number) -> None:
    long, tall = h * 2.1, h * rng.uniform(0.48, 0.66)
    colour = _paint_of(rng, _CAR_COLOURS)
    flip = rng.choice((-1, 1))
    x = x + rng.uniform(-0.7, 0.7) * h

    def at(points):
        return [(x + flip * (px - 0.5) * long, ground - py * tall) for px, py in points]

    glass = (64, 80, 92)
    easel.polygon(at([(0.02, 0.18), (0.98, 0.18), (0.96, 0.06), (0.04, 0.06)]), (30, 30, 34))
    body = [
        (0.0, 0.16),
        (0.01, 0.5),
        (0.06, 0.57),
        (0.22, 0.6),
        (0.33, 0.95),
        (0.38, 1.0),
        (0.68, 1.0),
        (0.74, 0.96),
    ]
    easel.polygon(at([*body, (0.86, 0.62), (0.96, 0.58), (1.0, 0.46), (1.0, 0.16)]), colour)
    easel.polygon(at([(0.26, 0.62), (0.36, 0.93), (0.515, 0.93), (0.515, 0.62)]), glass)
    easel.polygon(at([(0.535, 0.62), (0.535, 0.93), (0.68, 0.93), (0.80, 0.62)]), glass)
    for start in (0.30, 0.58):
        streak = [(start, 0.64), (start + 0.06, 0.9), (start + 0.09, 0.9), (start + 0.03, 0.64)]
        easel.polygon(at(streak), (118, 138, 150))
    easel.polygon(at([(0.0, 0.44), (1.0, 0.44), (1.0, 0.40), (0.0, 0.40)]), _bright(colour, 1.25))
    easel.polygon(at([(0.0, 0.24), (1.0, 0.24), (1.0, 0.14), (0.0, 0.14)]), _bright(colour, 0.6))
    for seam in (0.26, 0.525, 0.79):
        easel.polygon(
            at([(seam, 0.6), (seam + 0.006, 0.6), (seam + 0.006, 0.2), (seam, 0.2)]), _bright(colour, 0.5)
        )
    for handle in (0.44, 0.70):
        easel.polygon(
            at([(handle, 0.54), (handle + 0.05, 0.54), (handle + 0.05, 0.51), (handle, 0.51)]), (40, 40, 44)
        )
    easel.polygon(at([(0.0, 0.52), (0.05, 0.54), (0.05, 0.45), (0.0, 0.45)]), (240, 232, 196))
    easel.polygon(at([(1.0, 0.52), (0.96, 0.54), (0.96, 0.44), (1.0, 0.44)]), (190, 40, 36))
    for wheel in (0.19, 0.80):
        (wx, wy), radius = at([(wheel, 0.17)])[0], 0.19 * tall
        for size, shade in (
            (1.18, _bright(colour, 0.45)),
            (1.0, (26, 26, 28)),
            (0.62, (150, 152, 156)),
            (0.2, (70,) * 3),
        ):
            easel.ellipse(wx, wy, radius * size, radius * size, shade)


def _bush(rng, easel: _Easel, x: Number, ground: Number, h: Number) -> None:
    wide, tall = h * rng.uniform(0.25, 0.42), h * rng.uniform(0.34, 0.62)
    green = np.array([rng.uniform(44, 92), rng.uniform(88, 132), rng.uniform(34, 66)])
    for k in range(90):
        turn, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
        px, py = reach * np.cos(turn), reach * np.sin(turn)
        light = 0.45 + 0.32 * (1 - py) * min(1, 0.4 + k / 90) + rng.uniform(-0.1, 0.12)
        size = h * rng.uniform(0.022, 0.055) * (1.6 - k / 120)
        easel.ellipse(
            x + px * wide, ground - tall * (0.48 - 0.46 * py), size, 0.75 * size, _bright(green, light)
        )


def _sign(rng, easel: _Easel, x: Number, ground: Number, h: Number) -> None:
    wide, tall, foot = h * rng.uniform(0.30, 0.52), h * rng.uniform(0.28, 0.44), h * rng.uniform(0.1, 0.4)
    colour = _natural(rng, low=60, high=210, vivid=1.0)
    for side in (-0.36, 0.36):
        easel.rectangle(
            x + side * wide - 0.012 * h,
            ground - foot - 0.1 * tall,
            0.024 * h,
            foot + 0.1 * tall,
            (84, 86, 90),
        )
    y = ground - foot - tall
    easel.rectangle(x - wide / 2, y, wide, tall, (232, 230, 224))
    easel.rectangle(x - 0.46 * wide, y + 0.04 * wide, 0.92 * wide, tall - 0.08 * wide, colour)
    ink = (240, 238, 230) if np.mean(colour) < 130 else (40, 42, 48)
    for row in range(3):
        easel.rectangle(
            x - 0.36 * wide, y + tall * (0.22 + 0.22 * row), wide * rng.uniform(0.4, 0.72), 0.09 * tall, ink
        )


def _wall(rng, easel: _Easel, x: Number, ground: Number, h: Number) -> None:
    colour, edge = _paint_of(rng, _WALL_COLOURS), x
    right = rng.random() < 0.5
    columns = easel.shape[1]
    start, width = (edge, columns + h) if right else (-h, edge + h)
    easel.rectangle(start, -h, width, ground + 2 * h, colour)
    course, brick = 0.055 * h, 0.15 * h
    for row in range(int(easel.shape[0] / course) + 1):
        for column in range(-1, int(columns / brick) + 2):
            left = max(start, (column + 0.5 * (row % 2)) * brick + 1)
            width_here = min((column + 1 + 0.5 * (row % 2)) * brick, start + width) - left
            if width_here > 1:
                easel.rectangle(
                    left, row * course + 1, width_here, course - 1.5, _bright(colour, rng.uniform(0.8, 1.0))
                )
    easel.rectangle(edge - (0 if right else 0.035 * h), -h, 0.035 * h, ground + 2 * h, _bright(colour, 1.15))


def _umbrella(rng, easel: _Easel, x: Number, ground: Number, h: Number) -> None:
    top, wide, tall = ground - 1.02 * h, 0.36 * h, 0.30 * h
    colour, other = _natural(rng, low=40, high=190, vivid=1.0), _natural(rng, low=40, high=210, vivid=0.6)
    easel.line((x, top), (x + 0.02 * h, ground - 0.45 * h), 0.018 * h, (60, 60, 62))
    for k in range(6):
        turns = np.linspace(np.pi * (1 + k / 6), np.pi * (1 + (k + 1) / 6), 6)
        rim = [(x + wide * np.cos(a), top + tall + tall * np.sin(a)) for a in turns]
        easel.polygon([(x, top), *rim], _bright(colour if k % 2 else other, 1.1 - 0.07 * k))


def _cart(rng, easel: _Easel, x: Number, ground: Number, h: Number) -> None:
    wide, tall = h * rng.uniform(0.40, 0.56), h * rng.uniform(0.40, 0.54)
    steel, goods = (150, 154, 160), [_natural(rng, low=70, high=210, vivid=1.0) for _ in range(5)]
    for k, colour in enumerate(goods):
        size = 0.24 * tall * rng.uniform(0.7, 1.3)
        easel.rectangle(
            x - 0.42 * wide + 0.17 * k * wide,
            ground - tall - size * 0.6,
            0.18 * wide,
            size + 0.1 * tall,
            colour,
        )
    y, low = ground - tall, ground - 0.36 * tall
    easel.polygon(
        [(x - 0.5 * wide, y), (x + 0.5 * wide, y), (x + 0.4 * wide, low), (x - 0.36 * wide, low)],
        (86, 90, 96),
    )
    for k in range(9):
        easel.line((x + (k / 8 - 0.5) * wide, y), (x + (0.095 * k - 0.36) * wide, low), 0.010 * h, steel)
    for k in range(5):
        height = y + (low - y) * k / 4
        easel.line(
            (x - (0.5 - 0.035 * k) * wide, height), (x + (0.5 - 0.025 * k) * wide, height), 0.010 * h, steel
        )
    easel.line(
        (x - 0.5 * wide, y),
        (x - 0.68 * wide, y - 0.14 * tall),
        0.02 * h,
        _natural(rng, low=60, high=200, vivid=1.0),
    )
    easel.line((x - 0.36 * wide, low), (x - 0.3 * wide, ground - 0.12 * tall), 0.018 * h, steel)
    easel.line(
        (x - 0.36 * wide, ground - 0.12 * tall), (x + 0.4 * wide, ground - 0.12 * tall), 0.018 * h, steel
    )
    for side in (-0.32, 0.36):
        easel.ellipse(x + side * wide, ground - 0.06 * tall, 0.05 * h, 0.05 * h, (36, 36, 40))


OBJECTS: dict[str, tuple[float, Callable]] = {
    "pole": (0.08, _pole), "box": (0.22, _box), "car": (0.28, _car), "bush": (0.14, _bush), "sign": (0.07, _sign),
    "wall": (0.06, _wall), "umbrella": (0.03, _umbrella), "cart": (0.12, _cart),
}  # fmt: skip


# ---------------------------------------------------------------- backgrounds


def _facade(rng: np.random.Generator, easel: _Easel, width: int, horizon: Number, size: Number) -> None:
    """A row of house fronts: brick, plaster or shop windows."""
    x = 0.0
    while x < width:
        wide = size * rng.uniform(0.9, 2.0)
        wall = _paint_of(rng, _WALL_COLOURS)
        easel.rectangle(x, -1, wide, horizon + 1, wall)
        shop = rng.random() < 0.5
        pane = _bright((74, 92, 106), rng.uniform(0.7, 1.5))
        count = max(1, int(wide / (size * 0.42)))
        for k in range(count):
            left, step = x + wide * (k + 0.14) / count, wide * 0.72 / count
            top, tall = (horizon * 0.36, horizon * 0.52) if shop else (horizon * 0.18, horizon * 0.42)
            easel.rectangle(left - 2, top - 2, step + 4, tall + 4, _bright(wall, 0.62))
            easel.rectangle(left, top, step, tall, pane)
            easel.polygon(
                [(left, top), (left + 0.5 * step, top), (left, top + 0.8 * tall)], _bright(pane, 1.25)
            )
            easel.rectangle(left + 0.48 * step, top, 0.05 * step, tall, _bright(wall, 0.7))
        if shop:
            easel.rectangle(
                x, horizon * 0.1, wide, horizon * 0.19, _natural(rng, low=50, high=190, vivid=0.9)
            )
        elif rng.random() < 0.6:
            easel.rectangle(
                x + 0.4 * wide, horizon * 0.42, 0.2 * size, horizon * 0.58, _natural(rng, low=40, high=120)
            )
        easel.rectangle(x, horizon * 0.94, wide, horizon * 0.06, _bright(wall, 0.6))
        x += wide


def _greenery(rng: np.random.Generator, easel: _Easel, width: int, horizon: Number, size: Number) -> None:
    """Sky, a far hedge and trees."""
    sky = np.array([rng.uniform(150, 205), rng.uniform(180, 215), rng.uniform(200, 228)])
    easel.rectangle(0, -1, width, horizon + 1, tuple(sky))
    leaf = np.array([rng.uniform(56, 96), rng.uniform(96, 130), rng.uniform(44, 70)])
    for _k in range(width // 3):
        x, y = rng.uniform(0, width), horizon * rng.uniform(0.55, 0.97)
        easel.ellipse(x, y, size * 0.09, size * 0.07, _bright(leaf, rng.uniform(0.55, 1.0)))
    for _ in range(int(width / (size * 0.7))):
        x = rng.uniform(0, width)
        easel.rectangle(x, horizon * 0.2, size * rng.uniform(0.05, 0.09), horizon * 0.85, (82, 64, 48))
        for _ in range(30):
            dx, dy = rng.normal(0, 0.28 * size), rng.normal(0.12, 0.16) * horizon
            easel.ellipse(x + dx, dy, size * 0.11, size * 0.09, _bright(leaf, rng.uniform(0.5, 1.15)))


def _wallside(rng: np.random.Generator, easel: _Easel, width: int, horizon: Number, size: Number) -> None:
    """A long brick or concrete wall with posters."""
    wall = _mix(_natural(rng, low=110, high=180, vivid=0.2), (158, 98, 78), rng.choice((0, 0.8)))
    easel.rectangle(0, -1, width, horizon + 1, _bright(wall, 0.8))
    course, brick = size * 0.055, size * rng.choice((0.14, 0.5))
    for row in range(int(horizon / course) + 1):
        for column in range(-1, int(width / brick) + 1):
            left = (column + 0.5 * (row % 2)) * brick
            easel.rectangle(
                left + 1, row * course + 1, brick - 1.5, course - 1.5, _bright(wall, rng.uniform(0.9, 1.08))
            )
    for _ in range(int(width / size)):
        x, y = rng.uniform(0, width), horizon * rng.uniform(0.2, 0.45)
        easel.rectangle(x, y, 0.25 * size, 0.34 * size, (226, 222, 210))
        easel.rectangle(x + 3, y + 3, 0.25 * size - 6, 0.2 * size, _natural(rng, low=60, high=200, vivid=1.0))


def _ground(rng: np.random.Generator, easel: _Easel, width: int, horizon: Number, rows: int) -> None:
    """Asphalt, grass, tiles or paving in perspective."""
    kind = int(rng.integers(4))
    base = (
        _natural(rng, low=92, high=132, vivid=0.06),
        (rng.uniform(88, 112), rng.uniform(116, 138), rng.uniform(60, 80)),
        _mix(_natural(rng, low=140, high=185, vivid=0.1), (196, 176, 150), 0.3),
        _mix(_natural(rng, low=115, high=160, vivid=0.1), (168, 120, 96), 0.4),
    )[kind]
    easel.rectangle(0, horizon, width, rows - horizon + 1, base)
    if kind >= 2:
        joint, step = _bright(base, 0.86), rows * (0.16 if kind == 2 else 0.09)
        for k in range(1, 14):
            y = horizon + (rows - horizon) * (k / 13) ** 1.7
            easel.rectangle(0, y, width, 1.0 + 0.8 * k / 13, joint)
        for k in range(int(width / step) + 1):
            lean = 0.25 * (k * step - width / 2)
            easel.line((k * step, horizon), (k * step + lean, rows + 1), 1.4, joint)
    kerb = _bright(base, 1.2) if kind != 1 else (170, 166, 156)
    easel.rectangle(0, horizon, width, rows * 0.022, kerb)
    easel.rectangle(0, horizon + rows * 0.022, width, rows * 0.012, _bright(base, 0.62))


def panorama(rng: np.random.Generator, rows: int) -> np.ndarray:
    """A 4:1 street scene, [rows, 4 rows, 3] uint8 RGB, that a camera's backgrounds are cut from."""
    width, horizon = 4 * rows, rows * rng.uniform(0.38, 0.55)
    easel, image = _Easel((rows, width)), np.zeros((rows, width, 3), np.uint8)
    style = (_facade, _greenery, _wallside)[int(rng.integers(3))]
    style(rng, easel, width, horizon, rows * 0.55)
    _ground(rng, easel, width, horizon, rows)
    easel.onto(image)
    furniture = [draw for name, (_, draw) in OBJECTS.items() if name not in ("wall", "umbrella")]
    for depth in np.sort(rng.uniform(0.02, 0.4, 9)):
        ground = horizon + depth * (rows - horizon)
        draw = furniture[int(rng.integers(len(furniture)))]
        size = rows * (0.34 + 0.5 * depth)
        x = rng.uniform(0, width)
        _shadow(image, x, ground, wide=0.3 * size, tall=0.03 * size, depth=0.45)
        draw(rng, easel, x, ground, size)
        easel.onto(image)
    light = 1 + 0.07 * clouds(rng, (rows, width), grain=5) + 0.03 * clouds(rng, (rows, width), grain=40)
    image = (image * light[..., None]).clip(0, 255).astype(np.uint8)
    return cv2.GaussianBlur(image, (0, 0), rows / 256 * 1.1)


# ---------------------------------------------------------------- cameras


@dataclass(frozen=True)
class Camera:
    """One camera: where it stands and how it turns light into numbers."""

    panorama: np.ndarray
    yaw: float  # radians, of the people who walk along its axis
    light: float  # -1 left .. 1 right
    matrix: np.ndarray  # [3, 3] colour matrix with the channel gains
    bias: np.ndarray  # [3]
    gamma: float
    blur: float  # pixels at 128 x 64
    noise: float  # standard deviation of the sensor noise, of 255
    quality: int  # of the JPEG


def draw_camera(rng: np.random.Generator, *, rows: int, cast: Number) -> Camera:
    gains = 1 + 0.12 * cast * rng.normal(size=3).clip(-1.8, 1.8)
    return Camera(
        yaw=rng.uniform(-np.pi, np.pi),
        light=float(rng.choice((-1, 1)) * rng.uniform(0.4, 1)),
        matrix=(np.eye(3) + 0.045 * cast * rng.normal(size=(3, 3))) * gains[:, None] / gains.mean(),
        bias=rng.normal(0, 8 * cast, 3),
        gamma=float(np.exp(np.clip(rng.normal(0, 0.22 * cast), -0.3, 0.3))),
        blur=rng.uniform(0.2, 1.0),
        noise=rng.uniform(2, 6),
        quality=int(rng.integers(72, 95)),
        panorama=panorama(rng, rows),
    )


def _background(camera: Camera, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    rows, columns = camera.panorama.shape[:2]
    height = int(rows * rng.uniform(0.86, 1.0))
    width = height * shape[1] // shape[0]
    x, y = int(rng.integers(columns - width)), int(rng.integers(rows - height + 1))
    view = camera.panorama[y : y + height, x : x + width]
    if rng.random() < 0.5:
        view = cv2.flip(view, 1)
    return cv2.resize(view, shape[::-1], interpolation=cv2.INTER_LINEAR)


_RAMP = np.linspace(0, 1, 1024)


def expose(image: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """The camera model: blur, colour matrix, gamma, gain, noise; [H, W, 3] uint8 to the same."""
    rows = image.shape[0]
    sigma = camera.blur * rng.uniform(0.6, 1.5) * rows / 128
    motion, length = rng.random() < 0.2, int(rng.integers(2, 5)) * rows // 128
    gamma, gain = camera.gamma * np.exp(rng.normal(0, 0.12)), np.exp(rng.normal(0, 0.10))
    noise = rng.standard_normal(image.shape, np.float32)
    noise *= camera.noise
    if motion and length > 1:
        image = cv2.blur(image, (length, 1))
    light = cv2.GaussianBlur(image, (0, 0), sigma).astype(np.float32)
    light = cv2.transform(light, camera.matrix.astype(np.float32))
    light += camera.bias.astype(np.float32)
    light *= 1023 / 255
    curve = (_RAMP**gamma * 255 * gain).astype(np.float32)
    light = curve.take(light.astype(np.int32), mode="clip")
    light += noise
    return light.clip(0, 255, out=light).astype(np.uint8)


# ---------------------------------------------------------------- the scene


@dataclass(frozen=True)
class Scene:
    """A drawn scene at drawing resolution, before box and camera."""

    image: np.ndarray  # [H, W, 3] uint8 RGB
    parts: np.ndarray  # [H, W] uint8, the target's visible part labels
    full: np.ndarray  # [12] pixels per part label of the un-occluded, un-cropped figure
    changed: np.ndarray  # [H, W] bool, where the occluder and its shadow are
    occluder: str
    followed: bool  # the detector's box should follow the visible body


class Stand(NamedTuple):
    """Where a figure stands: feet in pixels of the frame, body height in pixels."""

    x: float
    y: float
    height: float


def place(rng: np.random.Generator, shape: tuple[int, int], difficulty: Difficulty) -> Stand:
    """The detector's jitter: body height, vertical and sideways offset within the frame."""
    rows, columns = shape
    height = rng.uniform(*difficulty.body) * rows
    gap = 0.985 * rows - height
    middle = 0.5 + difficulty.y_offset * rng.uniform(-0.5, 0.5)
    x = columns * (0.5 + difficulty.x_jitter * min(max(rng.normal(), -2.2), 2.2))
    return Stand(x, height + gap * middle, height)


def _frame_sketch(figure: Figure, stand: Stand, shape: tuple[int, int]) -> tuple[Sketch, np.ndarray]:
    """A sketch within the frame, and the pixel counts of the whole figure, drawn on a wider one."""
    pad = shape[0] // 8
    feet, wider = (stand.x + pad, stand.y + pad), tuple(side + 2 * pad for side in shape)
    wide = outline(figure, feet=feet, height=stand.height, shape=wider)
    x, y, w, h = wide.head
    sketch = replace(
        wide,
        ids=np.ascontiguousarray(wide.ids[pad:-pad, pad:-pad]),
        neck=wide.neck - pad,
        crotch=wide.crotch - pad,
        head=(x - pad, y - pad, w, h),
    )
    return sketch, count_labels(wide.parts)


def _object_occluder(rng, stand: Stand, shape: tuple[int, int], *, kind: str) -> _Thing:
    easel = _Easel(shape)
    nearer = rng.uniform(0.02, 0.20 if kind in ("box", "car", "bush", "cart") else 0.06) * stand.height
    offset = {"pole": 0.08, "car": 0.3, "wall": 0.16}.get(kind, 0.13)
    x = stand.x + rng.uniform(-1, 1) * offset * stand.height
    OBJECTS[kind][1](rng, easel, x, stand.y + nearer, stand.height * rng.uniform(1.0, 1.2))
    return _Thing(easel, rng)


def _person_occluder(rng, stand: Stand, shape: tuple[int, int], *, figure: Figure, wide: float) -> Sketch:
    height = stand.height * rng.uniform(1.0, 1.25)
    x = stand.x + rng.choice((-1, 1)) * rng.uniform(0.42, 0.98) * wide
    feet = (x, stand.y + rng.uniform(0.01, 0.09) * stand.height)
    return outline(figure, feet=feet, height=height, shape=shape)


def occlude(
    rng: np.random.Generator, target: Sketch, *, stand: Stand, passer_by, difficulty: Difficulty
) -> tuple[str, np.ndarray, Sketch | _Thing]:
    """Find an occluder that leaves the wanted share of the target visible.

    Args:
        rng: the occlusion stream.
        target: the person to hide.
        stand: where the target stands.
        passer_by: (identity, pose) of the pedestrian who may occlude.
        difficulty: visible share and share of pedestrians.

    Returns:
        Kind, mask [H, W] bool, and what to paint there.
    """
    shape, body = target.ids.shape, target.ids > 0
    pixels = max(np.count_nonzero(body), 1)
    weights = np.array([weight for weight, _ in OBJECTS.values()])
    kind = "person"
    if rng.random() >= difficulty.person_occluders:
        kind = str(rng.choice(list(OBJECTS), p=weights / weights.sum()))
    figure = stand_up(*passer_by) if kind == "person" else None
    wide = max(cv2.boundingRect(target.ids)[2] - 1, 0.22 * stand.height)
    best, miss = None, np.inf
    low, high = difficulty.visible
    for attempt in range(8):
        if kind == "person":
            closer = wide * (1 - 0.07 * attempt)
            thing = _person_occluder(rng, stand, shape, figure=figure, wide=closer)
        else:
            thing = _object_occluder(rng, stand, shape, kind=kind)
        mask = (thing.ids if kind == "person" else thing.mask) > 0
        share = np.count_nonzero(body & ~mask) / pixels
        distance = max(low - share, share - high, 0)
        if distance < miss:
            best, miss = (thing, mask), distance
        if miss == 0:
            break
    thing, mask = best
    return kind, mask, thing


def _main_blobs(parts: np.ndarray) -> np.ndarray:
    """The visible body without specks below a tenth of it, which no detector would box."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((parts > 0).astype(np.uint8))
    large = stats[:, cv2.CC_STAT_AREA] >= 0.1 * stats[1:, cv2.CC_STAT_AREA].sum()
    large[0] = False
    return large.astype(np.uint8)[labels]


def window(
    scene: Scene, rng: np.random.Generator | None, difficulty: Difficulty
) -> tuple[int, int, int, int]:
    """The detector's box (x, y, width, height): the whole frame, or, drawn from a stream, around the visible body."""
    rows, columns = scene.parts.shape
    if not scene.followed or not scene.parts.any():
        return 0, 0, columns, rows
    x, y, w, h = cv2.boundingRect(_main_blobs(scene.parts))
    gap = np.abs(rng.normal(0.03, difficulty.box_jitter, 4)) * h
    top, bottom, left, right = y - gap[0], y + h + gap[1], x - gap[2], x + w + gap[3]
    lack = (bottom - top) / 2.4 - (right - left)
    if lack > 0:
        left, right = left - lack / 2, right + lack / 2
    top, bottom = max(0, int(top)), min(rows, int(np.ceil(bottom)))
    left, right = max(0, int(left)), min(columns, int(np.ceil(right)))
    return left, top, right - left, bottom - top


def compose(
    camera: Camera, *, target: tuple, walker: tuple | None, passer_by: tuple | None, stand: Stand,
    shape: tuple[int, int], setting: np.random.Generator, hiding: np.random.Generator | None, difficulty: Difficulty,
) -> Scene:  # fmt: skip
    """Draw background, a pedestrian behind, the target, and an occluder.

    Args:
        camera: gives panorama and light.
        target: (identity, pose) of the person to be found.
        walker: (identity, pose) of a smaller pedestrian behind, if any.
        passer_by: (identity, pose) of who may occlude; None draws no occluder.
        stand: where the target stands.
        shape: rows and columns at drawing resolution.
        setting: stream of background and cloth folds.
        hiding: stream of the occlusion; nothing else reads it, and None may stand for it where nobody is hidden.
        difficulty: the occluders' parameters.
    """
    image = _background(camera, setting, shape)
    folds = clouds(setting, shape, grain=14)
    aside, far = setting.uniform(-0.45, 0.45), setting.uniform(0.45, 0.75)
    if walker is not None:
        there = Stand(
            stand.x + aside * shape[1] * 1.2, stand.y - (1 - far) * 0.35 * stand.height, far * stand.height
        )
        behind = outline(stand_up(*walker), feet=there[:2], height=there.height, shape=shape)
        _stamp_person(image, behind, there, camera, folds)
    sketch, full = _frame_sketch(stand_up(*target), stand, shape)
    _stamp_person(image, sketch, stand, camera, folds)
    parts, changed = sketch.parts, np.zeros(shape, bool)
    kind, followed = "none", False
    if passer_by is not None:
        followed = bool(hiding.random() < difficulty.box_follows_visible)
        kind, mask, thing = occlude(hiding, sketch, stand=stand, passer_by=passer_by, difficulty=difficulty)
        if isinstance(thing, Sketch):
            paint(image, thing, light=camera.light, folds=folds)
        else:
            if kind not in ("wall", "umbrella", "sign"):
                changed = _cast_shadow(image, mask, stand)
            thing.paint(image)
        changed |= mask
        parts[mask] = 0
    return Scene(image, parts, full, changed, kind, followed)


def _stamp_person(image: np.ndarray, sketch: Sketch, stand: Stand, camera: Camera, folds: np.ndarray) -> None:
    ground = stand.y - 0.012 * stand.height
    lean = -0.10 * camera.light * stand.height
    _shadow(image, stand.x + lean, ground, wide=0.17 * stand.height, tall=0.028 * stand.height, depth=0.40)
    paint(image, sketch, light=camera.light, folds=folds)


def _cast_shadow(image: np.ndarray, mask: np.ndarray, stand: Stand) -> np.ndarray:
    """Darken the ground below a thing, in place; returns where that changed the image, [H, W] bool."""
    changed = np.zeros_like(mask)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows):
        before = image.copy()
        size = {"wide": 0.5 * len(columns), "tall": 0.03 * stand.height}
        box = _shadow(image, columns.mean(), rows[-1], **size, depth=0.45)
        changed[box] = (before[box] != image[box]).any(2)
    return changed
