"""The person of the embedded benchmark: five identity slots, a skeleton, its drawing and its part labels.

Lengths are in body heights (x lateral, y down from the hips, z forward); colours are RGB in 0..255. A figure
is drawn in two steps: `outline` writes ONE map of primitive numbers by painter's order (cheap: enough for
part labels and visible shares), and `paint` colours it, with garment textures in cylinder coordinates (the
surface angle around the body), so that logos show from the front only and stripes turn with the person.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate
from typing import NamedTuple

import cv2
import numpy as np

Number = int | float | np.number

SLOTS = ("top", "bottom", "shoe", "head", "bag")
WARDROBE_SIZES = (36, 14, 7, 12, 8)
PART_COUNT = 11
"""1 head, 2 upper torso, 3 lower torso, 4/5 right/left upper arm, 6/7 right/left lower arm, 8/9 leg, 10/11 foot."""

# primitive -> (part label, shading group); "r"/"l" primitives add 0/1 to both
_MIDDLE = {
    "head": (1, 1), "neck": (1, 2), "mane": (1, 3), "brim": (1, 1), "tail": (1, 4),
    "chest": (2, 5), "belly": (3, 5), "hips": (3, 5), "pack": (2, 6), "satchel": (0, 7), "handbag": (0, 8),
}  # fmt: skip
_SIDED = {
    "sleeve": (4, 10), "cuff": (6, 10), "upper arm": (4, 10), "forearm": (6, 10), "hand": (6, 12),
    "thigh": (8, 14), "shin": (8, 14), "bare thigh": (8, 14), "bare shin": (8, 14), "flap": (8, 5),
    "skirt": (8, 18), "shoe": (10, 16), "sole": (10, 16),
}  # fmt: skip
_TABLE = [(name, *value) for name, value in _MIDDLE.items()] + [
    (f"{name} {side}", part + one, group + one * (9 < group < 18))
    for name, (part, group) in _SIDED.items()
    for one, side in enumerate("rl")
]
ID = {name: number for number, (name, _, _) in enumerate(_TABLE, start=1)}


def _table(values) -> np.ndarray:
    """A look-up table by primitive number, padded to the 256 entries that cv2.LUT wants."""
    return np.pad(np.array([0, *values], np.uint8), (0, 255 - len(_TABLE)))


PART_OF = _table(part for _, part, _ in _TABLE)
_GROUP_OF = _table(group for _, _, group in _TABLE)


def _members(*names: str) -> np.ndarray:
    """Which primitive numbers carry one of the names, as a look-up table."""
    return _table(name.removesuffix(" r").removesuffix(" l") in names for name in ID)


_TORSO = _members("chest", "belly", "flap")
_CLOTH = _members("chest", "belly", "flap", "sleeve", "cuff")
_LEGS = _members("thigh", "shin", "skirt")
_HIPS = _members("hips")
_CREASED = (PART_OF != 1).astype(np.float32)  # cloth, not faces


def count_labels(parts: np.ndarray) -> np.ndarray:
    """Pixels per part label, [12]; parts is [H, W] uint8."""
    x, y, w, h = cv2.boundingRect(parts)
    counts = np.bincount(parts[y : y + h, x : x + w].ravel(), minlength=PART_COUNT + 1)
    counts[0] += parts.size - w * h
    return counts


def stream(seed: int, *key: str | int | bool) -> np.random.Generator:
    """Random generator that is a pure function of the seed and a key."""
    digest = hashlib.sha256(repr((seed, *key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(np.frombuffer(digest, "<u4", count=4)))


# ---------------------------------------------------------------- wardrobe and identities

_TOP_COLOURS = np.array([
    (32, 32, 36), (232, 231, 226), (128, 130, 134), (30, 40, 74), (180, 34, 40), (36, 92, 170), (28, 110, 70),
    (226, 184, 52), (226, 116, 40), (112, 56, 132), (222, 142, 164), (122, 176, 214), (118, 30, 44), (102, 76, 52),
    (206, 186, 150), (94, 102, 56), (30, 132, 138), (70, 76, 84),
])  # fmt: skip
_TOP_WEIGHTS = np.array([3, 2.6, 2.2, 2.2] + [1] * 14)
_BOTTOM_COLOURS = np.array([
    (34, 34, 38), (40, 52, 86), (72, 96, 138), (126, 150, 182), (100, 102, 106), (176, 158, 126), (92, 70, 50),
    (226, 222, 212), (84, 90, 54), (126, 36, 44), (60, 62, 70),
])  # fmt: skip
_SHOES = np.array([
    (28, 28, 30), (236, 234, 230), (122, 78, 46), (172, 36, 40), (42, 76, 150), (140, 142, 146), (222, 190, 70)
])  # fmt: skip
_SKIN = np.array(
    [(244, 208, 182), (232, 188, 156), (214, 164, 126), (182, 128, 92), (134, 88, 60), (92, 60, 44)]
)
_HAIR = np.array([(30, 25, 24), (62, 42, 30), (108, 72, 42), (186, 146, 88), (140, 62, 34), (164, 162, 160)])
_BAG_COLOURS = np.array([
    (36, 36, 40), (146, 38, 42), (42, 70, 124), (122, 86, 54), (84, 94, 60), (204, 176, 126), (118, 122, 128)
])  # fmt: skip
_PATTERNS = ("plain", "stripes", "pinstripes", "checks", "logo", "block", "jacket", "band")
_STYLES = ("short", "long", "bald", "tail", "cap", "beanie", "hood", "afro")


class Top(NamedTuple):
    colour: int
    pattern: str
    sleeve: str
    hem: str
    second: int
    contrast: bool
    frequency: float


class Bottom(NamedTuple):
    colour: int
    kind: str
    stripe: bool
    width: float


class Head(NamedTuple):
    skin: int
    hair: int
    style: str
    beard: bool
    hat: int


class Bag(NamedTuple):
    kind: str
    colour: int
    side: int


def _pick(rng: np.random.Generator, options, weights) -> object:
    weights = np.asarray(weights, float)
    return options[int(rng.choice(len(options), p=weights / weights.sum()))]


def _top(rng: np.random.Generator) -> Top:
    colour = _pick(rng, range(18), _TOP_WEIGHTS)
    contrast = np.abs(_TOP_COLOURS - _TOP_COLOURS[colour]).sum(1) > 150
    return Top(
        colour,
        _pick(rng, _PATTERNS, (0.34, 0.10, 0.07, 0.08, 0.11, 0.12, 0.10, 0.08)),
        _pick(rng, ("none", "short", "long"), (0.07, 0.41, 0.52)),
        _pick(rng, ("normal", "long", "coat"), (0.55, 0.30, 0.15)),
        _pick(rng, range(18), _TOP_WEIGHTS * contrast),
        bool(rng.random() < 0.18),
        float(rng.uniform(5, 8)),
    )


def _bottom(rng: np.random.Generator) -> Bottom:
    kind = _pick(rng, ("long", "shorts", "skirt", "cropped"), (0.60, 0.20, 0.14, 0.06))
    return Bottom(int(rng.integers(11)), kind, bool(rng.random() < 0.18), float(rng.uniform(0.85, 1.3)))


def _head(rng: np.random.Generator) -> Head:
    style = str(rng.choice(_STYLES))
    return Head(
        int(rng.integers(6)), int(rng.integers(6)), style, bool(rng.random() < 0.25), int(rng.integers(18))
    )


def _bag(rng: np.random.Generator) -> Bag:
    kind = _pick(rng, ("pack", "satchel", "handbag"), (0.5, 0.3, 0.2))
    return Bag(kind, int(rng.integers(7)), int(rng.choice((-1, 1))))


def _distinct(seed: int, slot: str, draw, *, size: int, look: int) -> list:
    """Draw garments until `size` of them differ in their first `look` fields."""
    found, attempt = {}, 0
    while len(found) < size:
        garment = draw(stream(seed, "wardrobe", slot, attempt))
        found.setdefault(garment[:look], garment)
        attempt += 1
    return list(found.values())


def wardrobe(seed: int) -> dict[str, list]:
    """The garments that all identities of one seed share, by slot; low numbers are worn more often."""
    order = stream(seed, "wardrobe", "shoe").permutation(7)
    return {
        "top": _distinct(seed, "top", _top, size=36, look=4),
        "bottom": _distinct(seed, "bottom", _bottom, size=14, look=2),
        "shoe": [int(number) for number in order],
        "head": _distinct(seed, "head", _head, size=12, look=3),
        "bag": [None, None, None, *_distinct(seed, "bag", _bag, size=5, look=2)],
    }


@dataclass(frozen=True)
class Identity:
    """Five slot values (what re-identification can rely on) and a continuous body shape."""

    slots: tuple[int, int, int, int, int]
    top: Top
    bottom: Bottom
    shoe: int
    head: Head
    bag: Bag | None
    body: dict[str, float]  # factors of the mean body
    tint: np.ndarray  # [3], RGB offset of all garments

    @cached_property
    def palette(self) -> np.ndarray:
        """Colour of every tone, [3, 256] float32."""
        return _palette(self)


def _shares(size: int) -> np.ndarray:
    weights = 1 / np.sqrt(np.arange(1, size + 1))
    shares = (weights / weights.sum()).cumsum()
    return shares / shares[-1]


_SHARES = [_shares(size) for size in WARDROBE_SIZES]  # cumulated


def draw_slots(rng: np.random.Generator) -> tuple[int, ...]:
    """Slot values with weights 1 / sqrt(rank), so that popular garments are shared."""
    slots = [int(shares.searchsorted(rng.random(), side="right")) for shares in _SHARES]
    slots[4] = max(slots[4] - 2, 0) + 2 if slots[4] > 2 else 0  # the first three bags are "none"
    return tuple(slots)


def identity(seed: int, person: int, *, slots: tuple[int, ...], clothes: dict[str, list]) -> Identity:
    """Dress a person: garments by slot value, body shape from the person's own stream."""
    rng = stream(seed, "body", person)
    spread = {
        "shoulder": 0.07,
        "hip": 0.08,
        "leg": 0.03,
        "belly": 0.12,
        "head": 0.04,
        "limb": 0.10,
        "height": 0.03,
    }
    body = {name: 1 + sd * min(max(rng.normal(), -2.0), 2.0) for name, sd in spread.items()}
    worn = [clothes[slot][value] for slot, value in zip(SLOTS, slots)]
    return Identity(slots, *worn, body, rng.normal(0, 5, 3))


# ---------------------------------------------------------------- pose and skeleton


@dataclass(frozen=True)
class Pose:
    """Angles in radians; arms are (swing, abduction, elbow bend) of the right and the left arm."""

    yaw: float
    head_yaw: float
    lean: float
    hips: tuple[float, float]
    knees: tuple[float, float]
    arms: tuple[tuple[float, float, float], tuple[float, float, float]]


def draw_pose(rng: np.random.Generator, *, camera_yaw: float) -> Pose:
    """A walking (75 %) or standing pose, seen from the camera's direction of walking or its opposite."""
    yaw = camera_yaw + np.pi * rng.integers(2) + rng.normal(0, 0.66)
    walking, swing, bend = rng.random() < 0.75, rng.uniform(0.25, 0.5), rng.uniform(0.4, 0.9)
    phase = np.sin(rng.uniform(0, 2 * np.pi))
    stride = swing * phase if walking else rng.normal(0, 0.04)
    lift = [
        bend * max(0.12, -sign * phase) * 0.8 if walking else abs(rng.normal(0, 0.05)) for sign in (1, -1)
    ]
    arms = []
    for sign in (1, -1):
        swing_arm, abduct, elbow = -0.9 * sign * stride, rng.uniform(0.06, 0.2), rng.uniform(0.12, 0.5)
        special = int(rng.integers(3)) if rng.random() < 0.09 else None
        gesture = {0: (0.5, 0.25, 2.1), 1: (0.15, 0.12, 1.5), 2: (-0.35, 0.3, 0.75)}
        arms.append(gesture.get(special, (swing_arm, abduct, elbow)))
    head_yaw = yaw + rng.normal(0, 0.25)
    return Pose(
        yaw, head_yaw, 0.05 * walking + rng.normal(0, 0.02), (stride, -stride), tuple(lift), tuple(arms)
    )


_SIDE = np.array([-1.0, 1.0])  # x of the right and the left side


def _directions(swing: np.ndarray, abduct: np.ndarray) -> np.ndarray:
    """Unit vectors [B, 2, 3] of B bones of the right and the left limb, from two angles [B, 2] each."""
    across, along = np.sin(abduct), np.cos(abduct)
    return np.array([across, along * np.cos(swing), along * np.sin(swing)]).transpose(1, 2, 0)


def _skeleton(body: dict[str, float], pose: Pose) -> dict[str, np.ndarray]:
    """Joints in body heights, hips at the origin: [3], or [2, 3] (right, left) for those of the limbs."""
    hips, knees = np.array(pose.hips), np.array(pose.knees)
    arms, abduct, elbows = np.array(pose.arms).T
    bones = _directions(
        np.array([hips, hips - knees, arms, arms + elbows, arms + elbows]),
        np.array([0.02 * _SIDE, 0.01 * _SIDE, abduct * _SIDE, 0.4 * abduct * _SIDE, 0 * _SIDE]),
    )
    neck = np.array([0, -0.33, 0.33 * pose.lean])
    hip = np.array([[-0.048 * body["hip"], 0.0, 0.0], [0.048 * body["hip"], 0.0, 0.0]])
    knee = hip + 0.245 * body["leg"] * bones[0]
    ankle = knee + 0.225 * body["leg"] * bones[1]
    toe_lift = -0.35 * np.maximum(0.0, knees - 0.3)
    toe = ankle + 0.085 * np.array([0.18 * _SIDE, 0.26 - toe_lift, (1.0, 1.0)]).T
    wide = 0.106 * body["shoulder"]
    shoulder = neck + ((-wide, 0.040, 0), (wide, 0.040, 0))
    elbow = shoulder + 0.165 * bones[2]
    wrist = elbow + 0.14 * bones[3]
    hand = wrist + 0.045 * bones[4]
    return {
        "hips": np.zeros(3), "neck": neck, "head": neck + (0, -0.095, 0.012), "hip": hip, "knee": knee,
        "ankle": ankle, "toe": toe, "shoulder": shoulder, "elbow": elbow, "wrist": wrist, "hand": hand,
    }  # fmt: skip


# ---------------------------------------------------------------- outline: the map of primitives

_PITCH = 0.10  # the cameras look down a little: what is in front appears lower
# torso half widths at height v (0 neck, 1 crotch): lateral and in depth
_V = np.array([0, 0.04, 0.10, 0.17, 0.30, 0.55, 0.80, 1.0, 1.5])
_LATERAL = np.array([0.040, 0.072, 0.108, 0.122, 0.113, 0.096, 0.103, 0.104, 0.118])
_DEPTH = np.array([0.036, 0.050, 0.064, 0.075, 0.084, 0.078, 0.084, 0.082, 0.100])
_HEM = {"normal": 0.86, "long": 1.06, "coat": 1.50}


@dataclass(frozen=True)
class Figure:
    """A posed person as seen by the camera: polygons from far to near, in body heights from the feet."""

    who: Identity
    pose: Pose
    primitives: list[int]  # primitive number of each polygon
    ends: list[int]  # end of each polygon among the corners
    corners: np.ndarray  # [P, 2]
    neck: np.ndarray  # [2]
    crotch: np.ndarray  # [2]
    head: np.ndarray  # [2, 2]: centre, half width and half height


@dataclass(frozen=True)
class Sketch:
    """A figure's outline: primitive numbers per pixel, and the axes that textures are laid along."""

    ids: np.ndarray  # [H, W] uint8
    who: Identity
    pose: Pose
    height: float  # pixels
    neck: np.ndarray  # [2] pixels
    crotch: np.ndarray  # [2] pixels
    head: tuple[float, float, float, float]  # centre x, centre y, half width, half height in pixels

    @property
    def parts(self) -> np.ndarray:
        """Part labels, [H, W] uint8."""
        return cv2.LUT(self.ids, PART_OF)


_BEND = np.linspace(np.pi / 2, 3 * np.pi / 2, 9)
_HALF_CIRCLE = np.stack([np.cos(_BEND), np.sin(_BEND)], 1)  # [9, 2], around the start of a limb
_TURN = np.linspace(0, 2 * np.pi, 28, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)  # [28, 2]


@cache
def _rounded(power: float) -> np.ndarray:
    """A circle (1) or a box with round corners (below 1), [28, 2]."""
    return np.sign(_CIRCLE) * np.abs(_CIRCLE) ** power


def _capsules(start: np.ndarray, end: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Tapered capsules [L, 18, 2] between points [L, 2]; radii [L, 2] at the start and the end."""
    dx, dy = (end - start).T
    long = np.maximum(np.hypot(dx, dy), 1e-9)
    axes = (np.array([[dx, dy], [-dy, dx]]) / long).transpose(2, 0, 1)  # [L, 2, 2]: along, across
    arcs = _HALF_CIRCLE @ axes  # [L, 9, 2]
    radii = radii[:, :, None, None]
    return np.concatenate([start[:, None] + radii[:, 0] * arcs, end[:, None] - radii[:, 1] * arcs], 1)


class _Pen:
    """Collects polygons with a layer and a depth, in body heights from the hips, seen from a direction."""

    def __init__(self, yaw: Number):
        self.cos, self.sin = np.cos(yaw), np.sin(yaw)
        self.shapes = []  # (layer, depth, order, primitive, corners)
        self.limbs = []  # (primitive, layer, radii)
        self.starts, self.stops = [], []  # of the limbs, [1 or 2, 3] each

    def depth(self, points: np.ndarray) -> np.ndarray | np.float64:
        """How near points [..., 3] are."""
        return points[..., 2] * self.cos - points[..., 0] * self.sin

    def at(self, points: np.ndarray) -> np.ndarray:
        """Where points [..., 3] are seen, [..., 2]."""
        x = points[..., 0] * self.cos + points[..., 2] * self.sin
        y = points[..., 1] + _PITCH * self.depth(points)
        return np.array([x, y]).T

    def polygon(self, name: str, corners: np.ndarray, *, layer: Number, depth: Number = 0) -> None:
        self.shapes.append((layer, depth, len(self.shapes), ID[name], corners))

    def limbs_of(self, name: str, start, end, *, radii: tuple[Number, Number], layer) -> None:
        """Tapered capsules between the joints [2, 3] of the right and the left side."""
        layers = (layer, layer) if np.isscalar(layer) else layer.tolist()
        self.limbs += [(ID[f"{name} {side}"], one, radii) for side, one in zip("rl", layers)]
        self.starts.append(start)
        self.stops.append(end)

    def limb(self, name: str, start, end, *, radii: tuple[Number, Number], layer: Number) -> None:
        """A tapered capsule between two joints [3]."""
        self.limbs.append((ID[name], layer, radii))
        self.starts.append(start[None])
        self.stops.append(end[None])

    def ellipse(
        self, name: str, centre: np.ndarray, axes: tuple[Number, Number], *, layer: Number, power=1.0
    ) -> None:
        self.polygon(name, centre + _rounded(power) * axes, layer=layer)

    def far_to_near(self) -> list[tuple]:
        """All shapes in the order of painting."""
        start, end = np.concatenate(self.starts), np.concatenate(self.stops)  # [L, 3]
        corners = _capsules(self.at(start), self.at(end), np.array([radii for *_, radii in self.limbs]))
        depths = ((self.depth(start) + self.depth(end)) / 2).tolist()
        limbs = [
            (layer, depth, order, primitive, points)
            for order, ((primitive, layer, _), depth, points) in enumerate(zip(self.limbs, depths, corners))
        ]
        return sorted(limbs + self.shapes)  # primitives are unique: corners are never compared


def _half_width(v: np.ndarray, body: dict[str, float], yaw: float) -> np.ndarray:
    lateral = np.interp(v, _V, _LATERAL) * np.interp(
        v, (0, 0.3, 0.6), (body["shoulder"],) * 2 + (body["hip"],)
    )
    depth = np.interp(v, _V, _DEPTH) * np.interp(v, (0.1, 0.55), (1, body["belly"]))
    return np.hypot(lateral * np.cos(yaw), depth * np.sin(yaw))


def stand_up(who: Identity, pose: Pose) -> Figure:
    """Pose a person; the result can be outlined at any place and size."""
    joints, pen = _skeleton(who.body, pose), _Pen(pose.yaw)
    ground = np.array([0, joints["ankle"][:, 1].max() + 0.04])  # the lower foot stands on it
    _draw_legs(pen, joints, who)
    _draw_arms(pen, joints, who)
    neck, crotch = pen.at(joints["neck"]), pen.at(joints["hips"] + (0, 0.035, 0))
    _draw_torso(pen, neck, crotch, who, pose)
    head = _draw_head(pen, joints, who, pose)
    _draw_bag(pen, joints, who, pose)
    *_, primitives, corners = zip(*pen.far_to_near())
    ends = list(accumulate(len(polygon) for polygon in corners))
    head[0] -= ground
    corners = np.concatenate(corners) - ground
    return Figure(who, pose, list(primitives), ends, corners, neck - ground, crotch - ground, head)


def outline(figure: Figure, *, feet: tuple[Number, Number], height: Number, shape: tuple[int, int]) -> Sketch:
    """Draw a person's primitive map.

    Args:
        figure: the posed person.
        feet: x and y of the ground point below the hips, pixels.
        height: body height, pixels.
        shape: rows and columns of the map.
    """
    height = height * (1 + 0.5 * (figure.who.body["height"] - 1))
    corners = np.rint((feet + height * figure.corners) * 16).astype(np.int32)
    ids = np.zeros(shape, np.uint8)
    for primitive, start, end in zip(figure.primitives, (0, *figure.ends), figure.ends):
        cv2.fillPoly(ids, [corners[start:end]], primitive, cv2.LINE_8, 4)
    neck, crotch, centre = (feet + height * point for point in (figure.neck, figure.crotch, figure.head[0]))
    return Sketch(ids, figure.who, figure.pose, height, neck, crotch, (*centre, *(height * figure.head[1])))


def _draw_legs(pen: _Pen, joints, who: Identity) -> None:
    hip, knee, ankle, toe = (joints[name] for name in ("hip", "knee", "ankle", "toe"))
    limb, wide, kind = who.body["limb"], who.bottom.width, who.bottom.kind
    pen.limbs_of("bare thigh", hip, knee, radii=(0.056 * limb, 0.037 * limb), layer=1)
    pen.limbs_of("bare shin", knee, ankle, radii=(0.037 * limb, 0.021 * limb), layer=1)
    if kind != "skirt":
        end = knee + 0.04 * (ankle - knee) if kind == "shorts" else knee
        loose = (1 + 0.25 * (wide - 1)) * limb
        cuff = 0.048 * wide if kind == "shorts" else 0.040 * loose
        pen.limbs_of("thigh", hip, end, radii=(0.058 * loose, max(cuff, 0.041)), layer=1.05)
    if kind in ("long", "cropped"):
        end = knee + (0.93 if kind == "long" else 0.6) * (ankle - knee)
        pen.limbs_of("shin", knee, end, radii=(0.040 * limb, 0.029 * wide), layer=1.05)
    sole = (0, 0.012, 0)
    heel = ankle + (0, 0.018, -0.015)
    pen.limbs_of("sole", heel + sole, toe + sole, radii=(0.020, 0.017), layer=0.95)
    pen.limbs_of("shoe", heel, toe, radii=(0.023, 0.019), layer=1.1)


def _draw_arms(pen: _Pen, joints, who: Identity) -> None:
    shoulder, elbow, wrist, hand = (joints[name] for name in ("shoulder", "elbow", "wrist", "hand"))
    limb, sleeve = who.body["limb"], who.top.sleeve
    layer = np.where(pen.depth(elbow) < -0.045, 0, 5)
    pen.limbs_of("hand", wrist, hand, radii=(0.016, 0.013), layer=layer)
    pen.limbs_of("forearm", elbow, wrist, radii=(0.025 * limb, 0.017 * limb), layer=layer)
    pen.limbs_of("upper arm", shoulder, elbow, radii=(0.033 * limb, 0.026 * limb), layer=layer)
    if sleeve == "long":
        pen.limbs_of("cuff", elbow, wrist, radii=(0.030 * limb, 0.023 * limb), layer=layer + 0.1)
    if sleeve != "none":
        end = elbow if sleeve == "long" else shoulder + 0.62 * (elbow - shoulder)
        pen.limbs_of("sleeve", shoulder, end, radii=(0.035 * limb, 0.031 * limb), layer=layer + 0.2)


@cache
def _slabs(kind: str, hem: float, front: bool) -> tuple[list, np.ndarray, np.ndarray, np.ndarray]:
    """Pieces of torso and skirt, which do not depend on the body.

    Returns:
        (name, layer) of S pieces; heights [S, 10]; their flare, a factor [S, 10]; where their left and right
        borders are, in half widths from the axis, [S, 2].
    """
    halves = {"r": (-1, 0), "l": (0, 1)} if front else {"r": (0, 1), "l": (-1, 0)}
    pieces = [("hips", 2, 0.7, 1.0, (-1, 1), 0), ("chest", 3, 0, 0.52, (-1, 1), 0)]
    pieces.append(("belly", 3, 0.5, min(hem, 1.0), (-1, 1), 0))
    if kind == "skirt":
        pieces += [(f"skirt {side}", 2, 0.98, 1.62, half, 0.35) for side, half in halves.items()]
    if hem > 1:
        pieces += [(f"flap {side}", 3, 0.98, hem, half, 0.2) for side, half in halves.items()]
    names, layers, start, end, borders, flare = zip(*pieces)
    v = np.linspace(start, end, 10, axis=1)
    return list(zip(names, layers)), v, 1 + np.array(flare)[:, None] * (v - v[:, :1]), np.array(borders)


def _draw_torso(pen: _Pen, neck: np.ndarray, crotch: np.ndarray, who: Identity, pose: Pose) -> None:
    pieces, v, flare, borders = _slabs(who.bottom.kind, _HEM[who.top.hem], bool(pen.cos > 0))
    width = _half_width(v, who.body, pose.yaw) * flare
    axis = neck + v[..., None] * (crotch - neck)  # [S, 10, 2]
    corners = np.concatenate([axis, axis[:, ::-1]], 1)  # down the left border, up the right one
    corners[:, :10, 0] += borders[:, :1] * width
    corners[:, 10:, 0] += borders[:, 1:] * width[:, ::-1]
    for (name, layer), polygon in zip(pieces, corners):
        pen.polygon(name, polygon, layer=layer)


def _draw_head(pen: _Pen, joints, who: Identity, pose: Pose) -> np.ndarray:
    size, style = who.body["head"], who.head.style
    centre = pen.at(joints["head"])
    turn = np.array([np.sin(pose.head_yaw), np.cos(pose.head_yaw)])  # where the face points: x, towards us
    wide = np.hypot(0.043 * turn[1], 0.053 * turn[0]) * (1.18 if style in ("hood", "afro") else 1.0)
    tall = 0.064 * {"hood": 1.1, "afro": 1.14}.get(style, 1.0)
    pen.limb("neck", joints["neck"] + (0, 0.012, 0), joints["head"], radii=(0.030, 0.027), layer=3.5)
    pen.ellipse("head", centre, (wide * size, tall * size), layer=4)
    behind = 4.5 if turn[1] < 0 else 3.2
    if style == "long":
        drop = centre + np.array([-0.012 * turn[0], 0.045]) * size
        pen.ellipse("mane", drop, (0.052 * size, 0.088 * size), layer=behind, power=0.8)
    if style == "tail":
        root = centre + np.array([-0.055 * turn[0], 0.028]) * size
        pen.ellipse("tail", root, (0.018 * size, 0.052 * size), layer=behind)
    if style == "cap" and turn[1] > -0.35:
        peak = centre + np.array([0.052 * turn[0], -0.014]) * size
        pen.ellipse("brim", peak, ((0.032 + 0.012 * abs(turn[0])) * size, 0.011 * size), layer=4.2)
    return np.array([centre, (wide * size, tall * size)])


def _draw_bag(pen: _Pen, joints, who: Identity, pose: Pose) -> None:
    if who.bag is None:
        return
    turned = abs(np.sin(pose.yaw)), abs(np.cos(pose.yaw))
    if who.bag.kind == "pack":
        centre = joints["neck"] + (0, 0.15, -0.105)
        axes = np.hypot(0.088 * turned[1], 0.058 * turned[0]), 0.115
        layer = 6 if pen.depth(centre) > joints["neck"][2] else -1
    elif who.bag.kind == "satchel":
        centre = joints["hips"] + (0.125 * who.bag.side, 0.01, 0.01)
        axes, layer = (0.032 + 0.035 * turned[0], 0.055), 4.8
        layer = layer if pen.depth(centre) > -0.04 else -1
    else:
        centre = joints["hand"][int(who.bag.side > 0)] + (0, 0.075, 0)
        axes = 0.030 + 0.045 * turned[0], 0.052
        layer = 4.9 if pen.depth(centre) > -0.045 else -1
    pen.ellipse(who.bag.kind, pen.at(centre), axes, layer=layer, power=0.45)


# ---------------------------------------------------------------- paint: colours, textures, shading
# A pixel has a tone, which is its primitive number or one of those below; the tones' colours depend on the
# identity alone, so that drawing a garment only writes tones.

_TONES = (
    "second", "line", "line on second", "belt", "strap", "stripe", "beard", "eye", "mouth", "nose", "hair", "hat",
)  # fmt: skip
TONE = ID | {name: number for number, name in enumerate(_TONES, start=len(ID) + 1)}


def _palette(who: Identity) -> np.ndarray:
    """Colour of every tone, [3, 256] float32."""
    top = _TOP_COLOURS[who.top.colour] + who.tint
    second = _TOP_COLOURS[who.top.second] + who.tint
    bottom, shoe = _BOTTOM_COLOURS[who.bottom.colour] + who.tint, _SHOES[who.shoe]
    skin, hair, hat = _SKIN[who.head.skin], _HAIR[who.head.hair], _TOP_COLOURS[who.head.hat]
    face = skin.astype(np.float32)
    bag = _BAG_COLOURS[who.bag.colour] if who.bag else skin
    sleeve = second if who.top.contrast else top
    light_sole = np.array((206, 204, 198)) if who.shoe != 0 else np.array((70, 68, 66))
    by_name = {
        "head": skin, "neck": skin * 0.9, "mane": hair, "tail": hair, "brim": hat * 0.85,
        "chest": top, "belly": top, "hips": bottom, "pack": bag, "satchel": bag, "handbag": bag, "sleeve": sleeve,
        "cuff": sleeve, "upper arm": skin, "forearm": skin, "hand": skin, "thigh": bottom, "shin": bottom,
        "bare thigh": skin, "bare shin": skin, "flap": top, "skirt": bottom, "shoe": shoe, "sole": light_sole,
    }  # fmt: skip
    table = np.zeros((256, 3), np.float32)
    for name, number in ID.items():
        table[number] = by_name[name.removesuffix(" r").removesuffix(" l")]
    table[1 : len(ID) + 1] = table[1 : len(ID) + 1].clip(8, 250)
    if who.top.pattern == "plain":  # shows the neckline
        second = skin if who.top.hem == "normal" else 0.8 * _TOP_COLOURS[who.top.colour]
    table[TONE["second"]] = second.clip(8, 250)
    table[TONE["line"]], table[TONE["line on second"]] = table[[TONE["chest"], TONE["second"]]] * 0.6
    table[TONE["belt"]] = table[TONE["hips"]] * 0.7
    table[TONE["strap"]] = 0.72 * bag
    dark = _BOTTOM_COLOURS[who.bottom.colour].mean() < 140
    table[TONE["stripe"]] = (225, 222, 214) if dark else (52, 50, 56)
    table[TONE["beard"]] = 0.55 * hair + 0.35 * face
    table[TONE["eye"]] = (62, 46, 40)
    table[TONE["mouth"]] = face * (0.72, 0.52, 0.50)
    table[TONE["nose"]] = face * 0.86
    table[TONE["hair"]] = hair
    table[TONE["hat"]] = hat.clip(20, 240)
    return np.ascontiguousarray(table.T)


def _wrapped(angle: np.ndarray) -> np.ndarray:
    """Angles in -pi .. pi; bit for bit what `%` gives, at a tenth of its cost."""
    half, turn = angle.dtype.type(np.pi), angle.dtype.type(2 * np.pi)
    angle = angle + half
    while (high := angle >= turn).any():
        np.subtract(angle, turn, out=angle, where=high)
    while (low := angle < 0).any():
        np.add(angle, turn, out=angle, where=low)
    return angle - half


class _Surface:
    """Cylinder coordinates of a box of pixels: the angle around the body is computed when asked for."""

    def __init__(self, sketch: Sketch, box: tuple[int, int, int, int]):
        self.sketch, (self.x, y, self.wide, tall) = sketch, box
        self.axis = sketch.crotch - sketch.neck
        self.heights = (np.arange(y, y + tall) - sketch.neck[1]) / self.axis[1]

    @property
    def v(self) -> np.ndarray:
        """Height, [H, 1] float32: 0 at the neck, 1 at the crotch."""
        return self.heights[:, None].astype(np.float32)

    @property
    def theta(self) -> np.ndarray:
        """Angle around the body, [H, W] float32 in -pi .. pi; 0 is its front."""
        who, yaw = self.sketch.who, self.sketch.pose.yaw
        width = _half_width(self.heights, who.body, yaw) * self.sketch.height
        axis_x = (self.sketch.neck[0] + self.heights * self.axis[0])[:, None]
        columns = np.arange(self.x, self.x + self.wide)
        across = ((columns - axis_x) / width[:, None]).astype(np.float32)
        return _wrapped(np.arcsin(across.clip(-1, 1)) - np.float32(yaw))


_Test = Callable[[_Surface], np.ndarray]  # where something shows, broadcasts to [H, W]
_EVERYWHERE = (-np.inf, np.inf)


def _rings(top: Top, surface: _Surface) -> np.ndarray:
    return np.sin(2 * np.pi * top.frequency * surface.v)


def _bars(top: Top, surface: _Surface) -> np.ndarray:
    return np.sin(2.2 * top.frequency * surface.theta)


# pattern -> the heights it is limited to, and where the second colour shows
_LOOKS: dict[str, tuple[tuple[float, float], Callable[[Top, _Surface], np.ndarray]]] = {
    "plain": ((-np.inf, 0.07), lambda top, s: (np.abs(s.theta) < 0.28) & (s.v < 0.07)),
    "stripes": (_EVERYWHERE, lambda top, s: _rings(top, s) > 0.1),
    "pinstripes": (_EVERYWHERE, lambda top, s: _bars(top, s) > 0.45),
    "checks": (_EVERYWHERE, lambda top, s: (_rings(top, s) > 0) ^ (_bars(top, s) > 0)),
    "logo": ((0.21, 0.43), lambda top, s: (s.theta / 0.42) ** 2 + ((s.v - 0.32) / 0.11) ** 2 < 1),
    "block": ((0.44, np.inf), lambda top, s: s.v > 0.44),
    "jacket": (_EVERYWHERE, lambda top, s: np.abs(s.theta) < 0.30 - 0.1 * s.v),
    "band": ((0.24, 0.40), lambda top, s: (s.v > 0.24) & (s.v < 0.40)),
}


class _Tailor:
    """Writes tones over a sketch's figure, each only where it can show."""

    def __init__(self, sketch: Sketch, box: tuple[int, int, int, int]):
        self.sketch, (self.x, self.y, w, h) = sketch, box
        self.ids = sketch.ids[self.y : self.y + h, self.x : self.x + w]
        self.tones = self.ids.copy()

    def lay(self, tone: str, members: np.ndarray, test: _Test, *, heights=_EVERYWHERE) -> None:
        """Give a tone to the pixels of some primitives that pass a test.

        Args:
            tone: what to write; "line" keeps apart what it lies on.
            members: primitives as a look-up table.
            test: where the tone shows.
            heights: outside of these the test fails everywhere.
        """
        mask = cv2.LUT(self.ids, members)
        x, y, w, h = cv2.boundingRect(mask)
        neck, crotch = self.sketch.neck[1] - self.y, self.sketch.crotch[1] - self.y
        low, high = (neck + v * (crotch - neck) for v in heights)
        top, bottom = int(max(y, low - 1)), int(min(y + h, high + 2))  # a pixel to spare
        if not w or top >= bottom:
            return
        box = np.s_[top:bottom, x : x + w]
        surface = _Surface(self.sketch, (x + self.x, top + self.y, w, bottom - top))
        shown = test(surface) & mask[box].view(bool)
        value = TONE[tone]
        if tone == "line":
            value = np.where(self.tones[box] == TONE["second"], TONE["line on second"], value)
        np.copyto(self.tones[box], value, where=shown, casting="unsafe")


def _dress(tailor: _Tailor, who: Identity) -> None:
    """The top's pattern, belt, bag straps and trouser stripes."""
    heights, pattern = _LOOKS[who.top.pattern]
    over_sleeves = who.top.pattern in ("stripes", "checks", "block") and not who.top.contrast
    tailor.lay("second", _CLOTH if over_sleeves else _TORSO, lambda s: pattern(who.top, s), heights=heights)
    if who.top.hem == "coat":
        tailor.lay("line", _TORSO, lambda s: np.abs(s.theta) < 0.05)
    waist = _HEM["normal"] + 0.05
    tailor.lay("belt", _HIPS, lambda s: s.v < waist, heights=(-np.inf, waist))
    if who.bag and who.bag.kind == "pack":
        tailor.lay(
            "strap",
            _TORSO,
            lambda s: (np.abs(np.abs(s.theta) - 0.55) < 0.11) & (s.v < 0.46),
            heights=(-np.inf, 0.46),
        )
    if who.bag and who.bag.kind == "satchel":
        tailor.lay(
            "strap",
            _TORSO,
            lambda s: (np.abs(np.sin(s.theta) * who.bag.side - (1.7 * s.v - 0.75)) < 0.09) & (s.v < 0.92),
            heights=(-np.inf, 0.92),
        )
    if who.bottom.stripe:
        tailor.lay("stripe", _LEGS, lambda s: np.abs(np.abs(s.theta) - np.pi / 2) < 0.28)


def _groom(tones: np.ndarray, ids: np.ndarray, sketch: Sketch, origin: tuple[int, int]) -> None:
    """Hair, hat, beard and face in sphere coordinates of the head, in place."""
    x, y, wide, tall = sketch.head
    head, style = sketch.who.head, sketch.who.head.style
    up = ((np.arange(ids.shape[0]) + origin[0] - y) / tall)[:, None].clip(-1, 1)  # -1 crown, 1 chin
    across = (np.arange(ids.shape[1]) + origin[1] - x)[None] / (wide * np.sqrt(1 - 0.8 * up**2))
    theta = np.abs(_wrapped(np.arcsin(across.clip(-1, 1)) - sketch.pose.head_yaw))
    on = ids == ID["head"]
    front = -0.52 + 0.18 * np.minimum(theta, 1.2)
    hair = (up < front) | ((theta > 1.25) & (up < 0.42))
    hair |= theta > {"long": 0.95, "hood": 0.85, "afro": 1.05}.get(style, 9.0)
    if head.beard and style != "long":
        tones[on & (up > 0.38) & (theta < 1.3)] = TONE["beard"]
    tones[on & (np.hypot((theta - 0.42) / 0.14, (up - 0.02) / 0.085) < 1)] = TONE["eye"]
    tones[on & (np.abs(up - 0.50) < 0.06) & (theta < 0.32)] = TONE["mouth"]
    tones[on & (theta < 0.14) & (np.abs(up - 0.22) < 0.1)] = TONE["nose"]
    if style == "bald":
        hair &= (theta > 1.35) & (up > -0.35) & (up < 0.3)
    tones[on & hair] = TONE["hair"]
    hat = {"cap": up < -0.22, "beanie": up < -0.16, "hood": (theta > 0.85) | (up < -0.5)}.get(style)
    if hat is not None:
        tones[on & hat] = TONE["hat"]


_NEIGHBOURS = np.ones((3, 3), np.uint8)


def _shade(ids: np.ndarray, height: Number, light: Number) -> np.ndarray:
    """Brightness factor [H, W]: every limb is rounded and lit from one side and from above."""
    group = cv2.LUT(ids, _GROUP_OF)
    inside = cv2.compare(cv2.erode(group, _NEIGHBOURS), cv2.dilate(group, _NEIGHBOURS), cv2.CMP_EQ)
    radius = 0.045 * height
    bulge = cv2.distanceTransform(cv2.min(inside, group), cv2.DIST_L2, 3)
    bulge /= radius
    np.minimum(bulge, 1, out=bulge)
    np.square(np.subtract(1, bulge, out=bulge), out=bulge)
    round_ = cv2.blur(np.sqrt(np.subtract(1, bulge, out=bulge), out=bulge), (3, 3))
    lit = cv2.blur(cv2.Scharr(round_, cv2.CV_32F, 1, 0, scale=1 / 16), (3, 3))
    fall = cv2.blur(cv2.Scharr(round_, cv2.CV_32F, 0, 1, scale=1 / 16), (3, 3))
    lit *= light
    fall *= 0.5
    lit += fall
    lit *= radius
    lit *= 0.35
    round_ *= 0.28
    round_ += 0.74
    round_ += np.clip(lit, -0.22, 0.22, out=lit)
    return round_


def paint(image: np.ndarray, sketch: Sketch, *, light: Number, folds: np.ndarray) -> None:
    """Draw a sketch in colour, in place.

    Args:
        image: [H, W, 3] uint8 RGB.
        sketch: the outline.
        light: -1 (light from the left) to 1 (from the right).
        folds: noise around 0 of the same shape as the sketch; wrinkles of the garments.
    """
    box = x, y, w, h = cv2.boundingRect(sketch.ids)
    if not w:
        return
    tailor = _Tailor(sketch, box)
    ids, tones = tailor.ids, tailor.tones
    _dress(tailor, sketch.who)
    cx, cy, wide, tall = sketch.head
    top, left = max(0, int(cy - tall) - 1 - y), max(0, int(cx - wide) - 1 - x)
    head = np.s_[top : max(0, int(cy + tall) + 2 - y), left : max(0, int(cx + wide) + 2 - x)]
    _groom(tones[head], ids[head], sketch, (y + top, x + left))
    shade = _shade(ids, sketch.height, light)
    shade += np.float32(0.05) * folds[y : y + h, x : x + w] * cv2.LUT(ids, _CREASED)
    lit = [cv2.multiply(cv2.LUT(tones, channel), shade, dtype=cv2.CV_8U) for channel in sketch.who.palette]
    cv2.copyTo(cv2.merge(lit), ids, image[y : y + h, x : x + w])
