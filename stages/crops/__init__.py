"""Shard -> face crops and landmarks of the chosen face."""
