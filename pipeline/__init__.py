"""The job as a user sees it: manifest, config, the graph, the work folder, reports."""

from pipeline.config import Config, load_config
from pipeline.run import dub

__all__ = ["Config", "dub", "load_config"]
