"""Ray's workers are background processes of the terminal that a cluster was started in."""

import os
import pty
import sys

_BEHIND = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], process_group=0)
_, status = os.waitpid(child.pid, os.WUNTRACED)
if os.WIFSTOPPED(status):
    child.kill()
    sys.exit(100 + os.WSTOPSIG(status))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def _in_the_background(code: str) -> int:
    """How a background process of a new terminal ends that runs `code`: 100 and the signal where it is stopped."""
    pid, _terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", _BEHIND, code])
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(_terminal)


def test_the_import_that_starts_ffmpeg_does_not_stop_a_worker_of_a_terminal() -> None:
    assert _in_the_background("import stages.faces.cuts") == 0


def test_the_terminal_does_stop_what_sets_it_up_in_the_background() -> None:
    """So the test above can fail."""
    assert _in_the_background("import termios; termios.tcsetattr(0, 0, termios.tcgetattr(0))") > 100


def test_standard_input_is_there_again_afterwards() -> None:
    code = "import os; before = os.ttyname(0); import stages.faces.cuts; assert os.ttyname(0) == before"
    assert _in_the_background(code) == 0
