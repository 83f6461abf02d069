"""The stores of a run folder, found by the state that results name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dtrak_stream.errors import (
    ConfigurationError,
    DtrakStreamError,
    FingerprintMismatchError,
    InputError,
)
from dtrak_stream.scoring.halves import HALVES, HalfSketch
from dtrak_stream.store.layout import read_layout
from dtrak_stream.store.reader import FeatureStore


class FaultyStoreError(InputError):
    """A file was made of a store that has a fault itself."""


@dataclass(frozen=True)
class RunStores:
    """Every store below a folder.

    Attributes
    ----------
    by_hash
        The stores by the state that results name.
    halves
        What error bars see of them, by the same: Gram matrices are made of those too.
    faulty
        Names of the stores that have a fault, by the same, and by the halves of theirs.
    unknown
        Names of the stores whose fingerprint cannot be read, or is not what it was.
    """

    by_hash: dict[str, FeatureStore] = field(default_factory=dict)
    halves: dict[str, FeatureStore] = field(default_factory=dict)
    faulty: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def add(self, store: FeatureStore) -> None:
        """Let a store be found."""
        self.by_hash[store.layout.state] = store
        self.halves.update({half.layout.state: half for half in _halves(store)})

    def add_faulty(self, root: Path) -> None:
        """Note a store that has a fault, and is not to be looked into."""
        try:
            store = FeatureStore(read_layout(root))
            is_edited = store.layout.is_edited()
        except (DtrakStreamError, OSError):
            is_edited = True
        if is_edited:
            self.unknown.append(root.name)
            return
        for seen in (store, *_halves(store)):
            self.faulty[seen.layout.state] = root.name

    def of_gram(self, fingerprint: str, path: Path) -> FeatureStore:
        """Return the store, or the half of one, that a Gram matrix was made of.

        Raises
        ------
        FingerprintMismatchError
            If it is not in the folder.
        FaultyStoreError
            If it has a fault.
        """
        half = self.halves.get(fingerprint)
        return (
            half if half is not None else self.find("Gram matrix: fingerprint", fingerprint, path)
        )

    def find(self, what: str, fingerprint: str, path: Path) -> FeatureStore:
        """Return the store with this fingerprint, which stands as `what` in the file `path`.

        Raises
        ------
        FingerprintMismatchError
            If it is not in the folder.
        FaultyStoreError
            If it has a fault.
        """
        if fingerprint in self.by_hash:
            return self.by_hash[fingerprint]
        if fingerprint in self.faulty:
            raise _of_faulty(f"made of {self.faulty[fingerprint]}, which has a fault", path)
        if self.unknown:
            raise _of_faulty(
                f"made of no whole store, perhaps of {' or '.join(self.unknown)}", path
            )
        for store in self.by_hash.values():
            if store.earlier(fingerprint) is not None:
                raise FingerprintMismatchError(
                    what,
                    fingerprint,
                    f"{store.layout.root.name} {store.layout.state}",
                    where=path,
                    remedy=f"it is of {store.layout.root.name} before samples were appended or "
                    "removed: run the command that wrote it again, which brings it up to date",
                )
        known = ", ".join(
            f"{store.layout.root.name} {name}" for name, store in self.by_hash.items()
        )
        raise FingerprintMismatchError(
            what,
            fingerprint,
            known or "no store",
            where=path,
            remedy="it was made of other features: move it away and run its stage again, or put "
            "back the store it belongs to",
        )


def _halves(store: FeatureStore) -> list[FeatureStore]:
    """Return what error bars see of a store; nothing where its features have no halves."""
    try:
        return [HalfSketch(store, half) for half in HALVES]
    except ConfigurationError:
        return []


def _of_faulty(what: str, path: Path) -> FaultyStoreError:
    return FaultyStoreError(what, where=path, remedy="mend that store, and verify again")
