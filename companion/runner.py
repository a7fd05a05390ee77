"""Train or reuse, score, sweep: from a run config to its record."""

import json
import logging
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from filelock import FileLock
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from companion import records, truth
from companion.presets import MODELS, DataConfig, RunConfig, differences
from companion.published import ROOT
from companion.records import RunRecord
from companion.truth import TestSet
from reidlib.backbones import stages
from reidlib.data.datasets import DATASETS, load
from reidlib.data.index import ImageRecord, Split
from reidlib.data.loading import ImageStack, Loader, batches, load_stack
from reidlib.data.masks import PartGroups, groups
from reidlib.evaluation import evaluate
from reidlib.explain import grad_cam, stretched
from reidlib.reranking import k_reciprocal
from reidlib.training import History, Interrupted, extract, extract_maps, fit
from reidlib.types import Distance, Features, Metrics
from synthreid import benchmark

CACHE = ROOT / "results" / "cache"
REAL = ROOT / "data"
SYNTHETIC = REAL / "synthetic"
FIGURE_QUERIES = 8
logger = logging.getLogger(__name__)


def prepare(data: DataConfig, *, workers: int = 1) -> dict[str, Split]:
    """Index of the training set and of every test set; the synthetic benchmark is generated if absent.

    Raises:
        FileNotFoundError: a real data set is not there; it is never fetched.
    """
    if data.profile == "real":
        return {name: load(name, REAL) for name in (data.train_set, *data.test_sets)}
    root = benchmark.generate(
        SYNTHETIC, profile=data.profile, seed=data.seed, workers=workers, difficulty=data.difficulty
    )
    return {name: load(name, root) for name in (data.train_set, *data.test_sets)}


def training_stack(run: RunConfig) -> ImageStack:
    """The training images of a run, decoded once, with their part labels if there is use for them."""
    split = prepare(run.data)[run.data.train_set]
    wanted = run.data.profile != "real" or run.model_config.mask_parts is not None
    return _stack(split.train, run.data, labels=split.labels, masks=wanted)


def test_set(data: DataConfig, name: str) -> TestSet:
    """Queries and gallery of a test set, decoded once; with the part labels of synthetic sets, the truth."""
    return _test_set(data, name, data.profile != "real")


def _tested(run: RunConfig, name: str) -> TestSet:
    """A test set as a run reads it: with part labels where the model is given them instead of learning them."""
    given = getattr(run.model_config, "attention", None) == "fixed"
    return _test_set(run.data, name, given or run.data.profile != "real")


@lru_cache(maxsize=8)
def _test_set(data: DataConfig, name: str, masks: bool) -> TestSet:
    split = prepare(data)[name]
    return TestSet(split, *(_stack(part, data, masks=masks) for part in (split.query, split.gallery)))


def _stack(
    images: Sequence[ImageRecord], data: DataConfig, *, masks: bool, labels: dict[int, int] | None = None
) -> ImageStack:
    chosen = images if masks else [replace(image, mask=None) for image in images]
    return load_stack(chosen, size=(data.height, data.width), cache=CACHE / "images", labels=labels)


def build(run: RunConfig, *, identities: int) -> nn.Module:
    """The run's model with freshly drawn weights; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        return MODELS[run.model](run.model_config, identities=identities)


def weights_path(run: RunConfig) -> Path:
    return CACHE / "weights" / f"{run.stem}.safetensors"


def checkpoint_path(run: RunConfig) -> Path:
    return CACHE / "checkpoints" / f"{run.stem}.pt"


def _lock(run: RunConfig) -> FileLock:
    """Held while a run is trained or recorded, by one process at a time; re-entrant within a process."""
    CACHE.mkdir(parents=True, exist_ok=True)
    return FileLock(CACHE / f"{run.hash}.lock", is_singleton=True)


def trained(run: RunConfig, *, fresh: bool = False) -> nn.Module:
    """The run's trained model in evaluation mode, trained now if its weights are not cached."""
    if fresh:
        forget(run)
    _fit(run)
    model = build(run, identities=len(prepare(run.data)[run.data.train_set].labels))
    model.load_state_dict(load_file(weights_path(run)))
    return model.eval()


def complete(run: RunConfig) -> RunRecord | None:
    """The run's record if it holds every scoring that the run asks for.

    One that lacks some is filled from cached weights and features, by retraining where there are none.
    """
    record = records.find(run)
    if record and all(set(run.scorings) <= table.keys() for table in record.metrics.values()):
        _refuse_other_data(record, run)
        return record
    return None


def _refuse_other_data(record: RunRecord, run: RunConfig) -> None:
    """A record of real data stands for the images and part labels that it was made of.

    Raises:
        RecordError: the data set on this machine is another one; one that is not here is no contradiction.
    """
    if run.data.profile != "real":
        return
    try:
        here = _fingerprints(run)
    except FileNotFoundError:
        return
    if lines := differences(record.provenance["data"], here):
        raise records.RecordError(
            f"record {records.path(run).name} was made of other data:\n  "
            + "\n  ".join(lines)
            + f"\nremedy: restore the data set, or .venv/bin/python -m reidlib run --replace --paper {run.paper} "
            f"--preset real --dataset {run.data.test_sets[0]}"
        )


def history(run: RunConfig) -> History:
    """What happened when the run was trained on this machine; trains if its weights are not cached."""
    return _fit(run).history


def forget(run: RunConfig) -> None:
    """Drop the cached weights, features and checkpoint of a run; its record stays."""
    weights_path(run).unlink(missing_ok=True)
    checkpoint_path(run).unlink(missing_ok=True)
    shutil.rmtree(CACHE / "features" / run.stem, ignore_errors=True)


def live(run: RunConfig, config: Any, *, name: str) -> RunRecord:
    """The record of a variation that no table names, trained now or read from the cache.

    One that changes nothing is the run itself, whose record is read.

    Args:
        run: what to vary.
        config: the varied config of the run's model.
        name: readable part of the cached file's name.
    """
    scorings = tuple(scoring for scoring in run.scorings if scoring in config.scorings())
    varied = replace(run, paper="live", name=name, model_config=config, scorings=scorings)
    same = varied.hash == run.hash
    return (complete(run) if same else None) or train(varied)


def train(
    run: RunConfig, *, fresh: bool = False, deadline: float | None = None, progress: bool = True
) -> RunRecord:
    """The record of a run: read if it is there, else trained, scored and written.

    A lock stops two processes from computing the same run; a killed one resumes from its last epoch.

    Args:
        fresh: recompute although a record is there.
        deadline: ``time.time()`` at which to stop after the current epoch.

    Raises:
        Interrupted: the deadline came first; calling again resumes.
        RecordError: a record of the same name belongs to another config.
    """
    if not fresh and (record := complete(run)):
        return record
    with _lock(run):
        if not fresh and (record := complete(run)):
            return record
        started = datetime.now(UTC)
        if fresh:
            forget(run)
        record = _record(run, _fit(run, deadline=deadline, progress=progress), started=started)
        records.write(record, records.path(run))
    return record


@dataclass(frozen=True)
class Training:
    """What is kept beside cached weights: how they came about, and what the code did then."""

    history: History
    behaviour: list[float]
    commit: str
    data: dict[str, str]  # fingerprints


def _fit(run: RunConfig, *, deadline: float | None = None, progress: bool = True) -> Training:
    """Train a run unless its weights are cached and today's code and data would still train them."""
    note_path = weights_path(run).with_suffix(".training.pt")
    with _lock(run):
        now, data = behaviour(run), _fingerprints(run)
        if weights_path(run).exists() and note_path.exists():
            note = torch.load(note_path, weights_only=True)
            changed = [] if same_behaviour(note["behaviour"], now) else ["by code that behaved differently"]
            changed += ["on other data"] if note.get("data", data) != data else []
            if not changed:
                return Training(History(**note["history"]), note["behaviour"], note["commit"], data)
            logger.warning(
                "cached weights of %s were trained %s; training again", run.stem, " and ".join(changed)
            )
            forget(run)
        stack = training_stack(run)
        model = build(run, identities=int(stack.label.max()) + 1)
        if run.data.profile == "real":
            _rehearse(run, model)
        found = fit(
            model,
            loader(run, stack),
            config=run.train,
            seed=run.seed,
            checkpoint=checkpoint_path(run),
            deadline=deadline,
            label=run.stem if progress else None,
        )
        note = {"history": asdict(found), "behaviour": now, "commit": commit(), "data": data}
        weights_path(run).parent.mkdir(parents=True, exist_ok=True)
        with records.replacing(note_path) as handle:
            torch.save(note, handle)
        with records.replacing(weights_path(run)) as handle:
            state = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
            handle.write(safetensors.torch.save(state))
        checkpoint_path(run).unlink(missing_ok=True)
        return Training(found, now, note["commit"], data)


def _rehearse(run: RunConfig, model: nn.Module) -> None:
    """Decode all test images and embed one of each set: hours of training should not end with a broken image."""
    for name in run.data.test_sets:
        data = _tested(run, name)
        extract(model, data.query[torch.tensor([0])], groups=_groups(run))


def loader(run: RunConfig, stack: ImageStack) -> Loader:
    """The run's training batches."""
    return Loader(stack, config=run.train, seed=run.seed, groups=_groups(run))


def _groups(run: RunConfig) -> PartGroups | None:
    """How the part labels are grouped for a run; None for models that read no masks."""
    k = run.model_config.mask_parts
    return None if k is None else groups(k)


def features_path(run: RunConfig, name: str) -> Path:
    """Of real data, which may be another copy tomorrow, the name tells the index too."""
    index = f"-{test_set(run.data, name).split.fingerprint}" if run.data.profile == "real" else ""
    return CACHE / "features" / run.stem / f"{name}{index}.safetensors"


def features(run: RunConfig, name: str, *, model: nn.Module | None = None) -> tuple[Features, Features]:
    """Query and gallery embeddings of a test set, extracted once and cached."""
    target = features_path(run, name)
    if not target.exists():
        data, model = _tested(run, name), model or trained(run)
        pair = [extract(model, stack, groups=_groups(run)) for stack in (data.query, data.gallery)]
        k = run.model_config.mask_parts
        if k and run.data.profile != "real":
            stacks = zip(pair, (data.query, data.gallery))
            pair = [truth.with_truth(found, stack, data.split, k=k) for found, stack in stacks]
        target.parent.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"{side}/{key}": t
            for side, f in zip(("query", "gallery"), pair)
            for key, t in _flatten(f).items()
        }
        with records.replacing(target) as handle:
            handle.write(safetensors.torch.save(tensors))
    tensors = load_file(target)
    return tuple(_unflatten(tensors, side) for side in ("query", "gallery"))


def _flatten(features: Features) -> dict[str, Tensor]:
    named = {f"embeddings/{k}": v for k, v in features.embeddings.items()}
    named |= {f"visibility/{k}": v for k, v in features.visibility.items()}
    named |= {"pid": features.pid, "camid": features.camid}
    return {name: tensor.contiguous().cpu() for name, tensor in named.items()}


def _unflatten(tensors: dict[str, Tensor], side: str) -> Features:
    def named(kind: str) -> dict[str, Tensor]:
        prefix = f"{side}/{kind}/"
        return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}

    return Features(
        named("embeddings"), named("visibility"), tensors[f"{side}/pid"], tensors[f"{side}/camid"]
    )


def score(run: RunConfig, scoring: str, name: str) -> Metrics:
    """Retrieval metrics of a run under a test-time variant on a test set; trains only if it must.

    Raises:
        ValueError: the model has no such scoring.
    """
    return _score(run, _scoring(run, scoring), *features(run, name), name=name)


def rescore(run: RunConfig, scoring: Any, name: str) -> Metrics:
    """Retrieval metrics under a test-time variant that no table names, from stored features.

    Args:
        scoring: a ``Scoring`` of the run's model.
    """
    return _score(run, scoring, *features(run, name), name=name)


def _score(run: RunConfig, scoring: Any, query: Features, gallery: Features, *, name: str) -> Metrics:
    protocol = DATASETS[name].protocol
    if not _reranks(scoring):
        pairwise = partial(MODELS[run.model].distance, scoring=scoring)
        return evaluate(query, gallery, distance=pairwise, protocol=protocol)
    known = _reranked(run, scoring, query, gallery)
    return evaluate(query, gallery, distance=lambda *_: known, protocol=protocol, block=len(query))


def _reranks(scoring: Any) -> bool:
    """Whether a scoring compares sets: such a one needs all queries and the gallery at a time."""
    return getattr(scoring, "rerank", False)


def _reranked(run: RunConfig, scoring: Any, query: Features, gallery: Features) -> Tensor:
    return k_reciprocal(query, gallery, distance=partial(MODELS[run.model].distance, scoring=scoring))


def distance(run: RunConfig, scoring: str) -> Distance:
    """The run's distance of any two images under a named test-time variant, before any re-ranking.

    Raises:
        ValueError: the model has no such scoring.
    """
    return partial(MODELS[run.model].distance, scoring=_scoring(run, scoring))


def distances(run: RunConfig, scoring: str, name: str, *, rows: Tensor) -> Tensor:
    """Distances of some queries of a test set to its gallery, re-ranked if the variant is. ``[q, G]``"""
    query, gallery = features(run, name)
    chosen = _scoring(run, scoring)
    if _reranks(chosen):
        return _reranked(run, chosen, query, gallery)[rows]
    return distance(run, scoring)(query[rows], gallery)


def _scoring(run: RunConfig, name: str) -> Any:
    known = run.model_config.scorings()
    if name not in known:
        raise ValueError(f"{run.model} has no scoring {name!r} here; expected one of {', '.join(known)}")
    return known[name]


def _record(run: RunConfig, training: Training, *, started: datetime) -> RunRecord:
    model = trained(run)
    metrics, measures, arrays = {}, {}, {}
    for name in run.data.test_sets:
        query, gallery = features(run, name, model=model)
        metrics[name] = {}
        for scoring in run.scorings:
            result = _score(run, _scoring(run, scoring), query, gallery, name=name)
            metrics[name][scoring] = {key: round(value, 6) for key, value in result.summary().items()}
            wide = result.rank.max() > np.iinfo(np.uint16).max
            arrays[f"{name}/{scoring}/rank"] = result.rank.astype(np.uint32 if wide else np.uint16)
            arrays[f"{name}/{scoring}/ap"] = result.ap.astype(np.float16)
        arrays[f"{name}/pid"] = query.pid.numpy().astype(np.int16)
        measures[name], values = _measures(run, model, name, query)
        arrays |= {f"{name}/{key}": array.astype(np.float16) for key, array in values.items()}
    arrays |= figure_maps(run, model)
    return RunRecord(
        config=run.identity(),
        hash=run.hash,
        name=run.name,
        paper=run.paper,
        preset=run.preset,
        seed=run.seed,
        provenance=_provenance(run, training, started=started),
        history=training.history.thinned(),
        alarms=[*training.history.alarms, *truth.map_alarms(measures)],
        metrics=metrics,
        measures=measures,
        behaviour=training.behaviour,
        arrays=arrays,
        test_scorings=len(run.scorings) * len(run.data.test_sets),
        parameters=sum(p.numel() for p in model.parameters()),
    )


def _measures(run: RunConfig, model: nn.Module, name: str, query: Features) -> tuple[dict, dict]:
    """What only ground truth can say of scores and maps: summaries, and values per query."""
    if run.data.profile == "real":
        return {}, _some_heat(run, model, name) if run.model_config.figure_map == "saliency" else {}
    data, whole = test_set(run.data, name), run.data.test_sets[0]
    if "soft" in query.visibility and "occluded" in name:
        return truth.part_measures(query, maps(run, model, data.query, name="parts"), data), {}
    if "quality" in query.visibility and name == run.data.test_sets[1]:
        twins = test_set(run.data, whole)
        heat = maps(run, model, data.query, name="magnitude") if run.model_config.figure_map == "magnitude" else None
        return truth.stripe_measures(query, data, twins), truth.stripe_values(query, data, twins, heat=heat)
    if run.model_config.figure_map == "masks" and name == run.data.test_sets[1]:
        masks = maps(run, model, data.query, name="masks")
        return truth.mask_measures(masks, data, test_set(run.data, whole)), {}
    if "templates" in query.embeddings and name == run.data.test_sets[1]:
        twins, (twin, _) = test_set(run.data, whole), features(run, whole, model=model)
        kinds = dict.fromkeys((run.model_config.figure_map, "parts"))
        found = {kind: tuple(maps(run, model, d.query, name=kind) for d in (data, twins)) for kind in kinds}
        measured = truth.template_measures({kind: pair[0] for kind, pair in found.items()}, data, twins)
        if "rho" in query.visibility:
            measured["largest_weight"] = round(float(query.visibility["rho"].amax(1).mean()), 4)
        return measured, truth.template_values(query, twin, found, data, twins)
    if run.model_config.figure_map == "saliency" and name in run.data.test_sets[:2]:
        return {}, _heat(run, model, name)
    return {}, {}


def _heat(run: RunConfig, model: nn.Module, name: str) -> dict[str, np.ndarray]:
    """Where saliency maps lie, per query, and the maps that figures show: ``heat`` ``[n, K, H/4, W/4]``."""
    occluded, whole = (test_set(run.data, other) for other in run.data.test_sets[1::-1])
    data, found = test_set(run.data, name), saliency(run, model, name)
    rows = truth.shown(occluded, whole)
    rows = rows if data is occluded else truth.twins(occluded, whole)[0][rows]
    return truth.heat_values(found, data, whole) | {"heat": _drawn(run, found, rows=rows)}


def _some_heat(run: RunConfig, model: nn.Module, name: str) -> dict[str, np.ndarray]:
    """Saliency maps of the fixed figure queries."""
    rows = figure_queries(len(test_set(run.data, name).query))
    found = saliency(run, model, name, rows=rows)
    return {"heat": _drawn(run, found, rows=torch.arange(len(rows)))}


def _drawn(run: RunConfig, found: dict[str, Tensor], *, rows: Any) -> np.ndarray:
    """Some saliency maps as figures show them. ``[n, K, H/4, W/4]``"""
    size = run.data.height // 4, run.data.width // 4
    return torch.stack([adaptive_avg_pool2d(maps[rows], size) for maps in found.values()], 1).numpy()


def saliency(run: RunConfig, model: nn.Module, name: str, *, rows: Tensor | None = None) -> dict[str, Tensor]:
    """What a model looks at in the queries of a test set (or some of them), in [0, 1], three ways. ``[Q, H, W]`` each

    ``maximum``: the largest value over the channels of the last map, as AaP-ReID's authors released it.
    ``identity``: Grad-CAM on the highest score of any training identity. ``similarity``: Grad-CAM on the cosine
    with the first gallery image of the same person by another camera.
    """
    stack, (query, gallery) = test_set(run.data, name).query, features(run, name, model=model)
    if rows is not None:
        stack, query = stack[rows], query[rows]
    embedding = run.model_config.scorings()["default"].embedding
    same = (query.pid[:, None] == gallery.pid) & (query.camid[:, None] != gallery.camid)
    mates = gallery.embeddings[embedding][same.int().argmax(1)]  # [Q, D]
    layer, parts, start = stages(model.backbone)[-1][-1], [], 0
    model.eval()
    for images, _ in batches(stack):
        mate = mates[start : start + len(images)]
        scores = {
            "identity": lambda output: output.logits["global"].amax(1),
            "similarity": lambda output: torch.cosine_similarity(output.embeddings[embedding], mate),  # noqa: B023
        }
        with torch.no_grad():
            largest = model(images).maps["saliency"][:, 0]
        found = {"maximum": stretched(largest, size=stack.size)}
        parts.append(
            found | {key: grad_cam(model, images, layer=layer, score=score) for key, score in scores.items()}
        )
        start += len(images)
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def maps(run: RunConfig, model: nn.Module, stack: ImageStack, *, name: str) -> Tensor:
    """One of the model's maps (part maps with background first) for all images of a stack. ``[N, M, h, w]``"""
    return extract_maps(model, stack, name=name, groups=_groups(run))


def figure_maps(run: RunConfig, model: nn.Module) -> dict[str, np.ndarray]:
    """The model's maps on the fixed figure queries of the holistic and the occluded set."""
    kind, arrays = run.model_config.figure_map, {}
    for name in run.data.test_sets[:2] if kind else ():
        stack = _tested(run, name).query
        chosen = stack[figure_queries(len(stack))]
        arrays[f"{name}/maps"] = maps(run, model, chosen, name=kind).numpy().astype(np.float16)
    return arrays


def figure_queries(count: int) -> Tensor:
    """The fixed queries that figures show, spread over the identities."""
    return torch.linspace(0, count - 1, FIGURE_QUERIES).round().long()


@lru_cache(maxsize=256)
def behaviour(run: RunConfig) -> list[float]:
    """Behavioural fingerprint: three training steps and a test distance on a fixed tiny batch.

    It changes when code changes what the run would compute, and stays when code is only rearranged.
    """
    with _one_thread():  # sums in another order would already look like other code
        stack = _toy_stack(run)
        train = replace(
            run.train, iterations=3, identities=4, images=4, precision="32-true", channels_last=False
        )
        model = build(run, identities=4)
        history = fit(
            model, loader(replace(run, train=train), stack), config=train, seed=0, label=None, device="cpu"
        )
        found = extract(model, stack, groups=_groups(run), device="cpu")
        if k := run.model_config.mask_parts:
            found = replace(found, visibility=found.visibility | {"truth": torch.ones(len(found), k)})
        matrix = distance(run, "default")(found[:4], found[4:])
        values = [
            *np.concatenate([np.ravel(v) for v in history.losses.values()]),
            *matrix.flatten().tolist()[:8],
        ]
    return [float(f"{value:.6g}") for value in values]


def _toy_stack(run: RunConfig) -> ImageStack:
    generator = torch.Generator().manual_seed(0)
    height, width = run.data.height, run.data.width
    blocks = torch.randint(0, 12, (16, 1, height // 8, width // 8), generator=generator, dtype=torch.uint8)
    label = torch.arange(4).repeat_interleave(4)
    return ImageStack(
        images=torch.randint(0, 256, (16, 3, height, width), generator=generator, dtype=torch.uint8),
        masks=blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)[:, 0],
        label=label,
        pid=label + 1,
        camid=torch.arange(16) % 4,
        names=tuple(f"toy-{i}" for i in range(16)),
    )


def stale(record: RunRecord, run: RunConfig, *, tolerance: float = 1e-4) -> bool:
    """Whether today's code would compute something else than the record's (behavioural fingerprint)."""
    return not same_behaviour(behaviour(run), record.behaviour, tolerance=tolerance)


def same_behaviour(old: Sequence[float], new: Sequence[float], *, tolerance: float = 1e-4) -> bool:
    """Whether two behavioural fingerprints agree."""
    return len(old) == len(new) and np.allclose(old, new, rtol=tolerance, atol=1e-6)


def _provenance(run: RunConfig, training: Training, *, started: datetime) -> dict:
    packages = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "lightning-fabric")
    return {
        "commit": training.commit,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu {platform.machine()}",
        "data": training.data,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(training.history.seconds, 1),
        "throughput": round(training.history.throughput, 1),
    }


def _fingerprints(run: RunConfig) -> dict[str, str]:
    """Hash of every index, and of all pixels and labels as the generator wrote them, or who made the labels."""
    splits = prepare(run.data)
    if run.data.profile == "real":
        found = {name: split.fingerprint for name, split in splits.items()}
        if run.model_config.mask_parts is not None:
            split = splits[run.data.train_set]
            folders = {str(r.mask.parent.relative_to(split.root)) for r in split.train if r.mask}
            found["part labels"] = ", ".join(sorted(folders)) or "none"
        return found
    manifest = next(iter(splits.values())).root.parent / "manifest.json"
    content = json.loads(manifest.read_text())["content_sha256"][:16]
    return {name: split.fingerprint for name, split in splits.items()} | {"content": content}


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


@contextmanager
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _job(run: RunConfig, deadline: float | None, fresh: bool) -> tuple[RunConfig, str, float]:
    started = time.time()
    try:
        if deadline is not None and started > deadline:
            return run, "not started", 0.0
        with _one_thread():
            train(run, deadline=deadline, fresh=fresh, progress=False)
    except Interrupted:
        return run, "interrupted", time.time() - started
    except (
        ValueError,
        OSError,
        RuntimeError,
    ) as error:  # one broken run must not keep the others from running
        logger.error("%s failed: %s", run.stem, error)
        return run, "failed", time.time() - started
    return run, "done", time.time() - started


def sweep(
    runs: Iterable[RunConfig],
    *,
    jobs: int = 1,
    budget: float | None = None,
    fresh: bool = False,
    report: Callable[[RunConfig, str, float], None] | None = None,
) -> dict[str, int]:
    """Compute missing records, several runs side by side with one thread each.

    Args:
        jobs: processes; on a GPU one is usual.
        budget: seconds after which nothing new starts and running trainings stop at an epoch's end.
        report: called with every finished run.

    Returns:
        How many runs ended ``done``, ``interrupted``, ``not started`` or ``failed``.
    """
    from joblib import Parallel, delayed

    deadline = None if budget is None else time.time() + budget
    outcomes = {"done": 0, "interrupted": 0, "not started": 0, "failed": 0}
    calls = (delayed(_job)(run, deadline, fresh) for run in runs)
    for run, outcome, seconds in Parallel(n_jobs=jobs, return_as="generator_unordered")(calls):
        outcomes[outcome] += 1
        if report:
            report(run, outcome, seconds)
    return outcomes
