"""AaP-ReID under study: what is added to AlignedReID++ (Table 1), which attention on which backbone (Table 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from pandas.io.formats.style import Styler
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from companion import forensics
from companion.checks import holds
from companion.claims import compared
from companion.formats import few, number, percent, styled
from companion.inputs import TestSet, figure_queries
from companion.intervals import moderated
from companion.paper import LONG, Cell, Measured, Paper, Row, Size
from companion.published import printed
from companion.real import Recipe, steps
from companion.run import RunConfig
from companion.study import Study, Value
from companion.trained import Trained
from companion.truth import bodies, mass, truth_of, twins
from companion.views import Pictures, SlotView, pictures
from companion.words import Status, word, worst
from reidlib.backbones import stages
from reidlib.data.loading import batches
from reidlib.data.transforms import Augment
from reidlib.explain import grad_cam, stretched
from reidlib.models import aap
from reidlib.models.aap import ATTENTIONS, Config
from reidlib.types import Features

DATASETS = ("market1501", "dukemtmc", "cuhk03")
BACKBONES = ("resnet50", "resnet18", "resnet34", "resnet101")
PRINTED_AS = {
    "baseline": "baseline",
    "stride": "stride",
    "band": "band",
    "cwa-all": "cwa-all",
    "aap-reid": "aap",
}
"""Rows of Table 1 as printed -> ours."""

BASELINE = {"last_stride": 2, "band": False, "attention": "none"}
VARIANTS = {"reranked": "re-ranked", "global": "global feature alone", "unaligned": "stripes side by side"}


def _row(slug: str, title: str, change: Mapping[str, object]) -> Row:
    """A row with words for its test-time variants, and a long training.

    In the preset's own number of steps the literal head, a plain classifier behind dropout, learns little: on
    validation identities AaP-ReID's identity loss falls by 14 %, in four times as many by more than half
    (docs/calibration.md).
    """
    titles = {name: f"{title}, {words}" for name, words in VARIANTS.items()}
    return Row(slug, title, change, titles=titles, longer=LONG)


TABLE1 = (
    _row("aap", "AaP-ReID", {}),
    _row("baseline", "AlignedReID++ baseline", BASELINE),
    _row("band", "BaND", {"attention": "none"}),
    _row("stride", "last stride 1", {"band": False, "attention": "none"}),
    _row("cwa-all", "CWA in all layers", {"everywhere": True}),
    Row("aap-again", "AaP-ReID, another network", again=True, longer=LONG),
    Row("baseline-again", "Baseline, another network", BASELINE, again=True, longer=LONG),
    Row("aap-scratch", "AaP-ReID from scratch", scratch=True, longer=LONG),
    Row("baseline-scratch", "Baseline from scratch", BASELINE, scratch=True, longer=LONG),
)
SHORT = tuple(
    Row(
        f"{row.slug}-short",
        f"{row.title}, a quarter as long",
        row.change,
        scorings=("default", "reranked"),
        titles={"reranked": f"{row.title}, a quarter as long, re-ranked"},
    )
    for row in TABLE1
    if row.slug in PRINTED_AS.values()
)
"""The same for as many steps as the other papers' rows (section 9.1 of the notebook)."""
BASIC = ("resnet18", "resnet34")
"""Backbones without bottlenecks, whose last maps have a quarter of the channels: they too learn little in few steps."""
TITLES = {"bam": "BAM", "sp": "SP", "eca": "ECA", "cwa-add": "CWA(+)", "cwa-mul": "CWA(x)"}
TABLE3 = tuple(
    Row(
        f"{backbone}-{attention}",
        f"{backbone.replace('resnet', 'ResNet-')}, {TITLES[attention]}",
        {"backbone": backbone, "attention": attention},
        scorings=("default",),
        deep=True,
        longer=LONG if backbone in BASIC else 1,
    )
    for backbone in BACKBONES
    for attention in sorted(ATTENTIONS, key=lambda attention: attention != "cwa-mul")
)


def _cells() -> tuple[Cell, ...]:
    suffixes = {"": "default", "+rk": "reranked"}
    table1 = [
        Cell("table1", row + suffix, dataset, run, scoring)
        for suffix, scoring in suffixes.items()
        for row, run in PRINTED_AS.items()
        for dataset in DATASETS
    ]
    table3 = [
        Cell("table3", f"{backbone}-{attention}", "market1501", f"{backbone}-{attention}")
        for backbone in sorted(BACKBONES, key=lambda name: int(name.removeprefix("resnet")))
        for attention in ATTENTIONS
    ]
    text = [
        Cell("text", f"aap-reid{suffix}", dataset, "aap", scoring)
        for suffix, scoring in suffixes.items()
        for dataset in DATASETS
    ]
    variants = {  # not in the paper: other distances of the same weights
        "aap-reid-global-only": ("aap", "global"),
        "aap-reid-unaligned": ("aap", "unaligned"),
        "baseline-global-only": ("baseline", "global"),
        "baseline-unaligned": ("baseline", "unaligned"),
    }
    table1 += [Cell("table1", row, "market1501", *source) for row, source in variants.items()]
    occluded = [  # not in the paper: the same rows where something is in front of the person
        Cell("occluded", row + suffix, "occluded-duke", run, scoring)
        for suffix, scoring in suffixes.items()
        for row, run in PRINTED_AS.items()
    ]
    start = [
        Cell("start", run, dataset, run)
        for run in ("aap", "aap-scratch", "baseline", "baseline-scratch")
        for dataset in ("market1501", "occluded-duke")
    ]
    length = [  # likewise: the same rows, trained a quarter as long
        Cell("length", slug + suffix, "market1501", f"{slug}-short", scoring)
        for suffix, scoring in suffixes.items()
        for slug in PRINTED_AS.values()
    ]
    return (*table1, *table3, *text, *occluded, *start, *length)


def _adapt(run: RunConfig, _row: str, _dataset: str) -> RunConfig:
    schedule = {"epochs": 450, "decays": (150, 300)}
    if run.model_config == run.model_config.baseline():  # the published AlignedReID++ has its own schedule
        schedule = {"epochs": 300, "decays": (150,)}
    augment = Augment(pad=0.0, erase_area=(0.02, 0.4), zoom="enlarge")
    train = steps(**schedule, lr=2e-4, identities=8, epoch="identities", augment=augment)
    return replace(run, train=train)


RECIPE = Recipe(DATASETS, _adapt)


def _printed(run: RunConfig) -> RunConfig:
    """The printed text: no label smoothing, at ``real`` images that are mirrored and erased alone."""
    run = run.vary(smoothing=Config.paper().smoothing)
    return _varied(run, zoom="none") if run.data.real else run


def _released(run: RunConfig) -> RunConfig:
    """The released code: a shortcut that starts afresh, at ``real`` no erasing."""
    run = run.vary(reset_shortcut=True)
    return _varied(run, erase=0.0) if run.data.real else run


def _varied(run: RunConfig, **changes: Any) -> RunConfig:
    """The same training with other augmentation."""
    return replace(run, train=replace(run.train, augment=replace(run.train.augment, **changes)))


# -- saliency, against ground truth where it is known -------------------------------------------------

HEATS = {
    "maximum": "channel maximum (released)",
    "identity": "Grad-CAM, identity",
    "similarity": "Grad-CAM, similarity",
}
"""What the saliency maps of records are."""

VEHICLES = ("car", "cart")
"""Occluders of Figure 5, which shows people behind cars and carts apart."""

PLACES = ("behind a car or cart", "behind others", "unoccluded")
"""As records name them."""
SAID = {"behind others": "behind anything else"}
"""What readers might misread, in other words."""
SHOWN = 3  # queries of each kind in a figure


def measure(trained: Trained, name: str) -> Measured:
    """Where saliency maps lie, per query, and the maps that figures show: ``heat`` ``[n, K, H/4, W/4]``."""
    data = trained.run.data
    if data.real:
        rows = figure_queries(len(trained.test_set(name).query))
        found = saliency(trained, name, rows=rows)
        return Measured(values={"heat": _drawn(trained, found, rows=torch.arange(len(rows)))})
    if name not in data.shown or trained.run.name not in {row.slug for row in TABLE1}:
        return Measured()  # Figure 5 shows none of Table 3's networks, and Grad-CAM takes its time
    whole, occluded = trained.inputs.pair()
    test_set, found = trained.test_set(name), saliency(trained, name)
    rows = figure_rows(occluded, whole)
    rows = rows if name == data.occluded else twins(occluded, whole)[0][rows]
    values = heat_values(found, test_set, whole)
    summary = {"saliency": _shares(values, test_set)}
    return Measured(summary, values | {"heat": _drawn(trained, found, rows=rows)})


def _shares(values: dict[str, Float[np.ndarray, " Q"]], data: TestSet) -> dict[str, dict[str, float]]:
    """Means of ``heat_values`` for each of ``PLACES`` that the test set shows."""
    known = truth_of(data.split, data.query.names)
    vehicle, hidden = _behind_vehicle(data), (known["occluder"] != "none").to_numpy()
    places = dict(zip(PLACES, (vehicle, hidden & ~vehicle, ~hidden)))
    return {
        place: {name: round(float(np.nanmean(array[rows])), 5) for name, array in values.items()}
        for place, rows in places.items()
        if rows.any() and np.isfinite(values["area-person"][rows]).any()
    }


def saliency(trained: Trained, name: str, *, rows: Tensor | None = None) -> dict[str, Float[Tensor, "Q H W"]]:
    """What a model looks at in the queries of a test set (or some of them), in [0, 1], three ways.

    ``maximum``: the largest value over the channels of the last map, as AaP-ReID's authors released it.
    ``identity``: Grad-CAM on the highest score of any training identity. ``similarity``: Grad-CAM on the cosine
    with the first gallery image of the same person by another camera.
    """
    images, (query, gallery) = trained.test_set(name).query, trained.features(name)
    if rows is not None:
        images, query = images[rows], query[rows]
    model, embedding = trained.model.eval(), trained.run.scoring("default").embedding
    same = (query.pid[:, None] == gallery.pid) & (query.camid[:, None] != gallery.camid)
    mates = gallery.embeddings[embedding][same.int().argmax(1)]  # [Q, D]
    layer, parts, start = stages(model.backbone)[-1][-1], [], 0
    device = next(model.parameters()).device
    for pixels, _ in batches(images, device=device):
        mate = mates[start : start + len(pixels)].to(device)
        scores = {
            "identity": lambda output: output.logits["global"].amax(1),
            "similarity": lambda output: torch.cosine_similarity(output.embeddings[embedding], mate),  # noqa: B023
        }
        with torch.no_grad():
            largest = model(pixels).maps["saliency"][:, 0].cpu()
        found = {"maximum": stretched(largest, size=images.size)}
        parts.append(
            found | {key: grad_cam(model, pixels, layer=layer, score=score) for key, score in scores.items()}
        )
        start += len(pixels)
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _drawn(trained: Trained, found: dict[str, Tensor], *, rows: Tensor | np.ndarray) -> np.ndarray:
    """Some saliency maps as figures show them. ``[n, K, H/4, W/4]``"""
    size = trained.run.data.height // 4, trained.run.data.width // 4
    return torch.stack([adaptive_avg_pool2d(maps[rows], size) for maps in found.values()], 1).numpy()


def figure_rows(data: TestSet, whole: TestSet) -> Int[np.ndarray, " n"]:
    """Queries for a figure: behind cars or carts, then behind others, the first of ``SHOWN`` different people each.

    Only those whose unoccluded twin is known.
    """
    rows, known = twins(data, whole)
    frame = pd.DataFrame({"pid": data.query.pid.numpy(), "vehicle": _behind_vehicle(data)})[known]
    first = frame.drop_duplicates(["pid", "vehicle"])
    chosen = [first[first["vehicle"] == kind].index[:SHOWN] for kind in (True, False)]
    return np.concatenate(chosen)


def _behind_vehicle(data: TestSet) -> Bool[np.ndarray, " Q"]:
    return truth_of(data.split, data.query.names)["occluder"].isin(VEHICLES).to_numpy()


def heat_values(
    heat: dict[str, Float[Tensor, "Q H W"]], data: TestSet, whole: TestSet
) -> dict[str, Float[np.ndarray, " Q"]]:
    """Share of each saliency map on the person and on what hides that person, per query; the rest is background.

    Args:
        heat: name -> map, 0 and up.
        data: the queries the maps belong to.
        whole: the set that holds their twins; the same as ``data`` where nothing hides anyone.

    Returns:
        ``<name>-person`` and ``<name>-front``, and the same for ``area``, a map that is one everywhere: what a
        share would be by chance. NaN where a map is empty or the occlusion is not known.
    """
    person, hidden, known = bodies(data, whole) if data is not whole else _unhidden(data)
    maps = torch.stack([*heat.values(), torch.ones_like(next(iter(heat.values())))], 1)  # [Q, K, H, W]
    maps = maps / maps.sum((2, 3), keepdim=True)  # 0 / 0 = NaN marks an empty map
    values = {}
    for place, region in (("person", person), ("front", hidden)):
        shares = np.where(known[:, None], mass(maps, region).numpy(), np.nan)
        values |= {f"{name}-{place}": share for name, share in zip([*heat, "area"], shares.T)}
    return values


def _unhidden(data: TestSet) -> tuple[Bool[Tensor, "Q H W"], Bool[Tensor, "Q H W"], Bool[np.ndarray, " Q"]]:
    person = data.query.masks > 0
    return person, torch.zeros_like(person), np.ones(len(person), dtype=bool)


# -- what the notebook shows --------------------------------------------------------------------------


def total_loss(history: dict[str, list[float]]) -> Float[np.ndarray, " T"]:
    """Sum of the terms of a record's history."""
    return np.sum([values for name, values in history.items() if name != "lr"], axis=0)


def loss_curves(
    study: Study, runs: Mapping[str, str], *, less: str | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """Total training loss over stretches of training, mean over worlds and half of its interval.

    Records of other worlds than the first keep fewer stretches, so all are brought to the fewest. Rows without a
    record, or that share no world with the one that is taken away, are left out.

    Args:
        runs: title -> row.
        less: title of a row whose curve is taken away from the others' within worlds.
    """
    curves = {t: {r.seed: total_loss(r.history) for r in study.records(row)} for t, row in runs.items()}
    fewest = min((len(curve) for known in curves.values() for curve in known.values()), default=0)
    brief = {t: {w: _brief(curve, fewest) for w, curve in known.items()} for t, known in curves.items()}
    if less is not None:
        base = brief.pop(less)
        brief = {t: {w: known[w] - base[w] for w in known.keys() & base.keys()} for t, known in brief.items()}
    found = {}
    for title, known in brief.items():
        values = [Value.of(column) for column in zip(*known.values())]
        if values:
            found[title] = {key: np.array([getattr(v, key) for v in values]) for key in ("mean", "half")}
    return found


def _brief(curve: Float[np.ndarray, " T"], stretches: int) -> Float[np.ndarray, " S"]:
    return np.array([part.mean() for part in np.array_split(curve, stretches)])


def heat_places(trained: Trained) -> tuple[str, ...]:
    """The groups of queries that ``heat_maps`` shows; with real data the fixed figure queries are all."""
    return ("figure queries",) if trained.run.data.real else PLACES


def heat_maps(
    study: Study, trained: Trained, runs: Mapping[str, str], *, place: str
) -> tuple[Pictures, Float[np.ndarray, "N M h w"], list[str]]:
    """Stored saliency maps of several rows on a few queries.

    Args:
        trained: any model of the study, for its images.
        runs: title -> row; NaN where a row has no record.
        place: one of ``heat_places``; unoccluded are the twins of those behind cars and carts.

    Returns:
        Images, maps in [0, 1], and what each of the M maps is.
    """
    data = trained.run.data
    name, rows, kept = _placed(trained, place)
    empty = np.full((len(rows), len(HEATS), data.height // 4, data.width // 4), np.nan)
    stored = [
        records[0].arrays[f"{name}/heat"].astype(float) if (records := study.records(r)) else empty
        for r in runs.values()
    ]
    names = [f"{title}: {kind}" for kind in HEATS.values() for title in runs]
    maps = rearrange(np.stack(stored, 2), "n k r h w -> n (k r) h w")
    query = trained.test_set(name).split.query
    return pictures([query[i] for i in rows[kept]]), maps[kept], names


def _placed(trained: Trained, place: str) -> tuple[str, np.ndarray, np.ndarray]:
    """A test set, its queries whose saliency is stored, and which of those belong to a place."""
    data = trained.run.data
    if data.real:
        rows = figure_queries(len(trained.test_set(data.occluded).query)).numpy()
        return data.occluded, rows, np.arange(len(rows))[::2]
    whole, occluded = trained.inputs.pair()
    rows = figure_rows(occluded, whole)
    vehicle = _behind_vehicle(occluded)[rows]
    kept = np.flatnonzero(vehicle if place != "behind others" else ~vehicle)
    if place == "unoccluded":
        return data.holistic, twins(occluded, whole)[0][rows], kept
    return data.occluded, rows, kept


def saliency_shares(study: Study, runs: Mapping[str, str]) -> pd.DataFrame:
    """How much of each saliency map lies on the person and on what is in front, averaged over queries and worlds.

    Args:
        runs: title -> row.

    Returns:
        Columns place, map, model, person, front, background (means over worlds), person_half, front_half (of their
        intervals) and worlds; the map ``area`` is what chance would give.
    """
    study.require_truth()
    data, lines = study.run(study.paper.main).data, []
    for place, test_set in zip(PLACES, (data.occluded, data.occluded, data.holistic)):
        for kind, text in (HEATS | {"area": "area: by chance"}).items():
            for title, row in runs.items():
                found = [record.measures[test_set]["saliency"][place] for record in study.records(row)]
                if not found:
                    continue
                person, front = (
                    Value.of([shares[f"{kind}-{where}"] for shares in found]) for where in ("person", "front")
                )
                rest = 1 - person.mean - front.mean
                marks = (person.mean, front.mean, rest, person.half, front.half, len(found))
                lines.append((SAID.get(place, place), text, "–" if kind == "area" else title, *marks))
                if kind == "area":
                    break
    columns = [
        "place",
        "map",
        "model",
        "person",
        "front",
        "background",
        "person_half",
        "front_half",
        "worlds",
    ]
    return pd.DataFrame(lines, columns=columns)


def saliency_table(shares: pd.DataFrame) -> Styler:
    """The shares of ``saliency_shares`` in percent."""
    texts = shares[["place", "map", "model"]].copy()
    for column, words in (("person", "person"), ("front", "what is in front")):
        pairs = zip(shares[column], shares[f"{column}_half"])
        texts[words] = [percent(mean, half=half) for mean, half in pairs]
    texts["background"] = shares["background"].map(percent)
    return styled(texts.assign(worlds=shares["worlds"]))


def sliding_answer(study: Study) -> str:
    """What the shortest path adds on holistic queries, with the same weights; a sentence from the records."""
    whole = study.paper.cell("table1", "aap-reid", "market1501")
    rows = {"the global feature alone": "aap-reid-global-only", "stripes side by side": "aap-reid-unaligned"}
    gaps = {
        w: compared(study, whole, study.paper.cell("table1", r, "market1501"), "mAP") for w, r in rows.items()
    }
    if not all(gap.worlds for gap in gaps.values()):
        return "The row AaP-ReID is not recorded yet, so nothing can be said."
    told = " and ".join(
        f"{number(100 * gap.estimate, half=100 * gap.half, digits=1, signed=True)} over {words}"
        for words, gap in gaps.items()
    )
    worlds = min(gap.worlds for gap in gaps.values())
    return f"In points of mAP on holistic queries, stripes that slide give {told} ({worlds} worlds, the same weights)."


def size_table() -> Styler:
    """Every size that the paper prints, beside the exact count; bold where it is not cut to two decimals."""
    columns = {
        "variant": "row",
        "dataset": "dataset",
        "printed": "printed, M",
        "exact": "exact",
        "rule": "rule",
    }
    frame = forensics.sizes(PAPER)[[*columns]].rename(columns=columns)
    bold = frame["rule"].map(lambda rule: "font-weight:600" if rule != "truncated" else "")
    marked = styled(frame).apply(lambda _: bold, subset=["rule"])
    return marked.format(thousands=",")


def slots(_: Trained, one: Features, gallery: Features) -> SlotView:
    """Three distances of the whole image: global, with aligned stripes, with stripes side by side; no weights."""
    variants = {
        "global": aap.Scoring(local="none"),
        "global and aligned stripes": aap.Scoring(),
        "global and stripes side by side": aap.Scoring(local="unaligned"),
    }
    found = [aap.AaP.distance(one, gallery, scoring=scoring)[0].numpy() for scoring in variants.values()]
    nothing = np.full((len(variants), 1 + len(gallery)), np.nan)
    return SlotView(tuple(variants), np.stack(found), nothing, kind="distance")


# -- claims that a computation decides ----------------------------------------------------------------

IDENTITIES = {"market1501": 751, "dukemtmc": 702, "cuhk03": 767}
"""Training identities, which the classifiers of the printed sizes have."""


def _printed_sizes() -> list[Size]:
    """Parameters in training, with the classifier of the printed data set."""
    own = printed("aap").query("metric == 'params_m'")
    return [
        Size(cell.row, cell.dataset, cell.metric, 2, _parameters(cell.row, IDENTITIES[cell.dataset]))
        for cell in own.itertuples()
    ]


@cache
def _parameters(row: str, identities: int) -> int:
    config = PAPER.printed_config(PAPER.row(PRINTED_AS.get(row, row)))
    with torch.device("meta"):
        model = aap.AaP(config, identities=identities)
    return sum(parameter.numel() for parameter in model.parameters())


def _sizes(_: Study) -> tuple[Status, str]:
    """Claim 10: order of the attentions' sizes, and the printed digits."""
    sizes = forensics.sizes(PAPER)
    exact = sizes.set_index("row")["exact"]
    ordered = all(
        exact[f"{name}-eca"] < exact[f"{name}-cwa-mul"] == exact[f"{name}-cwa-add"]
        and exact[f"{name}-cwa-mul"] < exact[f"{name}-sp"] < exact[f"{name}-bam"]
        for name in BACKBONES
    )
    counts = sizes["rule"].value_counts().to_dict()
    tally = ", ".join(f"{number} {rule}" for rule, number in counts.items())
    order = "ECA < CWA < SP < BAM" if ordered else "another order"
    text = f"{order} on the four backbones; printed sizes equal to the exact count {tally}"
    return holds(ordered and "another" not in counts), text


def _lowest_loss(study: Study) -> tuple[Status, str]:
    """Claim 12: on every backbone each of the other attentions ends with a higher loss than CWA(x)."""
    others = [kind for kind in ATTENTIONS if kind != "cwa-mul"]
    return _ends_higher(study, [(name, kind, "cwa-mul") for name in BACKBONES for kind in others])


def _sp_stays_high(study: Study) -> tuple[Status, str]:
    """Claim 16: on the two small backbones spatial attention ends with a higher loss than each of the others."""
    others = [kind for kind in ATTENTIONS if kind != "sp"]
    return _ends_higher(study, [(name, "sp", kind) for name in ("resnet18", "resnet34") for kind in others])


def _ends_higher(study: Study, pairs: Sequence[tuple[str, str, str]]) -> tuple[Status, str]:
    """Loss at the end of training, one attention less another within worlds; the worst of the pairs decides.

    Args:
        pairs: backbone, the attention whose loss should be higher, the other.
    """
    names = [*dict.fromkeys(f"{backbone}-{kind}" for backbone, *kinds in pairs for kind in kinds)]
    if missing := [name for name in names if not study.records(name)]:
        return Status.UNMEASURED, f"nothing recorded of {few(missing)}"
    if failed := [f"{name}: {study.unconverged(name)[0]}" for name in names if study.unconverged(name)]:
        return Status.NOT_COMPARABLE, "; ".join(failed)
    ends = {name: _final_losses(study, name) for name in names}
    gaps = [(ends[f"{backbone}-{a}"] - ends[f"{backbone}-{b}"]).dropna() for backbone, a, b in pairs]
    if any(gap.empty for gap in gaps):
        return Status.UNMEASURED, "no world has all rows"
    found = dict(zip(pairs, moderated([gap.to_numpy(float) for gap in gaps])))
    place, status = worst([*found.values()])
    decisive, (backbone, a, b) = found[pairs[place]], pairs[place]
    if not decisive.freedom:
        return Status.UNDECIDED, "one world: no interval"
    positive = sum(interval.low > 0 for interval in found.values())
    negative = sum(interval.high < 0 for interval in found.values())
    text = (
        f"loss at the end, worst of {len(pairs)}: {backbone.replace('resnet', 'ResNet-')}, {TITLES[a]} − {TITLES[b]}, "
        f"{decisive.estimate:+.3f} [{decisive.low:+.3f}, {decisive.high:+.3f}] over {decisive.worlds} worlds; of all "
        f"95 % intervals, {positive} above zero and {negative} below"
    )
    if (alone := word(decisive)) != status:
        text += f"; {alone} but for the correction for {len(pairs)} comparisons"
    return status, text


def _final_losses(study: Study, name: str) -> pd.Series:
    """Mean total loss over the last tenth of a training, by world."""
    found = {record.seed: total_loss(record.history) for record in study.records(name)}
    return pd.Series({world: losses[-max(1, len(losses) // 10) :].mean() for world, losses in found.items()})


PAPER = Paper(
    slug="aap",
    title="AaP-ReID",
    rows=(*TABLE1, *SHORT, *TABLE3),
    cells=_cells(),
    headline=(
        ("baseline", "default"),
        ("stride", "default"),
        ("band", "default"),
        ("cwa-all", "default"),
        ("aap", "default"),
        ("aap", "reranked"),
    ),
    widths={"aap": ("local_dim",)},
    recipe=RECIPE,
    measure=measure,
    exact={"10": _sizes, "12": _lowest_loss, "16": _sp_stays_high},
    sizes=_printed_sizes,
    slots=slots,
    computed=("table2",),
    readings={"released": _released, "paper": _printed},  # rows follow neither to the letter
)
