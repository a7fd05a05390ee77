"""QPM under study: components (Tables V, VI), attentions (VII), parts (IX), widths (X), gamma (XI, no training)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from companion.checks import holds, reads_no_labels
from companion.inputs import Inputs, TestSet, figure_queries
from companion.paper import LITERAL, Cell, Measured, Paper, Row, Size, longer
from companion.published import printed
from companion.real import ERASING, TALL, Recipe, steps
from companion.run import RunConfig
from companion.study import Study
from companion.trained import Trained
from companion.truth import behind_person, bodies, truth_of
from companion.views import Pictures, SlotView, figure_pictures, pictures, stripe_names
from companion.words import Status
from reidlib.complexity import complexity
from reidlib.models import qpm
from reidlib.models.qpm import GAMMAS, Config
from reidlib.palette import FAINT, INK, OURS
from reidlib.sheets import GAP, STYLE, Margins, canvas, closed, label, picture
from reidlib.types import Features

ATTENTIONS = {"fc": "FC-SA", "rga": "RGA-SA", "ra": "RA-SA", "cbam": "CBAM-SA"}
PARTS = (2, 3, 4, 8)  # besides the default 6
WIDTHS = (128, 256, 512)  # as printed, besides the default 1024
GAMMA_ROWS = {f"gamma{gamma}": "default" if gamma == 0.6 else f"gamma-{gamma}" for gamma in GAMMAS}
PARTS_ONLY = {"global_feature": "none", "attention": "none"}
POOLED = {"global_feature": "gap", "attention": "none", "part_branch": False, "quality": False}


def _row(slug: str, title: str = "", **change: object) -> Row:
    """A row whose record keeps all test-time variants but the gammas."""
    known = replace(Config(), **change).scorings()
    return Row(slug, title, change, scorings=tuple(name for name in known if not name.startswith("gamma")))


ROWS = (
    Row(
        "qpm",
        "QPM",
        titles={
            "agfe": "AGFE global with ISA",
            "gap": "AGFE with ISA, its weights pooled",
            "part-without-quality": "QPM parts, all scores 1",
            **{
                scoring: f"QPM, {row.replace('gamma', 'gamma = ')}"
                for row, scoring in GAMMA_ROWS.items()
                if scoring != "default"
            },
        },
    ),
    replace(
        _row("part-branch", "Part branch: learnt quality", **PARTS_ONLY),
        titles={"part-without-quality": "Part branch, all scores 1"},
    ),
    _row("baseline-triplet", "Baseline with triplet", **PARTS_ONLY, quality=False),
    _row("baseline", "Baseline: stripes, identity loss", **PARTS_ONLY, quality=False, triplet=False),
    replace(
        _row("agfe", "AGFE global", attention="none"),
        titles={"gap": "AGFE global, its weights pooled", "single": "AGFE global, weighed by Eq. 4"},
    ),
    _row("gap", "GAP global", **POOLED),
    replace(
        _row("single", "SI global", global_feature="single", attention="none"),
        titles={"gap": "SI global, its weights pooled"},
    ),
    _row("gap-isa", "GAP global with ISA", global_feature="gap"),
    _row("gap-parts", "GAP global with part losses", global_feature="gap", attention="none"),
    replace(_row("qpm-again"), title="QPM, another network", again=True),
    replace(_row("part-branch-again", **PARTS_ONLY), title="Part branch, another network", again=True),
    *(_row(f"{name}-sa", f"AGFE global with {title}", attention=name) for name, title in ATTENTIONS.items()),
    *(_row(f"k{k}", f"QPM, {k} parts", parts=k) for k in PARTS),
    *(_row(f"d{d}", f"QPM, d = {d}", dim=d, global_dim=d) for d in WIDTHS),
    replace(_row("qpm-scratch"), title="QPM from scratch", scratch=True),
    replace(_row("part-branch-scratch", **PARTS_ONLY), title="Part branch from scratch", scratch=True),
    longer(_row("qpm", "QPM")),
    longer(_row("part-branch", "Part branch", **PARTS_ONLY)),
    _row("hr", "QPM, HRNet-W32", backbone="hrnet-w32"),
)


def _cells() -> tuple[Cell, ...]:
    both = ("occluded-duke", "p-dukemtmc-transfer")
    cells = [
        Cell(table, row, dataset, run)
        for table, dataset, models in (
            ("table1", "occluded-duke", {"qpm": "qpm", "qpm-hrnet": "hr"}),
            ("table2", "p-dukemtmc", {"qpm": "qpm", "qpm-hrnet": "hr"}),
            ("table3", "partial-reid", {"qpm": "qpm"}),
            ("table3", "partial-ilids", {"qpm": "qpm"}),
            ("table4", "p-dukemtmc-transfer", {"qpm": "qpm"}),
            ("table8", "occluded-duke", {"qpm": "qpm"}),
        )
        for row, run in models.items()
    ]
    components = {
        "baseline": ("baseline", "default"),
        "baseline+triplet": ("baseline-triplet", "default"),
        "part-branch": ("part-branch", "default"),
        "gap-global": ("gap", "default"),
        "gap-global+isa": ("gap-isa", "default"),
        "agfe-global": ("agfe", "agfe"),
        "agfe-global+isa": ("qpm", "agfe"),
        "qpm": ("qpm", "default"),
        "gap-with-part-losses": ("gap-parts", "default"),  # not in the paper: trained as AGFE is
        "agfe-weights-pooled": ("agfe", "gap"),  # not in the paper: the same weights, pooled
        "isa-weights-pooled": ("qpm", "gap"),  # likewise
        # likewise, all q = 1
        "scores-off-at-test": ("qpm", "part-without-quality"),
        "part-branch-scores-off": ("part-branch", "part-without-quality"),
    }
    starts = ("qpm", "qpm-scratch", "part-branch", "part-branch-scratch")
    tables = {
        "start": {name: (name, "default") for name in starts},  # not in the paper
        "length": {name: (f"{name}-long", "default") for name in ("qpm", "part-branch")},  # likewise
        "table5": components,
        "table6": {
            "gap-global": ("gap", "default"),
            "si-global": ("single", "default"),
            "agfe-global": ("agfe", "agfe"),
            "si-weights-pooled": ("single", "gap"),  # not in the paper: the same weights, pooled
            "agfe-weights-single": ("agfe", "single"),  # likewise, by Eq. 4
        },
        "table7": {
            "agfe-global": ("agfe", "agfe"),
            **{f"agfe-global+{name}-sa": (f"{name}-sa", "agfe") for name in ATTENTIONS},
            "agfe-global+isa": ("qpm", "agfe"),
        },
        "table9": {f"k{k}": ("qpm" if k == 6 else f"k{k}", "default") for k in (2, 3, 4, 6, 8)},
        "table10": {f"d{d}": ("qpm" if d == 1024 else f"d{d}", "default") for d in (*WIDTHS, 1024)},
        "table11": {row: ("qpm", scoring) for row, scoring in GAMMA_ROWS.items()},
    }
    return (
        *cells,
        *(
            Cell(table, row, dataset, *run)
            for table, rows in tables.items()
            for row, run in rows.items()
            for dataset in both
        ),
    )


def _shape(run: RunConfig) -> RunConfig:
    """Images half as high again, as the paper has them."""
    return replace(run, data=replace(run.data, height=run.data.height * 3 // 2))


# -- real data ----------------------------------------------------------------------------------------


def _adapt(run: RunConfig, _row: str, _dataset: str) -> RunConfig:
    height, width = TALL
    sgd = {"lr": 0.01, "optimiser": "sgd", "weight_decay": 0.0}
    augment = replace(ERASING, pad=0.0)
    train = steps(epochs=70, decays=(20, 40, 60), identities=8, images=8, augment=augment, **sgd)
    return replace(run, train=train, data=replace(run.data, height=height, width=width))


RECIPE = Recipe(
    (
        "occluded-duke",
        "p-dukemtmc",
        "p-dukemtmc-transfer",
        "partial-reid-occluded",
        "partial-ilids-occluded",
    ),
    _adapt,
    measured_on={"partial-reid": "partial-reid-occluded", "partial-ilids": "partial-ilids-occluded"},
)
"""QPM asks with the occluded originals of the two partial sets."""


# -- measures against ground truth --------------------------------------------------------------------

_LEAST = 0.02  # of a stripe must be the person for its visible share to mean something


def measure(trained: Trained, name: str) -> Measured:
    """Do quality scores and heat maps follow the true visible share, behind objects and behind people?"""
    config, data = trained.run.model_config, trained.run.data
    if data.real or not config.scored or name != data.occluded:
        return Measured()
    whole, occluded = trained.inputs.pair()
    query, _ = trained.features(name)
    heat = trained.maps(occluded.query, config.figure_map) if config.figure_map else None
    values = _stripe_values(query, occluded, whole, heat=heat)
    return Measured(_stripe_measures(query, occluded, whole), values)


def _stripe_measures(query: Features, data: TestSet, whole: TestSet) -> dict:
    quality = query.visibility["quality"].numpy()
    share, other = stripe_visibility(data, whole, stripes=quality.shape[1]), behind_person(data)
    return {
        kind: quality_agreement(quality[rows], share[rows])
        for kind, rows in (("object", ~other), ("person", other))
    }


def _stripe_values(
    query: Features, data: TestSet, whole: TestSet, *, heat: Float[Tensor, "Q 1 h w"] | None
) -> dict[str, Float[np.ndarray, " Q"]]:
    """Per query, behind objects and behind people (NaN elsewhere): fall of the scores, focus of the heat."""
    quality = query.visibility["quality"].numpy()
    person, hidden, known = bodies(data, whole)
    other = behind_person(data)
    values = {"drop": quality_drop(quality, stripe_visibility(data, whole, stripes=quality.shape[1]))}
    if heat is not None:
        values["focus"] = np.where(known, focus(heat[:, 0], person, hidden), np.nan)
    return {
        f"{name}-{kind}": np.where(rows, value, np.nan)
        for name, value in values.items()
        for kind, rows in (("object", ~other), ("person", other))
    }


def stripe_visibility(data: TestSet, whole: TestSet, *, stripes: int) -> Float[np.ndarray, "Q K"]:
    """True visible share of each horizontal stripe of the queries, from each one's unoccluded twin.

    Args:
        data: queries that each hide behind something.
        whole: the set that holds their twins, the same people in the same pose with nothing in front.

    Returns:
        Shares in [0, 1]; NaN where it is not known: the query has no twin, its box follows the visible body
        (and so differs from the twin's), or hardly anything of the person is in the stripe.
    """
    person, hidden, known = bodies(data, whole)
    left, rest = (_per_stripe(pixels, stripes) for pixels in (person, hidden))
    total = left + rest
    cells = data.query.size[0] * data.query.size[1] / stripes
    share = np.where(total > _LEAST * cells, left / np.maximum(total, 1), np.nan)
    return np.where(known[:, None], share, np.nan)


def _per_stripe(pixels: Bool[Tensor, "N H W"], stripes: int) -> Float[np.ndarray, "N K"]:
    bands = pixels.float().tensor_split(stripes, dim=1)
    return np.stack([band.sum((1, 2)).numpy() for band in bands], 1)


def focus(
    heat: Float[Tensor, "N h w"], person: Bool[Tensor, "N H W"], other: Bool[Tensor, "N H W"]
) -> Float[np.ndarray, " N"]:
    """How much warmer a map is on the person than on what stands in front: the logarithm of the ratio.

    Args:
        heat: magnitudes, 0 and up.
        person: where the right person shows.
        other: where something else hides that person.

    Returns:
        log of mean heat on the person over mean heat on the other; NaN where either covers under a hundredth
        of the image.
    """
    shares = [adaptive_avg_pool2d(m.to(heat.dtype)[:, None], heat.shape[-2:])[:, 0] for m in (person, other)]
    means = [(heat * share).sum((1, 2)) / share.sum((1, 2)) for share in shares]
    known = torch.stack([share.mean((1, 2)) >= 0.01 for share in shares]).all(0)
    return torch.where(known, (means[0] / means[1]).log(), torch.nan).numpy()


def relative_quality(
    score: Float[np.ndarray, "N K"], known: Bool[np.ndarray, "N K"]
) -> Float[np.ndarray, "N K"]:
    """Logarithm of quality scores less the mean of their image, since only ratios within an image are taught.

    Args:
        score: in (0, 1).
        known: which stripes count; the others become NaN.
    """
    log = np.where(known, np.log(score), np.nan)
    count = np.maximum(known.sum(1, keepdims=True), 1)
    return log - np.nansum(log, axis=1, keepdims=True) / count


def quality_drop(score: Float[np.ndarray, "N K"], share: Float[np.ndarray, "N K"]) -> Float[np.ndarray, " N"]:
    """By how much scores fall on stripes that are mostly hidden, against those that show: mean log score.

    Args:
        score: predicted quality, in (0, 1).
        share: true visible share, NaN where it is not known.

    Returns:
        One value per image, each stripe position's own mean over all images taken away first; NaN where the
        image has no stripe that shows (share over 0.8) or none that is mostly hidden (under 0.5).
    """
    log = np.log(score)
    log = log - log.mean(axis=0, keepdims=True)
    parts = []
    for chosen in (share > 0.8, share < 0.5):  # NaN is neither
        count = chosen.sum(1)
        parts.append(np.where(chosen, log, 0).sum(1) / np.where(count, count, np.nan))
    return parts[0] - parts[1]


def quality_agreement(
    score: Float[np.ndarray, "N K"], share: Float[np.ndarray, "N K"]
) -> dict[str, float | int]:
    """How well quality scores of stripes follow the true visible share, within images.

    Args:
        score: predicted quality, in (0, 1).
        share: true visible share, NaN where it is not known.

    Returns:
        Spearman correlation of log score and share, the mean of each image and of each stripe position taken
        away from both; the number of stripes; and the entropy of the scores within an image over its largest
        possible value (near 0 if one stripe had all the weight).
    """
    known = ~np.isnan(share)
    centred = relative_quality(score, known)
    apart = share - np.nansum(share, axis=1, keepdims=True) / np.maximum(known.sum(1, keepdims=True), 1)
    places = np.maximum(known.sum(0, keepdims=True), 1)
    pair = [
        (values - np.nansum(values, axis=0, keepdims=True) / places)[known] for values in (centred, apart)
    ]
    weights = score / score.sum(1, keepdims=True)
    entropy = -(weights * np.log(weights)).sum(1) / np.log(score.shape[1])
    return {
        "spearman": round(float(spearmanr(*pair).statistic), 4),
        "stripes": int(known.sum()),
        "entropy": round(float(entropy.mean()), 4),
    }


# -- what the notebook shows --------------------------------------------------------------------------


@dataclass(frozen=True)
class QualityView:
    """Predicted quality of each stripe of some occluded queries, beside the truth."""

    images: Pictures
    scores: Float[np.ndarray, "N K"]  # in (0, 1)
    truth: Float[np.ndarray, "N K"] | None  # true visible share, where it is known
    titles: tuple[str, ...]  # what is in front, or who it is


def quality(trained: Trained, *, each: int = 5) -> QualityView:
    """Queries behind objects, then behind people: the first of different persons whose truth is known.

    Those that hide most of the person come first, so that there is something to see. With real data, the fixed
    figure queries.
    """
    occluded = trained.run.data.occluded
    data, (query, _) = trained.test_set(occluded), trained.features(occluded)
    if trained.run.data.real:
        rows = figure_queries(len(query))
        chosen = [data.split.query[i] for i in rows]
        titles = tuple(f"person {record.pid}" for record in chosen)
        return QualityView(pictures(chosen), query.visibility["quality"][rows].numpy(), None, titles)
    share = quality_truth(trained.inputs)
    known = truth_of(data.split, data.query.names)
    visible = np.where(np.isnan(share).any(1), np.inf, known["visible_share"].to_numpy() > 0.6)
    rows = []
    for kind in (~behind_person(data), behind_person(data)):
        order = [i for i in np.argsort(visible, kind="stable") if kind[i] and np.isfinite(visible[i])]
        first = pd.Series(order, dtype=int).groupby(query.pid.numpy()[order], sort=False).first()
        rows += first.tolist()[:each]
    return QualityView(
        images=pictures([data.split.query[i] for i in rows]),
        scores=query.visibility["quality"].numpy()[rows],
        truth=share[rows],
        titles=tuple(known["occluder"].iloc[rows]),
    )


@mpl.rc_context(STYLE)
def quality_bars(
    images: Pictures,
    scores: Float[np.ndarray, "N K"],
    *,
    truth: Float[np.ndarray, "N K"] | None = None,
    titles: Sequence[str],
) -> Figure:
    """Images with a bar per stripe beside them: predicted quality, and a tick at the true visible share if given."""
    count, parts = scores.shape
    tall = images.shape[1] / images.shape[2]
    step = 2 + 2 * GAP
    margins = Margins(top=0.25, bottom=0.35)
    fig, ax = canvas(count * step - GAP, tall, margins=margins)
    thick = tall / parts
    for number in range(count):
        x = number * step
        picture(ax, images[number], x=x, y=0)
        label(ax, titles[number], x=x + 0.5, y=0, side="top")
        left = x + 1 + GAP / 2
        for part in range(parts):
            y = part * thick + 0.12 * thick
            ax.add_patch(Rectangle((left, y), 0.9, 0.76 * thick, facecolor=FAINT, lw=0))
            ax.add_patch(Rectangle((left, y), 0.9 * scores[number, part], 0.76 * thick, facecolor=OURS, lw=0))
            if truth is not None:
                tick = left + 0.9 * truth[number, part]
                ax.plot([tick, tick], [y, y + 0.76 * thick], color=INK, lw=2, clip_on=False)
    handles = [Patch(color=OURS, label="predicted quality"), Patch(color=INK, label="true visible share")]
    fig.legend(handles=handles[: 1 if truth is None else 2], loc="lower right", ncols=2)
    return closed(fig)


def quality_truth(inputs: Inputs) -> Float[np.ndarray, "Q K"]:
    """True visible share of each stripe of the occluded queries, NaN where unknown."""
    holistic, occluded = inputs.pair()
    return stripe_visibility(occluded, holistic, stripes=inputs.run.model_config.parts)


def quality_pairs(trained: Trained) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]:
    """Log quality less its image's mean, and true visible share, behind objects and behind people."""
    _, data = trained.inputs.pair()
    query, _ = trained.features(data.split.name)
    share = quality_truth(trained.inputs)
    relative = relative_quality(query.visibility["quality"].numpy(), ~np.isnan(share))
    person = behind_person(data)[:, None]
    kinds = np.stack([np.where(chosen, share, np.nan).ravel() for chosen in (~person, person)], 1)
    return np.repeat(relative.reshape(-1, 1), 2, 1), kinds


def heat(
    study: Study, trained: Trained, rows: Sequence[str], test_set: str
) -> tuple[Pictures, Float[np.ndarray, "N M h w"], Float[np.ndarray, "N M 2"]]:
    """Stored heat of several rows on every other figure query, NaN without a record: see ``_stretched``."""
    index, images = figure_pictures(trained, test_set)
    stored = []
    for name in rows:
        if records := study.records(name):
            stored.append(records[0].arrays[f"{test_set}/maps"][::2, 0].astype(float))
        else:
            stored.append(np.full((len(index), *study.run(name).model_config.cells), np.nan))
    return images, *_stretched(np.stack(stored, 1))


def isa(
    trained: Trained, test_set: str
) -> tuple[Pictures, Float[np.ndarray, "N 1 h w"], Float[np.ndarray, "N 1 2"]]:
    """The model's attention M on every other figure query: see ``_stretched``."""
    rows, images = figure_pictures(trained, test_set)
    return images, *_stretched(trained.maps(trained.test_set(test_set).query[rows], "attention").numpy())


def _stretched(
    maps: Float[np.ndarray, "N M h w"],
) -> tuple[Float[np.ndarray, "N M h w"], Float[np.ndarray, "N M 2"]]:
    """Each map over its own range, and that range, so that a saturated map is told from one that varies."""
    low, high = maps.min((2, 3), keepdims=True), maps.max((2, 3), keepdims=True)
    span = np.where(high > low, high - low, 1.0)
    return (maps - low) / span, np.concatenate([low, high], -1)[:, :, 0]


def cost(study: Study, trained: Trained, *, gallery: int) -> pd.DataFrame:
    """Milliseconds per training step and per matched query, printed (Table 8) and ours, at this preset, now.

    Args:
        gallery: images that a query is matched with.
    """
    own = printed(study.paper.slug).query("table == 'table8' and kind == 'own'")
    own = own.set_index("metric")["value"].astype(float)
    seconds = _matching_seconds(trained, scorings=("part", "default"), gallery=gallery)
    batch = trained.run.train.identities * trained.run.train.images
    spent = [batch / r.provenance["throughput"] for r in study.records(study.paper.main)]
    lines = (
        ("training step, ms", 1e3 * own["train_s_per_iter"], 1e3 * np.mean(spent) if spent else np.nan),
        ("query, part branch, ms", np.nan, 1e3 * seconds["part"]),
        ("query, nearest 30 refined, ms", 1e3 * own["infer_s_per_img"], 1e3 * seconds["default"]),
        ("refined over part branch", np.nan, seconds["default"] / seconds["part"]),
    )
    return pd.DataFrame(lines, columns=["what", "printed (Titan V)", "here"])


def _matching_seconds(
    trained: Trained, *, scorings: Sequence[str], gallery: int, repeats: int = 5
) -> dict[str, float]:
    """Seconds to match one occluded query, the median of some repeats; the gallery repeated as often as it takes."""
    query, known = trained.features(trained.run.data.occluded)
    everyone = known[torch.arange(gallery) % len(known)]
    block, found = query[slice(0, 64)], {}
    for scoring in scorings:
        distance, times = trained.distance(scoring), []
        for _ in range(repeats):
            started = time.perf_counter()
            distance(block, everyone)
            times.append((time.perf_counter() - started) / len(block))
        found[scoring] = float(np.median(times))
    return found


def slots(trained: Trained, one: Features, gallery: Features) -> SlotView:
    """Stripes and their quality, and the two distances of the whole image."""
    parts = [features.embeddings["parts"] for features in (one, gallery)]
    distances = 1 - torch.cosine_similarity(*parts, dim=-1)  # [G, K]
    whole = [
        qpm.QPM.distance(one, gallery, scoring=qpm.SCORINGS[name]).T for name in ("part", "agfe")
    ]  # [G, 1]
    scores = torch.cat([features.visibility["quality"] for features in (one, gallery)])  # [1 + G, K]
    nothing = torch.full((len(scores), 2), torch.nan)
    return SlotView(
        (*stripe_names(trained.run.model_config.parts), "all stripes, weighed", "pair-adaptive, whole image"),
        torch.cat([distances, *whole], 1).T.numpy(),
        torch.cat([scores, nothing], 1).T.numpy(),
    )


# -- claims that a computation decides ----------------------------------------------------------------


def _refinement_is_cheap(_: Study) -> tuple[Status, str]:
    """Claim 11: multiplications of matching one query in Occluded-Duke's gallery, of 17,661 images."""
    paper, scoring, gallery = Config(), qpm.SCORINGS["default"], 17_661
    part = gallery * paper.parts * paper.dim
    refined = scoring.top * (2 * paper.parts * paper.global_dim + 3 * paper.global_dim)  # Eq. 9, 10; cosine
    ratio = 1 + refined / part
    text = f"{ratio:.3f} times the multiplications of the part branch alone, counted from the paper's sizes"
    return holds(ratio < 1.3), text


@cache
def _sizes() -> list[Size]:
    """At test time, as printed in Table VIII; no reading of the text gives that number."""
    readings = {LITERAL: Config(), "parts of 256 numbers, the nearest": Config(dim=256)}
    return [
        Size("qpm", "occluded-duke", "params_m", 1, complexity(partial(qpm.QPM, config)).parameters, reading)
        for reading, config in readings.items()
    ]


ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI")
"""How the paper numbers its tables."""

PAPER = Paper(
    slug="qpm",
    title="QPM",
    rows=ROWS,
    cells=_cells(),
    headline=(
        ("baseline", "default"),
        ("baseline-triplet", "default"),
        ("part-branch", "default"),
        ("gap", "default"),
        ("agfe", "agfe"),
        ("qpm", "agfe"),
        ("qpm", "default"),
    ),
    widths={"qpm": ("dim", "global_dim")},
    recipe=RECIPE,
    shape=_shape,
    measure=measure,
    exact={"11": _refinement_is_cheap, "22": reads_no_labels},
    sizes=_sizes,
    slots=slots,
    numerals={str(number): roman for number, roman in enumerate(ROMAN, 1)},
)
