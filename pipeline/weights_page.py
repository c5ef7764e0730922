"""docs/weights.md out of the registry: `python -m pipeline.weights_page > docs/weights.md`."""

import sys
from collections.abc import Iterator
from typing import Final

from stages.weights import BUNDLES, REGISTRY, Weight

_HEAD: Final = """# Model weights

Made from the code by `python -m pipeline.weights_page > docs/weights.md`.

dubline brings no weights. `dubline weights fetch NAME` downloads a file, or a bundle of them, into the weights folder
(`$DUBLINE_WEIGHTS`, else `~/.cache/dubline/weights`; `--weights-dir` and `weights_dir` name another). It goes on where
a transfer was cut, checks size and sha256 where they are public, and publishes whole files only. The folder has the
layout of the projects that the files come from: a `models` folder of MuseTalk serves as it is. `dubline weights list`
shows what is here, `dubline weights verify` reads it all and checks it. Settings that take weights take a name of this
page, or the path or URL of another file, which is used as it is.
"""
_COMMERCIAL: Final = """
## Commercial use

A run begins with a line for each licence that its weights are under. With `--commercial` (`run.commercial`) it does not
begin, and nothing is computed, when one of them is not clearly for commercial use. Files given by path or URL are known
by their content, whatever they are called.

| commercial use | with `--commercial` |
|---|---|
| yes | loaded |
| no | refused |
| unclear: the licence does not say, or contradicts itself | refused, until `run.licences_cleared` names the file |
| not a file of this page | loaded, and named at the start as yours to check |

To name a file in `run.licences_cleared` says that you have had its licence checked. What is said here of licences is
what authors publish, read by programmers: no legal advice, and nothing about the rights of the people in your films.
Converted or cut copies of a file have another content, by which dubline does not know them.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_files(), *_bundles(), _COMMERCIAL]).rstrip() + "\n"


def _files() -> Iterator[str]:
    yield "## Files\n"
    yield "| name | file | MB | sha256 | commercial use | licence | where from |"
    yield "|---|---|---|---|---|---|---|"
    for weight in REGISTRY.values():
        size = f"{weight.size / 1e6:,.3f}" if weight.size else "not published"
        digest = f"`{weight.sha256[:8]}…`" if weight.sha256 else "not published"
        what = f"| `{weight.name}` | `{weight.file}` | {size} | {digest} "
        yield f"{what}| {weight.commercial_use} | {weight.licence} | {_source(weight)} |"


def _source(weight: Weight) -> str:
    return f"<{weight.url}>" if weight.url else weight.note


def _bundles() -> Iterator[str]:
    yield "\n## Bundles\n"
    yield "| name | files |"
    yield "|---|---|"
    for name, names in BUNDLES.items():
        yield f"| `{name}` | {', '.join(f'`{each}`' for each in names)} |"


if __name__ == "__main__":
    sys.stdout.write(page())
