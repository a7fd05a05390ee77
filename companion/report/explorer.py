"""The explorer: pick a query, see what one or two models rank and look at, and why an image outranks another.

Everything comes from stored embeddings but attention, which is one pass over the pictures shown. A view is HTML, drawn
in milliseconds, and the same on a page that nobody answers.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from html import escape

import cv2
import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from ipywidgets import HTML, BoundedIntText, Button, Dropdown, FloatRangeSlider, HBox, Image, IntSlider, VBox
from jaxtyping import Float

from companion.plots.sheets import HEAT, grey, opacity
from companion.study import Study
from companion.trained import Trained
from companion.truth import truth_of
from companion.views import Picture, Slots, SlotView, pictures
from reidlib.evaluation import ranking
from reidlib.palette import CORRECT, QUERY, SIGNS, WRONG

TOP = 8
"""Gallery images in a row."""
STRIP = 10
"""Queries to pick from at a time."""
DEEP = 200
"""How far down the nearest right and the nearest wrong image are looked for."""
ORDERS = {"as numbered": 1, "worst first": 1, "best first": -1}
CELL = "text-align:center;padding:1px 7px;white-space:nowrap"
WRAPPED, WIDE = {"flex_flow": "row wrap"}, {"width": "300px", "min_width": "300px"}
ANY, NOTHING, PART = "anything", "nothing", "only "


@dataclass(frozen=True)
class Asked:
    """What a view shows.

    Args:
        by: a test-time variant, or ``only`` and a part of the distance.
        look: a map of the model, drawn over the pictures; empty for none.
    """

    test_set: str
    query: int
    by: str = "default"
    look: str = ""


@dataclass(frozen=True, eq=False)
class Seen:
    """What one model ranks for one query.

    Args:
        nearest: gallery rows that count, the nearest first, ``[n]`` with n up to ``DEEP``.
        right: whether they show the person, ``[n]``.
        distances: to them, ``[n]``.
        terms: parts of the distance to them; None for a model without.
    """

    nearest: np.ndarray
    right: np.ndarray
    distances: np.ndarray
    terms: SlotView | None


class Model:
    """One model to be asked: embeddings, variants, parts of its distance, maps."""

    def __init__(self, trained: Trained, slots: Slots | None):
        self.trained, self.slots = trained, slots
        self._precision: dict[str, np.ndarray] = {}

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """Of its distance."""
        if self.slots is None:
            return ()
        query, _ = self.trained.features(self.trained.run.data.holistic)
        return self.slots(self.trained, query[torch.tensor([0])], query[torch.tensor([0, 0])]).names

    @property
    def ways(self) -> list[str]:
        """To rank by: test-time variants that need no set, and single parts of the distance."""
        run = self.trained.run
        known = [name for name in run.scorings if name != "truth" and not run.scoring(name).rerank]
        return known + [PART + name for name in self.parts]

    @cached_property
    def looks(self) -> list[str]:
        """Names of its maps."""
        kind = self.trained.run.model_config.figure_map
        if kind is None:
            return []
        data = self.trained.test_set(self.trained.run.data.holistic)
        count = self.trained.maps(data.query[torch.tensor([0])], kind).shape[1]
        if count == len(self.parts):
            return ["background", *self.parts[1:]]
        if count == len(self.parts) - 1 and count > 1:
            return [*self.parts[1:]]
        return [f"{kind} {number}" for number in range(1, count + 1)] if count > 1 else [kind]

    def precision(self, test_set: str) -> Float[np.ndarray, " Q"]:
        """Average precision of every query by its default distance, NaN where there is none."""
        if test_set not in self._precision:
            self._precision[test_set] = self.trained.score("default", test_set).ap
        return self._precision[test_set]

    def seen(self, asked: Asked) -> Seen:
        """What it ranks; a way that it does not know is its default."""
        one, gallery = self.trained.features(asked.test_set)
        one = one[torch.tensor([asked.query])]
        if asked.by.startswith(PART) and asked.by.removeprefix(PART) in self.parts:
            terms = self.slots(self.trained, one, gallery)
            row = terms.distances[self.parts.index(asked.by.removeprefix(PART))][None]
        else:
            way = asked.by if asked.by in self.ways else "default"
            row = self.trained.distance(way)(one, gallery).numpy()
        protocol = self.trained.inputs.splits[asked.test_set].protocol
        found = torch.from_numpy(np.ascontiguousarray(row))
        deep = min(DEEP, len(gallery))
        nearest, right = ranking(one, gallery, distance=lambda *_: found, protocol=protocol, top=deep)
        nearest, right = nearest[0][nearest[0] >= 0], right[0][nearest[0] >= 0]
        terms = None
        if self.slots is not None:
            terms = self.slots(self.trained, one, gallery[torch.from_numpy(nearest)])
        return Seen(nearest, right, row[0][nearest], terms)

    def maps(self, asked: Asked, nearest: np.ndarray) -> Float[np.ndarray, "N h w"] | None:
        """The map that is looked at, of the query and of gallery rows, each over its own range."""
        if asked.look not in self.looks:
            return None
        data, kind = self.trained.test_set(asked.test_set), self.trained.run.model_config.figure_map
        stacks = data.query[torch.tensor([asked.query])], data.gallery[torch.from_numpy(nearest)]
        found = np.concatenate(
            [self.trained.maps(s, kind)[:, self.looks.index(asked.look)].numpy() for s in stacks]
        )
        low, high = (edge(found, axis=(1, 2), keepdims=True) for edge in (np.min, np.max))
        return (found - low) / np.maximum(high - low, 1e-12)


class Explorer(VBox):
    """Widgets that pick what is asked, and its answer below them.

    Args:
        models: title -> model, the first asked at the start.
        asked: at the start.
    """

    def __init__(self, models: Mapping[str, Model], asked: Asked):
        self.models = dict(models)
        first = next(iter(self.models.values()))
        sets = first.trained.run.data.test_sets
        kinds, titles = self._kinds(asked.test_set), [*self.models]
        self.test_set = Dropdown(options=sets, value=asked.test_set, description="test set")
        self.behind = Dropdown(options=kinds, description="behind")
        self.share = FloatRangeSlider(
            value=(0, 1),
            max=1,
            step=0.05,
            description="visible",
            readout_format=".0%",
            continuous_update=False,
        )
        self.order = Dropdown(options=[*ORDERS], description="order")
        self.turn = IntSlider(max=0, description="page", layout=WIDE, continuous_update=False)
        self.query = BoundedIntText(value=asked.query, max=self._last(asked.test_set), description="query")
        self.model = Dropdown(options=titles, description="model")
        self.beside = Dropdown(options=[NOTHING, *titles], description="beside it")
        self.by = Dropdown(options=first.ways, value=asked.by, description="ranked by")
        self.look = Dropdown(options=[NOTHING, *first.looks], description="attention")
        self.strip, self.answer, self.settled = HBox(layout=WRAPPED), HTML(), True
        which = [self.test_set, self.order] + ([self.behind, self.share] if len(kinds) > 1 else [])
        super().__init__(
            [
                HBox([*which, self.turn], layout=WRAPPED),
                self.strip,
                HBox([self.query, self.model, self.beside, self.by, self.look], layout=WRAPPED),
                self.answer,
            ]
        )
        self.test_set.observe(self._other_set, "value")
        self.model.observe(self._other_model, "value")
        for widget in (self.behind, self.share, self.order):
            widget.observe(self._sift, "value")
        self.turn.observe(self._lay_out, "value")
        for widget in (self.query, self.beside, self.by, self.look):
            widget.observe(self._show, "value")
        self._sift()
        self._show()

    def _repr_mimebundle_(self, **kwargs: object) -> dict:
        """With the first view as a picture for pages on which nobody answers widgets."""
        return super()._repr_mimebundle_(**kwargs) | {"text/html": self.answer.value}

    @property
    def asked(self) -> Asked:
        look = "" if self.look.value == NOTHING else self.look.value
        return Asked(self.test_set.value, self.query.value, self.by.value, look)

    def _split(self, test_set: str):
        return next(iter(self.models.values())).trained.inputs.splits[test_set]

    def _last(self, test_set: str) -> int:
        return len(self._split(test_set).query) - 1

    def _truth(self, test_set: str) -> pd.DataFrame | None:
        """What stands before each query, where that is known."""
        split = self._split(test_set)
        if next(iter(self.models.values())).trained.run.data.real:
            return None
        return truth_of(split, [record.path.name for record in split.query])

    def _kinds(self, test_set: str) -> list[str]:
        known = self._truth(test_set)
        return [ANY] + ([] if known is None else sorted(set(known["occluder"])))

    def sifted(self) -> np.ndarray:
        """Queries that pass the filters, in the order asked for."""
        rows, known = np.arange(self._last(self.test_set.value) + 1), self._truth(self.test_set.value)
        if known is not None:
            low, high = self.share.value
            keep = known["visible_share"].between(low, high)
            if self.behind.value != ANY:
                keep &= known["occluder"] == self.behind.value
            rows = rows[keep.to_numpy()]
        if self.order.value != "as numbered":
            precision = (
                ORDERS[self.order.value] * self.models[self.model.value].precision(self.test_set.value)[rows]
            )
            rows = rows[np.argsort(np.nan_to_num(precision, nan=2.0), kind="stable")]
        return rows

    def _other_set(self, _: object) -> None:
        with self._together():
            self.behind.options = self._kinds(self.test_set.value)
            self.query.max = self._last(self.test_set.value)

    def _other_model(self, _: object) -> None:
        model = self.models[self.model.value]
        by, look = self.by.value, self.look.value
        with self._together():
            self.by.options, self.look.options = model.ways, [NOTHING, *model.looks]
            self.by.value = by if by in model.ways else "default"
            self.look.value = look if look in self.look.options else NOTHING

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Several widgets change, and all is drawn once."""
        self.settled = False
        try:
            yield
        finally:
            self.settled = True
        self._sift()
        self._show()

    def _sift(self, _: object = None) -> None:
        if not self.settled:
            return
        self.found = self.sifted()
        self.turn.max = max(0, (len(self.found) - 1) // STRIP)
        if self.turn.value:
            self.turn.value = 0  # lays out
        else:
            self._lay_out()

    def _lay_out(self, _: object = None) -> None:
        rows = self.found[self.turn.value * STRIP :][:STRIP]
        split = self._split(self.test_set.value)
        boxes = []
        for row, image in zip(rows, pictures([split.query[i] for i in rows]) if len(rows) else ()):
            button = Button(description=str(row), tooltip=f"query {row}", layout={"width": "52px"})
            button.on_click(lambda pressed: setattr(self.query, "value", int(pressed.description)))
            boxes.append(VBox([Image(value=_webp(image), format="webp", width=48), button]))
        self.strip.children = boxes or [HTML("no query is so; widen the filters")]

    def _show(self, _: object = None) -> None:
        if not self.settled:
            return
        titles = dict.fromkeys([self.model.value] + [self.beside.value] * (self.beside.value != NOTHING))
        self.answer.value = view({title: self.models[title] for title in titles}, self.asked)


def explore(
    study: Study, trained: Trained, *, test_set: str, query: int, beside: Mapping[str, Trained] | None = None
) -> Explorer:
    """Widgets that pick a query and models, and show ranked galleries, attention, and why an image outranks another.

    Args:
        beside: title -> another model on the same data.
    """
    models = {study.paper.title: Model(trained, study.paper.slots)}
    models |= {title: Model(other, None) for title, other in (beside or {}).items()}
    return Explorer(models, Asked(test_set, query))


# -- views, as HTML -----------------------------------------------------------------------------------


def view(models: Mapping[str, Model], asked: Asked) -> str:
    """A query with what each model ranks, the parts of the distances, and why the first right or wrong one wins."""
    first = next(iter(models.values()))
    split = first.trained.inputs.splits[asked.test_set]
    asking = pictures([split.query[asked.query]])[0]
    told = f"{asked.test_set}, query {asked.query}: person {split.query[asked.query].pid}"
    if not first.trained.run.data.real:
        known = truth_of(split, [split.query[asked.query].path.name]).iloc[0]
        if known["occluder"] == "none":
            told += ", nothing in front"
        else:
            told += f", behind {known['occluder']}, {known['visible_share']:.0%} visible"
    found = "".join(_model(title, model, asked, asking) for title, model in models.items())
    return f"<p><b>{escape(told)}</b></p>{found}"


def _model(title: str, model: Model, asked: Asked, asking: Picture) -> str:
    seen = model.seen(asked)
    shown = seen.nearest[:TOP]
    split, maps = model.trained.inputs.splits[asked.test_set], model.maps(asked, shown)
    images = [asking, *pictures([split.gallery[i] for i in shown])]
    if maps is not None:
        images = [_heated(image, heat) for image, heat in zip(images, maps)]
    heads = ["query", *map(str, range(1, len(shown) + 1))]
    frames = [QUERY, *(CORRECT if right else WRONG for right in seen.right[:TOP])]
    cells = "".join(
        f'<td style="{CELL}">{head} {SIGNS.get(frame, "")}<br>{_img(image, frame, f"{title}, {head}")}</td>'
        for head, image, frame in zip(heads, images, frames)
    )
    way = asked.by if asked.by in model.ways else "default"
    rows = (
        f'<tr><th style="text-align:left">{escape(title)}<br><small>by {escape(way)}</small></th>{cells}</tr>'
    )
    rows += _line("distance", ["", *(_number(d) for d in seen.distances[:TOP])])
    if seen.terms is not None:
        weights = seen.terms.weights
        for slot, name in enumerate(seen.terms.names):
            parts = [
                f"{_number(d)}{_weight(w)}"
                for d, w in zip(seen.terms.distances[slot, :TOP], weights[slot, 1:])
            ]
            rows += _line(name, [_weight(weights[slot, 0]), *parts])
    counts = (
        seen.terms is not None and seen.terms.weights.dtype != bool and np.isfinite(seen.terms.weights).any()
    )
    note = "<p><small>In parentheses: how much a part counts in that image.</small></p>" if counts else ""
    return f'<div style="overflow-x:auto"><table>{rows}</table></div>{note}{_why(seen)}'


def _why(seen: Seen) -> str:
    """The nearest right against the nearest wrong image: parts of the difference, the largest first."""
    known = np.isfinite(seen.distances)  # a part may be hidden in all others
    rights, wrongs = np.flatnonzero(seen.right & known), np.flatnonzero(~seen.right & known)
    if not len(rights) or not len(wrongs):
        missing = "right" if not len(rights) else "wrong"
        return f"<p>No {missing} image is among the nearest {known.sum()}.</p>"
    near, far = sorted((rights[0], wrongs[0]))
    words = {True: "right", False: "wrong"}
    gap = seen.distances[far] - seen.distances[near]
    text = (
        f"The nearest {words[bool(seen.right[near])]} image, at place {near + 1}, outranks the nearest "
        f"{words[bool(seen.right[far])]} one, at place {far + 1}: it is nearer by {_number(gap)}."
    )
    if seen.terms is None:
        return f"<p>{text}</p>"
    pair = seen.terms.distances[:, [near, far]]
    comparable = np.isfinite(pair).all(1)
    gaps = np.where(comparable, pair[:, 1], 0.0) - np.where(comparable, pair[:, 0], 0.0)
    order = [*np.flatnonzero(comparable)[np.argsort(-np.abs(gaps[comparable]), kind="stable")]]
    order += [*np.flatnonzero(~comparable)]
    rows = _line(seen.terms.kind, [f"to {near + 1}", f"to {far + 1}", "difference"], tag="th")
    for slot in order:
        gap = f"{gaps[slot]:+.3f}" if comparable[slot] else "not in both"
        rows += _line(seen.terms.names[slot], [*map(_number, pair[slot]), gap])
    total = seen.distances[[near, far]]
    rows += _line("whole distance", [*map(_number, total), f"{total[1] - total[0]:+.3f}"], tag="th")
    return f"<p>{text} By {seen.terms.kind}, the largest difference first:</p><table>{rows}</table>"


def _line(name: str, cells: Sequence[str], *, tag: str = "td") -> str:
    inside = "".join(f'<{tag} style="{CELL}">{cell}</{tag}>' for cell in cells)
    return f'<tr><{tag} style="text-align:left">{escape(name)}</{tag}>{inside}</tr>'


def _number(distance: float | np.floating) -> str:
    return f"{distance:.3f}" if np.isfinite(distance) else "–"


def _weight(weight: float | bool | np.generic) -> str:
    """What is hidden in an image, or how much a part counts in it; nothing where all count alike."""
    if isinstance(weight, bool | np.bool_):
        return "" if weight else " <small>hidden</small>"
    return "" if np.isnan(weight) else f" <small>({weight:.2f})</small>"


def _heated(image: Picture, heat: Float[np.ndarray, "h w"]) -> Picture:
    """A map over a grey picture, more opaque where it is larger."""
    height, width = image.shape[:2]
    large = np.clip(
        cv2.resize(heat.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR), 0, 1
    )
    opaque, colours = opacity(large)[..., None], 255 * mpl.colormaps[HEAT](large)[..., :3]
    return (opaque * colours + (1 - opaque) * grey(image)).astype(np.uint8)


def _img(image: Picture, frame: str, alt: str) -> str:
    data = base64.b64encode(_webp(image)).decode()
    return (
        f'<img alt="{escape(alt)}" src="data:image/webp;base64,{data}" '
        f'style="width:64px;max-width:none;border:3px solid {frame}">'
    )


def _webp(image: Picture) -> bytes:
    return cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 90])[1].tobytes()
