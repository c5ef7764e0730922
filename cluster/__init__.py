"""Where a job runs: pool sizes and the pre-flight."""
