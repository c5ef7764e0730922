"""Film -> cells and shards: the packet index, and where to cut."""
