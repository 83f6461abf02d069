"""The streams that recipes add up: featurized and scored by the package itself, and kept."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

from dtrak_stream.benchmark.kept_results import finish_jobs
from dtrak_stream.benchmark.lds.subjects import QUERY_SETS, Subject
from dtrak_stream.benchmark.search.options import SearchConfig
from dtrak_stream.benchmark.search.recipes import HELD_OUT, Features, Recipe, Way
from dtrak_stream.errors import InputError
from dtrak_stream.features.names import RESIDUALS
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.preparation import prepare
from dtrak_stream.featurizing.run import finish
from dtrak_stream.gram.file import Gram
from dtrak_stream.gram.options import GramConfig
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.kernel.damping import DampingChoice
from dtrak_stream.methods import METHODS
from dtrak_stream.model.places import model_root
from dtrak_stream.scoring.kernel import KernelMaker
from dtrak_stream.scoring.term_scores import TermScores
from dtrak_stream.scoring.terms import Term
from dtrak_stream.scoring.transforms import TRANSFORMS
from dtrak_stream.seen.judgement import residuals_in
from dtrak_stream.seen.overfitting import freedom_share, loss_ratio
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.store_set import bandwidth_of, store_roots
from dtrak_stream.support.cluster_options import own_device
from dtrak_stream.support.durable import durable_path
from dtrak_stream.support.progress import untold

_FORMAT = 1
_AUTO = (DampingChoice("auto", "auto"),)
_SQUARES = TRANSFORMS["signed-square"]
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class StreamJob:
    """Features of one kind of one data set, and the ways to score by them; can be sent.

    Attributes
    ----------
    config
        The options.
    subject
        The data set.
    features, ways
        What is computed, and how it is scored.
    """

    config: SearchConfig
    subject: Subject
    features: Features
    ways: tuple[Way, ...]

    def kept(self, way: Way) -> Path:
        """Return where the scores of one way are kept: another model or images, another file."""
        name = _digest([self._decisive, way])
        return self.folder / "scores" / f"{_file_name(self.features)}-{name}.npz"

    @property
    def stores(self) -> Path:
        """Return where its features are while it is at work."""
        return self.folder / "stores" / f"{_file_name(self.features)}-{_digest(self._decisive)}"

    @property
    def _decisive(self) -> list[object]:
        return [_FORMAT, self.features.decisive, _identity(self.subject)]

    @property
    def folder(self) -> Path:
        """Return where everything of the data set is kept."""
        return self.config.work / self.subject.name

    @property
    def missing(self) -> tuple[Way, ...]:
        """Return the ways whose scores are not there."""
        return tuple(way for way in self.ways if not self.kept(way).exists())


@dataclass(frozen=True)
class StreamScores:
    """What is kept of a stream.

    Attributes
    ----------
    scores
        s of each probe, (J, Q, N), by set of queries.
    seconds
        Processor seconds that the features of the training images took, loading left out.
    """

    scores: dict[str, Scores]
    seconds: float


def stream_jobs(
    config: SearchConfig,
    subject: Subject,
    recipes: Sequence[Recipe],
    along: Mapping[float, Subject] = MappingProxyType({}),
) -> list[StreamJob]:
    """Return a job for each kind of features that recipes add up.

    Parameters
    ----------
    config, subject, recipes
        The options, the data set, and the recipes.
    along
        The data set with the model along its training, by the share that is done.
    """
    ways: dict[Features, dict[Way, None]] = {}
    for recipe in recipes:
        for term in recipe.terms:
            ways.setdefault(term.features, {})[term.way] = None
    return [
        StreamJob(
            config,
            subject if each.trained is None else along[each.trained],
            each,
            tuple(of),
        )
        for each, of in ways.items()
    ]


def finish_streams(jobs: Sequence[StreamJob], config: SearchConfig) -> None:
    """Compute the scores of all jobs that are not there.

    Raises
    ------
    InterruptedRunError
        On Ctrl-C. Finished scores, and shards of features, are kept.
    """
    finish_jobs(
        jobs,
        [job for job in jobs if job.missing],
        run_stream_job,
        config.where,
        description="streams",
        kept="scores",
        place=f"in {config.work}",
        visible=not config.quiet,
    )


def kept_scores(job: StreamJob, way: Way) -> StreamScores:
    """Return the scores of a finished job."""
    with np.load(job.kept(way)) as file:
        return StreamScores({name: file[name] for name in QUERY_SETS}, float(file["seconds"]))


def run_stream_job(job: StreamJob) -> None:
    """Compute features and what is missing of the scores; keep the scores alone."""
    torch.set_num_threads(job.config.where.threads)
    with untold():
        seconds = _featurize_all(job, job.stores)
        for way in job.missing:
            found = {name: _scores(job, way, job.stores, name) for name in QUERY_SETS}
            job.kept(way).parent.mkdir(parents=True, exist_ok=True)
            with durable_path(job.kept(way)) as partial, partial.open("wb") as file:
                np.savez(file, seconds=np.array(seconds), **found)  # type: ignore[arg-type]
    shutil.rmtree(job.stores)


def _featurize_all(job: StreamJob, stores: Path) -> float:
    """Bring the stores and Gram matrices of a job to completion; return seconds of training."""
    subject = job.subject
    options = job.features.options(
        own_device() or job.config.where.first_device, last_up_block(subject.model)
    )
    seconds = _featurize(subject, options, subject.train, stores / "train")
    for root in store_roots(stores / "train"):
        compute_gram(GramConfig(root, _gram_of(root), quiet=True))
    like = bandwidth_of(stores / "train")
    for name in QUERY_SETS:
        _featurize(subject, options, subject.queries(name), stores / name, bandwidth=like)
    return seconds


def _featurize(
    subject: Subject,
    options: FeatureOptions,
    images: str,
    store: Path,
    bandwidth: float | None = None,
) -> float:
    """Bring a store to completion; return the processor seconds that it took."""
    config = FeaturizeConfig(
        images,
        store,
        subject.model,
        features=replace(options, bandwidth=bandwidth),
        image_options=subject.image_options,
        condition_options=subject.conditions,
        quiet=True,
    )
    prepared = prepare(config)
    begun = time.process_time()
    finish(prepared)
    return time.process_time() - begun


def _scores(job: StreamJob, way: Way, stores: Path, queries: str) -> Scores:
    """Return s of each probe, (J, Q, N)."""
    freedom = held_out_share(job) if way.freedom == HELD_OUT else way.freedom
    pairs = zip(store_roots(stores / "train"), store_roots(stores / queries), strict=True)
    return np.stack([_of_store(way.method, freedom, train, query) for train, query in pairs])


def _of_store(method: str, freedom: float | None, train_root: Path, query_root: Path) -> Scores:
    """Return the scores (Q, N) of one store against another."""
    train, query = FeatureStore.open(train_root), FeatureStore.open(query_root)
    for store in (train, query):
        if not store.usable().all():
            raise InputError(
                "some of these images have no feature",
                where=store.layout.root,
                remedy="see quarantine.jsonl there, and leave these images out",
            )
    gram = Gram.open(_gram_of(train_root))
    maker = KernelMaker(gram, train, _SQUARES.of_freedom(freedom), visible=False)
    kernel = maker.make(_AUTO, "cholesky").solver
    scorer = TermScores(Term(train, query, gram), METHODS[method], kernel)
    ((scores,),) = scorer.of([range(len(query))], [range(len(train))])  # (1, Q, N)
    return np.asarray(scores, np.float32)


def held_out_share(job: StreamJob) -> float:
    """Return the share of N that the validation images, as held-out ones, tell the damping."""
    kept = job.folder / "residuals" / f"{_digest(_identity(job.subject))}.json"
    if not kept.exists():
        stores = kept.with_suffix(".stores")
        residuals = []
        for images in (job.subject.train, job.subject.validation):
            store = stores / ("train" if images == job.subject.train else "held-out")
            options = FeatureOptions(RESIDUALS, device=job.config.where.first_device)
            _featurize(job.subject, options, images, store)
            residuals.append(residuals_in(FeatureStore.open(store)))
        with durable_path(kept) as partial:
            partial.write_text(json.dumps(loss_ratio(*residuals)))
        shutil.rmtree(stores)
    return freedom_share(json.loads(kept.read_text())[0])


def last_up_block(model: str) -> int:
    """Return the number of a UNet's last up block."""
    config = json.loads((model_root(model) / "unet" / "config.json").read_text())
    return len(config["up_block_types"]) - 1


def _gram_of(store: Path) -> Path:
    return store.with_name(f"{store.name}.gram.h5")


def _identity(subject: Subject) -> list[str]:
    """Return what tells a model, and its images, from others, wherever their files are."""
    files = sorted(model_root(subject.model).rglob("*.safetensors"))
    named = [subject.name]
    for images in (subject.train, subject.validation, subject.generated):
        path = Path(images)
        if not path.exists():
            named.append(images)  # part of a package
        files += sorted(path.glob("*.png")) if path.is_dir() else [path] if path.exists() else []
    digest = xxhash.xxh3_128()
    for each in files:
        digest.update(each.read_bytes())
    return [*named, digest.hexdigest()]


def _digest(decisive: object) -> str:
    return xxhash.xxh3_64_hexdigest(repr(decisive).encode())


def _file_name(features: Features) -> str:
    words = f"{features.output_function}-{features.timesteps or ''}-{features.proj_dim}"
    return "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in words)
