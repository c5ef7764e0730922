"""The job as a user sees it: manifest, config, the graph, the work folder, reports."""
