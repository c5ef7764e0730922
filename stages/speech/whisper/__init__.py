"""What Whisper's encoder makes of a dub, and the 200 ms of it that belong to a frame's time (musetalk.md 3.3 to 4.4).

torch and transformers are loaded with the weights, not before: telling two dubs apart needs neither.
"""

from stages.speech.whisper.features import WhisperFeatures
from stages.speech.whisper.log_mel import Route
from stages.speech.whisper.windows import VERSION, WhisperWindows, windows_at

__all__ = ["VERSION", "Route", "WhisperFeatures", "WhisperWindows", "windows_at"]
