"""docs/deploy-options.md out of the options themselves: `python -m cluster.deploy.page > docs/deploy-options.md`."""

import sys

from cluster.deploy.options import DeployOptions
from pipeline.settings_page import sections

_HEAD = """# Options of `dubline manifest`

Made from the code by `python -m cluster.deploy.page > docs/deploy-options.md`. A YAML file holds them by section
(`--options`), `--set section.name=value` changes one. docs/deploy.md says where the numbers come from.
"""


def page() -> str:
    """The whole page."""
    return _HEAD + "\n".join(sections("", DeployOptions)) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
