"""Segments + dub -> the film."""
