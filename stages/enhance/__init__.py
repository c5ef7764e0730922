"""Patches -> sharper patches: GFPGAN on the region round each new mouth, official weights."""
