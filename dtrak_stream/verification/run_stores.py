"""The stores of a run folder, found by the hash of their fingerprint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError
from dtrak_stream.scoring.halves import HALVES, HalfSketch
from dtrak_stream.store.reader import FeatureStore


@dataclass(frozen=True)
class RunStores:
    """Every store below a folder.

    Attributes
    ----------
    by_hash
        The stores by the hash of their fingerprint.
    halves
        What error bars see of them, by the same: Gram matrices are made of those too.
    """

    by_hash: dict[str, FeatureStore] = field(default_factory=dict)
    halves: dict[str, FeatureStore] = field(default_factory=dict)

    def add(self, store: FeatureStore) -> None:
        """Let a store be found."""
        self.by_hash[store.fingerprint.hash()] = store
        for half in HALVES:
            try:
                seen = HalfSketch(store, half)
            except ConfigurationError:  # its features have no halves
                return
            self.halves[seen.fingerprint.hash()] = seen

    def of_gram(self, fingerprint: str, path: Path) -> FeatureStore:
        """Return the store, or the half of one, that a Gram matrix was made of.

        Raises
        ------
        FingerprintMismatchError
            If it is not in the folder.
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
        """
        if fingerprint in self.by_hash:
            return self.by_hash[fingerprint]
        known = ", ".join(
            f"{store.layout.root.name} {name}" for name, store in self.by_hash.items()
        )
        raise FingerprintMismatchError(
            what,
            fingerprint,
            known or "no store",
            where=path,
            remedy="it was made of other features: remove it and run its stage again, or put "
            "back the store it belongs to",
        )
