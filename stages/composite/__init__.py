"""Shard + patches -> an encoded segment."""
