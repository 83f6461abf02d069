"""Sharded HDF5 feature store: layout, shards, checksums, fingerprint, quarantine."""

from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.store.joined_view import write_joined_view
from dtrak_stream.store.layout import StoreLayout, read_layout
from dtrak_stream.store.quarantine import (
    QuarantinedSample,
    append_quarantine,
    keep_quarantine,
    read_quarantine,
)
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import ShardRows, pack_rows, read_shard, write_shard

__all__ = [
    "FeatureStore",
    "Fingerprint",
    "QuarantinedSample",
    "ShardRows",
    "StoreLayout",
    "append_quarantine",
    "keep_quarantine",
    "pack_rows",
    "read_layout",
    "read_quarantine",
    "read_shard",
    "write_joined_view",
    "write_shard",
]
