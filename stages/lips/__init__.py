"""Crops + speech -> redrawn patches."""
