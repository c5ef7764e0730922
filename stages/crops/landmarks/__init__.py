"""68 landmarks of the chosen face: where the lips and the jaw are."""
