"""Film -> shots, tracks, whose lips are painted, and with which box."""
