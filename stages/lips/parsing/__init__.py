"""The face parser, and the masks that follow the skin instead of the landmarks (musetalk.md 3.7 and 4.8)."""
