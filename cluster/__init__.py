"""Where a job runs: submitting it to a Ray cluster, the machines it needs, what writes their manifests.

Arrows point one way: `cluster` knows `pipeline`, never the other way round.
"""
