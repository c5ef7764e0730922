"""The operator's guide names commands, settings, codes and files that there are."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from ray.scripts.scripts import cli as ray_cli

from cluster.cli import joined
from pipeline.config import Config
from stages.errors import CODES

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/operate.md").read_text()
ROWS = re.findall(r'^\| <a id="([\w-]+)"></a>(.*) \| (.*) \| (.*) \|$', GUIDE, re.MULTILINE)
QUOTED = re.findall(r"`([^`]+)`", GUIDE)
SECTIONS = set(Config.model_fields)


def parse(command: object, words: list[str]) -> str:
    """Parse a command line as the command would, down to the last subcommand, and name that, without running it."""
    context = command.make_context(words[0], words[1:])  # type: ignore[attr-defined]
    if hasattr(command, "commands"):
        rest = [*getattr(context, "_protected_args", []), *context.args]
        name, sub, arguments = command.resolve_command(context, rest)  # type: ignore[attr-defined]
        assert sub is not None
        assert name is not None
        return parse(sub, [name, *arguments])
    return words[0]


@pytest.mark.parametrize("line", sorted({text for text in QUOTED if text.startswith("dubline ")}))
def test_commands_are_what_dubline_takes(line: str) -> None:
    words = shlex.split(line)
    assert parse(typer.main.get_command(joined()), words) in words[1:3]


@pytest.mark.parametrize("line", sorted({text for text in QUOTED if text.startswith("ray ") and " -" in text}))
def test_commands_are_what_ray_takes(line: str) -> None:
    words = shlex.split(line.replace(" BYTES", " 1000000000"))
    assert parse(ray_cli, words) in words[1:3]


def test_a_wrong_command_would_be_seen() -> None:
    for line in ("dubline report work --frob", "dubline undo work", "dubline weights lose x"):
        with pytest.raises(Exception, match=r"(?i)no such"):
            parse(typer.main.get_command(joined()), shlex.split(line))


def test_settings_are_there() -> None:
    named = {text.partition("=")[0] for text in QUOTED if text.partition(".")[0] in SECTIONS}
    assert len(named) > 10
    for name in named:
        model: object = Config
        for part in name.split("."):
            fields = model.model_fields  # type: ignore[attr-defined]
            assert part in fields, name
            model = fields[part].annotation


def test_files_are_where_the_work_folder_has_them() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    block = text[text.index("## The work folder") :].split("```")[1]
    known = set()
    for line in block.strip().splitlines():
        path = line.split("   ")[0].strip()
        head, _, names = path.partition("{")
        known |= {head + name.strip(" }") for name in names.split(",")} if names else {path}
    named = {text for text in QUOTED if text.startswith("work/")}
    assert len(named) > 5
    assert named <= known, named - known


def test_rows_are_whole_and_enough() -> None:
    assert len(ROWS) >= 15
    assert len({row[0] for row in ROWS}) == len(ROWS)
    for anchor, symptom, evidence, action in ROWS:
        assert "**" in symptom, anchor
        assert "`" in evidence or "«" in evidence, f"{anchor}: which command, metric or file?"
        assert len(action) > 20, anchor


def test_every_code_that_asks_for_an_operator_is_there() -> None:
    own = set(CODES) - {"ok", "no_video", "no_audio", "audio_longer", "unsupported", "internal"}  # their message tells
    assert not [code for code in own if f"`{code}`" not in GUIDE]


def test_panels_are_on_the_dashboard() -> None:
    from cluster.dashboards.panels import SECTIONS as SHOWN

    titles = {panel.title for _, panels in SHOWN for panel in panels}
    named = set(re.findall(r"«([^»]+)»", GUIDE))
    assert named <= titles, named - titles


def test_messages_are_what_the_code_says() -> None:
    """Words that an operator is told to look for in a log."""
    source = "".join(file.read_text() for file in (ROOT / "pipeline").glob("*.py"))
    for words in ("the run was stopped because", "CPU cores", "feed it", "workers are starting", "not finished after"):
        assert words in source
        assert words in GUIDE
