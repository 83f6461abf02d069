"""Sharded HDF5 feature store: layout, shards, checksums, fingerprint, quarantine."""
