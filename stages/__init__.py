"""What happens to a shard; packages in the order the data goes through. Nothing here imports Ray."""
