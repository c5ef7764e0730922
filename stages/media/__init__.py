"""Used by all stages: open safely, index, decode, colour, encode, publish."""
