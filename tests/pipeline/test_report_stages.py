"""The report's columns of seconds are the graph's steps."""

from pipeline.flow import STEPS
from pipeline.report_html import STAGES


def test_every_step_of_the_graph_has_a_column_of_seconds_in_the_report() -> None:
    assert tuple(step.name for step in STEPS) == STAGES
