"""What a paper's wing hands to the machinery: its rows, the cells they fill, and all that only it needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

import numpy as np

from companion.formats import table_title
from companion.presets import COUNTERPARTS, Preset, preset
from companion.real import Recipe
from companion.run import RunConfig
from companion.start import start_of
from reidlib.models import MODELS
from synthreid.parser import EXACT, Parser


@dataclass(frozen=True)
class Row:
    """One training: what it changes in the paper's printed model, and its names.

    Args:
        slug: names its records.
        title: in words.
        change: fields of the model's printed config.
        model: slug, where it is not the paper's own (a baseline).
        scorings: test-time variants kept in its record; None keeps all that the model has.
        scratch: starts from noise where the others start from pretrained weights (an ablation of ours).
        again: trains another network in the same worlds (for comparisons of a row with itself).
        longer: how many times the preset's steps it is trained below ``real``.
        labels: how a parser errs that draws the part labels.
        deep: about the depth of its backbone, so that the small presets keep all its blocks.
        titles: scoring -> the row under that test-time variant, in words.
    """

    slug: str
    title: str
    change: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    scorings: tuple[str, ...] | None = None
    scratch: bool = False
    again: bool = False
    longer: int = 1
    labels: Parser = EXACT
    deep: bool = False
    titles: Mapping[str, str] = field(default_factory=dict)


LONG = 4
"""How many times the preset's steps a long training takes."""


def longer(row: Row, *others: str) -> Row:
    """The same training, ``LONG`` times as long: does its length decide a comparison?

    Args:
        others: test-time variants to keep in its record besides the default.
    """
    kept = {"default": row.title} | {scoring: row.titles[scoring] for scoring in others}
    title, *titles = (f"{text}, {LONG} times as long" for text in kept.values())
    named = dict(zip(others, titles))
    return replace(row, slug=f"{row.slug}-long", title=title, scorings=tuple(kept), titles=named, longer=LONG)


@dataclass(frozen=True)
class Cell:
    """One printed value set: where it stands, and the training and test-time variant behind it."""

    table: str
    row: str
    dataset: str  # as printed; COUNTERPARTS says which synthetic set stands for it
    run: str  # slug of a row
    scoring: str = "default"

    @property
    def key(self) -> str:
        return f"{self.table}/{self.row}@{self.dataset}"

    @property
    def test_set(self) -> str:
        return COUNTERPARTS[self.dataset]


def unchanged(run: RunConfig) -> RunConfig:
    """The paper's images have the usual shape."""
    return run


@dataclass(frozen=True)
class Measured:
    """What ground truth says of a model on a test set.

    Args:
        summary: numbers and lists, for the record's text.
        values: name -> one value per query, NaN where there is none; or maps that figures show.
    """

    summary: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, np.ndarray] = field(default_factory=dict)


LITERAL = "as the text says"
"""The reading of a text that takes it at its word."""


@dataclass(frozen=True)
class Size:
    """A printed size and what a reading of the text counts.

    Args:
        row: as printed, with its data set and ``params_m`` or ``gflops``.
        digits: that are printed behind the point.
        exact: parameters, or multiply-adds of an image.
        reading: of the text, in words.
    """

    row: str
    dataset: str
    metric: str
    digits: int
    exact: int
    reading: str = LITERAL


def no_sizes() -> list[Size]:
    """The paper prints none."""
    return []


def nothing(_trained: Any, _test_set: str) -> Measured:
    """Ground truth has nothing to say of this paper's models."""
    return Measured()


@dataclass(frozen=True, eq=False)
class Paper:
    """A paper under study.

    Args:
        slug: of its files.
        title: in words.
        rows: its trainings, the most informative first; the first is the one that the notebook shows.
        cells: what it prints.
        headline: row and scoring of what the front page shows.
        widths: model -> fields that hold a printed embedding width, which small presets divide.
        recipe: of the real data sets.
        slots: what the parts of the distance of a query to gallery images are (``views.Slots``).
        shape: a run at a small preset to the run with images as this paper has them.
        measure: ``(trained, test set)`` to what only ground truth can say.
        exact: number of a claim -> the computation that decides it, given the study.
        sizes: printed numbers of parameters and multiply-adds, counted.
        computed: tables that a computation fills, no training.
        readings: name -> a run as another reading of the paper has it, where its text and its code differ.
        numerals: number of a table -> how the paper writes it, where that is not a plain number.
    """

    slug: str
    title: str
    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]
    headline: tuple[tuple[str, str], ...]
    widths: Mapping[str, tuple[str, ...]]
    recipe: Recipe
    slots: Callable
    shape: Callable[[RunConfig], RunConfig] = unchanged
    measure: Callable[..., Measured] = nothing
    exact: Mapping[str, Callable] = field(default_factory=dict)
    sizes: Callable[[], list[Size]] = no_sizes
    computed: tuple[str, ...] = ()
    readings: Mapping[str, Callable[[RunConfig], RunConfig]] = field(default_factory=dict)
    numerals: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        slugs = [row.slug for row in self.rows]
        for row in self.rows:
            _check(row, model=row.model or self.slug, paper=self)
        for cell in self.cells:
            if cell.run not in slugs or cell.dataset not in COUNTERPARTS:
                raise ValueError(
                    f"{self.slug}: cell {cell.key} needs row {cell.run!r} and data set {cell.dataset!r}; expected one "
                    f"of {', '.join(slugs)}, and of {', '.join(COUNTERPARTS)}"
                )
        if unknown := {row for row, _ in self.headline} - set(slugs):
            raise ValueError(f"{self.slug}: headline: no row {sorted(unknown)}")

    @property
    def main(self) -> str:
        """Slug of the row that the notebook shows."""
        return self.rows[0].slug

    def as_long(self, slug: str) -> str:
        """Slug of the row that is the main one, trained for as many steps as a row; the main one's if there is none."""
        main, length = self.rows[0], self.row(slug).longer
        same = [row for row in self.rows if row.change == main.change and row.longer == length]
        return next((row.slug for row in same if not (row.scratch or row.again)), main.slug)

    def row(self, slug: str) -> Row:
        """The row of a slug.

        Raises:
            ValueError: no such row.
        """
        for row in self.rows:
            if row.slug == slug:
                return row
        raise ValueError(
            f"{self.slug} has no run {slug!r}; expected one of {', '.join(row.slug for row in self.rows)}"
        )

    def title_of(self, slug: str, scoring: str = "default") -> str:
        """A row under a test-time variant, in words."""
        row = self.row(slug)
        return row.titles.get(scoring, row.title)

    def table_title(self, table: str) -> str:
        """A table as the paper calls it."""
        word, _, number = table_title(table).rpartition(" ")
        return f"{word} {self.numerals.get(number, number)}" if word else number

    def legend(self, *shown: str | tuple[str, str]) -> dict[str, tuple[str, str]]:
        """Titles of rows, each alone or with a scoring -> (row, scoring), for figures."""
        pairs = [(item, "default") if isinstance(item, str) else item for item in shown]
        return {self.title_of(*pair): pair for pair in pairs}

    def run(self, slug: str, *, preset_name: str, seed: int = 1, dataset: str | None = None) -> RunConfig:
        """The training of a row at a preset; at ``real``, on one of the paper's data sets.

        A seed draws a world: the generator's people, cameras and pictures, and the network and its batches.
        Rows that mean the same training give the same run, named after the first of them.

        Raises:
            ValueError: no such row, or a data set that the paper does not print.
        """
        self.row(slug)
        known = preset(preset_name).name
        if known != "real" and dataset is not None:
            raise ValueError(f"dataset = {dataset!r}: only the real preset has one training per data set")
        return _trainings(self, known, dataset)[slug].world(seed)

    def reading(self, run: RunConfig, name: str) -> RunConfig:
        """A run as another reading of the paper has it.

        Raises:
            ValueError: the paper has no such reading.
        """
        if name not in self.readings:
            known = f"expected {' or '.join(self.readings)}" if self.readings else "it has one only"
            raise ValueError(f"{self.slug} has no reading {name!r}: {known}")
        return self.readings[name](run)

    def trainings(self, *, preset_name: str, dataset: str | None = None) -> list[str]:
        """Slugs of the rows, each training once."""
        runs = _trainings(self, preset(preset_name).name, dataset)
        seen = {run.hash: slug for slug, run in reversed(runs.items())}
        return [slug for slug, run in runs.items() if seen[run.hash] == slug]

    def queue(self, *, preset_name: str, seeds: int, dataset: str | None = None) -> list[RunConfig]:
        """All runs for this many seeds, in the order in which they should be computed: world by world."""
        slugs = self.trainings(preset_name=preset_name, dataset=dataset)
        return [
            self.run(slug, preset_name=preset_name, seed=seed, dataset=dataset)
            for seed in range(1, seeds + 1)
            for slug in slugs
        ]

    def cell(self, table: str, row: str, dataset: str) -> Cell:
        """The cell that stands at a printed place.

        Raises:
            ValueError: the paper prints no such row.
        """
        for cell in self.cells:
            if (cell.table, cell.row, cell.dataset) == (table, row, dataset):
                return cell
        rows = sorted({c.row for c in self.cells if c.table == table})
        raise ValueError(
            f"{self.slug} {table} has no row {row!r} for {dataset}; its rows are {', '.join(rows)}"
        )

    def printed_config(self, row: Row) -> Any:
        """The model of a row as the paper printed it."""
        return replace(MODELS[row.model or self.slug].Config(), **row.change)


def _check(row: Row, *, model: str, paper: Paper) -> None:
    """Refuse a row that no model can be built from.

    Raises:
        ValueError: naming the paper, the row and what is wrong with it.
    """
    if model not in MODELS:
        raise ValueError(
            f"{paper.slug}, row {row.slug}: no model {model!r}; expected one of {', '.join(MODELS)}"
        )
    known = {option.name for option in fields(MODELS[model].Config)}
    if unknown := {*row.change} - known:
        raise ValueError(f"{paper.slug}, row {row.slug}: {model} has no setting {sorted(unknown)}")
    if model not in paper.widths:
        raise ValueError(f"{paper.slug}: widths lacks {model!r}; give the fields that hold a width, or ()")


@cache
def _trainings(paper: Paper, preset_name: str, dataset: str | None) -> dict[str, RunConfig]:
    """The run of every row (seed 0); equal trainings are one run, of the first row that means it."""
    build = _real if preset_name == "real" else _scaled
    runs, first = {}, {}
    for row in paper.rows:
        run = build(paper, row, dataset if preset_name == "real" else preset(preset_name))
        runs[row.slug] = first.setdefault(run.hash, run)
    return runs


def _scaled(paper: Paper, row: Row, scale: Preset) -> RunConfig:
    """A row's printed model, narrowed to a preset, from that preset's start."""
    printed_model = paper.printed_config(row)
    model = row.model or paper.slug
    names = scale.deep if row.deep else scale.backbones
    narrow = {name: getattr(printed_model, name) // scale.embedding_divisor for name in paper.widths[model]}
    backbone = names[printed_model.backbone]
    weights = None if row.scratch else start_of(backbone, scale)
    config = replace(printed_model, backbone=backbone, width=scale.width, weights=weights, **narrow)
    data = replace(scale.data, labels=row.labels)
    train = replace(scale.train, iterations=row.longer * scale.train.iterations)
    run = _run(paper, row, config, data=data, train=train, preset_name=scale.name)
    return paper.shape(replace(run, network=int(row.again)))


def _real(paper: Paper, row: Row, dataset: str | None) -> RunConfig:
    """A row as its paper trained it on one of its data sets."""
    config = replace(paper.printed_config(row), weights="imagenet")
    try:
        data = paper.recipe.data(dataset)
    except ValueError as error:
        raise ValueError(f"{paper.slug} has {error}") from None
    scale = preset("real")
    run = _run(paper, row, config, data=data, train=scale.train, preset_name="real")
    name = f"{row.slug}-{data.holistic}"
    run = paper.recipe.adapt(replace(run, name=name), row.slug, data.holistic)
    known = run.model_config.scorings()
    return replace(run, scorings=tuple(s for s in run.scorings if s != "truth" and s in known))


def _run(paper: Paper, row: Row, config: Any, *, data: Any, train: Any, preset_name: str) -> RunConfig:
    scorings = tuple(config.scorings()) if row.scorings is None else row.scorings
    model = row.model or paper.slug
    return RunConfig(
        paper=paper.slug,
        name=row.slug,
        model=model,
        model_config=config,
        data=data,
        train=train,
        preset=preset_name,
        scorings=scorings,
        measure=paper.measure,
    )
