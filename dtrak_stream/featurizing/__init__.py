"""Samples into a store of features, shard by shard, resumably."""
