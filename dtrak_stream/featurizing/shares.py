"""Featurizing by shares: workers that load the model once each, and take shards in turn.

The command that was given prepares and begins the store, hands out shares of the shards that are
missing, and settles the store when all are there. A share is computed as any run computes shards:
claimed, written, renamed. So it does not matter who computes it, how often, or whether another
command is at the same store.
"""

from __future__ import annotations

import dataclasses
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dtrak_stream.data.remarks import say_once
from dtrak_stream.errors import InterruptedRunError
from dtrak_stream.featurizing.computing import Computing, added, note_samples, say_times
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.preparation import Prepared, join
from dtrak_stream.support.cluster import connect
from dtrak_stream.support.cluster_options import HERE, own_device
from dtrak_stream.support.progress import Bar, progress, untold
from dtrak_stream.support.shared_work import Cluster

_SHARES_EACH = 8  # of a worker: fewer, and the last ones wait for one another
_LARGEST = 16  # shards: what a lost worker leaves to others is known shard by shard in any case
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Share:
    """Some shards of a job.

    Attributes
    ----------
    config
        The job, as a worker does it.
    command
        Name of the command it belongs to: another one may have changed what files hold.
    shards
        Their numbers.
    """

    config: FeaturizeConfig
    command: str
    shards: tuple[int, ...]


@dataclass(frozen=True)
class ComputedShare:
    """What came of a share.

    Attributes
    ----------
    images
        How many were computed.
    seconds
        Where the time went, by the names of stages.
    remarks
        What is to be said of them.
    """

    images: int
    seconds: dict[str, float]
    remarks: tuple[str, ...]


def compute_in_shares(prepared: Prepared) -> int:
    """Let workers compute the missing shards; return how many images they computed.

    Raises
    ------
    ClusterError
        If the scheduler is lost, or a share ends one worker after the other.
    InterruptedRunError
        On Ctrl-C, once the workers have kept what they have.
    DtrakStreamError
        Whatever a worker refuses.
    """
    with prepared.writer.run_record() as record:
        note_samples(record, prepared)
    config = prepared.config
    prepared.close()  # the model is needed where shards are computed
    with connect(config.cluster, compute_share) as cluster, _bar(prepared) as bar:
        try:
            return _hand_out(prepared, cluster, bar)
        except KeyboardInterrupt as interrupt:
            told = f"{prepared.stores.progress} are done and kept"
            raise InterruptedRunError(told) from interrupt


def _hand_out(prepared: Prepared, cluster: Cluster, bar: Bar) -> int:
    writer, stores = prepared.writer, prepared.stores
    total = stores.layouts[0].fingerprint.samples
    config = dataclasses.replace(prepared.config, cluster=HERE, quiet=True)

    def show(missing: Sequence[int], others: str = "") -> None:
        bar.n = total - sum(len(stores.shard_rows(shard)) for shard in missing)
        bar.set_postfix_str(others)

    def waiting(shards: list[int]) -> None:
        show(shards, f"waiting for {len(shards)} shards of other processes")

    free, computed, command = prepared.missing, 0, uuid.uuid4().hex
    seconds: dict[str, float] = {}
    while free:
        shares = [Share(config, command, each) for each in cut(free, cluster.workers)]
        for done in cluster.run(compute_share, shares):
            computed += done.images
            seconds = added(seconds, done.seconds)
            for remark in done.remarks:
                say_once(remark)
            show(stores.missing_shards())
        left = writer.wait_for_others(prepared.missing, waiting)
        if left == free:  # on its way through a file server, or held by who died just now
            time.sleep(_PAUSE_SECONDS)
        free = left
    cluster.everywhere(let_go)
    show([])
    say_times(seconds)
    return computed


def cut(shards: Sequence[int], workers: int) -> Iterator[tuple[int, ...]]:
    """Cut the missing shards into shares, several for each worker where there are enough."""
    size = max(1, min(_LARGEST, len(shards) // (_SHARES_EACH * workers)))
    for start in range(0, len(shards), size):
        yield tuple(shards[start : start + size])


def _bar(prepared: Prepared) -> Bar:
    fingerprint = prepared.stores.layouts[0].fingerprint
    to_do = sum(len(prepared.stores.shard_rows(shard)) for shard in prepared.missing)
    return progress(
        fingerprint.samples,
        description="featurizing",
        unit="img",
        done=fingerprint.samples - to_do,
        visible=prepared.writer.visible,
    )


def compute_share(share: Share) -> ComputedShare:
    """Compute those shards of a share that nobody has computed or works on; runs on a worker.

    Raises
    ------
    DtrakStreamError
        If the store, the images or the model are not here what they are where the command was
        given; or as `Computing.compute`.
    """
    with _opened.lock:  # a process computes one share at a time, however many threads it has
        prepared, computing = _opened.job(share)
        shards = [s for s in share.shards if prepared.stores.without_shard(s)]
        computing.seconds = {}
        with prepared.new_writer() as writer:
            images = computing.compute(writer, shards, waits=False)
        return ComputedShare(images, computing.seconds, tuple(computing.remarks()))


def let_go() -> None:
    """Let go of the model that was loaded for shares; runs on a worker."""
    _opened.close()


class _Opened:
    """The job a worker computes shares of: its model is loaded for the first one, and kept."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._command: str | None = None
        self._job: tuple[Prepared, Computing] | None = None

    def job(self, share: Share) -> tuple[Prepared, Computing]:
        if self._job is None or share.command != self._command:
            self.close()
            device = own_device()
            with untold():  # the command has told of the model and the images
                prepared = join(share.config if device is None else _on(share.config, device))
            self._command, self._job = share.command, (prepared, Computing.of(prepared))
        return self._job

    def close(self) -> None:
        """Let go of the model."""
        if self._job is not None:
            self._job[0].close()
        self._command = self._job = None


def _on(config: FeaturizeConfig, device: str) -> FeaturizeConfig:
    features = dataclasses.replace(config.features, device=device)
    return dataclasses.replace(config, features=features)


_opened = _Opened()
