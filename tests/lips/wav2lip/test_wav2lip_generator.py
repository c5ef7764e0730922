"""What goes in and what comes out: parity with the official steps, any grouping, any mode, any shortage."""

import itertools
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.arrays import F32, U8
from stages.errors import DubError
from stages.lips.settings import LipsSettings
from stages.lips.types import Generator
from stages.lips.wav2lip import Wav2LipGenerator, Wav2LipSettings, checkpoint
from stages.lips.wav2lip.generator import face_input

Stack = tuple[U8, F32]
Hooked = Callable[[Callable[[int], None]], Wav2LipGenerator]
WAYS: dict[str, dict[str, Any]] = {
    "fast": {"threads": 1},
    "fast, two threads": {"threads": 2},
    "onnx": {"mode": "onnx", "threads": 1},
}


@pytest.fixture(scope="module", params=["fast", "onnx"])
def fast(request: pytest.FixtureRequest, checkpoint_files: Callable[[str], Path]) -> Wav2LipGenerator:
    return Wav2LipGenerator(checkpoint_files("spread"), mode=request.param, batch_size=2, threads=1)


def official(path: Path, crops: U8, speech: F32) -> U8:
    """Steps 7-10 of wav2lip.md 5.2 in numpy, one batch, the layers as they are trained."""
    masked = crops.copy()
    masked[:, 48:] = 0
    face = np.concatenate((masked, crops), axis=3) / 255.0
    with torch.inference_mode():
        picture = checkpoint.network(path)(
            torch.from_numpy(speech[:, None]), torch.from_numpy(face.transpose(0, 3, 1, 2).astype(np.float32))
        )
    redrawn: U8 = (picture.numpy().transpose(0, 2, 3, 1) * 255.0).astype(np.uint8)
    return redrawn


def assert_close(ours: U8, theirs: U8, share: float = 0.01) -> None:
    """At most one grey level off, on at most 1 % of the values (wav2lip.md 5.3)."""
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= share


@pytest.fixture(scope="module")
def exact(eager: Wav2LipGenerator, stack: Stack) -> U8:
    """The whole stack by the layers as they are trained."""
    return eager.generate(*stack)


def test_is_a_generator(eager: Wav2LipGenerator) -> None:
    generator: Generator = eager
    assert generator.crop_px == 96
    assert generator.speech_shift_s == 0.0


def test_every_grey_level_is_divided_like_the_official_script() -> None:
    levels = np.arange(256, dtype=np.uint8)
    crop = np.resize(levels, (1, 96, 96, 3))
    face = face_input(torch.from_numpy(crop), torch.tensor(255.0)).numpy()
    expected = (crop / 255.0).transpose(0, 3, 1, 2).astype(np.float32)
    assert np.array_equal(face[:, 3:], expected)
    assert np.array_equal(face[:, :3, :48], expected[:, :, :48])
    assert not face[:, :3, 48:].any()


def test_parity_with_the_official_steps(exact: U8, checkpoint_files: Callable[[str], Path], stack: Stack) -> None:
    theirs = official(checkpoint_files("spread"), *stack)
    assert theirs.min() < 20  # a picture that rounding and truncating tell apart
    assert theirs.max() > 235
    assert_close(exact, theirs, share=0.001)


@pytest.mark.parametrize("way", WAYS)
def test_faster_ways_agree_with_the_layers(
    way: str, exact: U8, checkpoint_files: Callable[[str], Path], stack: Stack
) -> None:
    generator = Wav2LipGenerator(checkpoint_files("spread"), batch_size=2, **WAYS[way])
    assert_close(generator.generate(stack[0][:4], stack[1][:4]), exact[:4])


def test_bfloat16_stays_near_on_weights_that_behave(checkpoint_files: Callable[[str], Path], stack: Stack) -> None:
    crops, speech = stack
    path = checkpoint_files("behaves")
    full, near = (
        Wav2LipGenerator(path, dtype=dtype, batch_size=2, threads=1).generate(crops[:2], speech[:2])
        for dtype in ("float32", "bfloat16")
    )
    difference = np.abs(full.astype(int) - near)
    assert difference.max() <= 12  # at the edge of the mouth
    assert difference.mean() < 0.5


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 6), max_size=3).map(sorted))
def test_grouping_leaves_no_trace(cuts: list[int], fast: Wav2LipGenerator, stack: Stack) -> None:
    crops, speech = stack
    whole = _whole(fast, stack)
    ends = [0, *cuts, 6]
    pieces = [fast.generate(crops[a:b], speech[a:b]) for a, b in itertools.pairwise(ends)]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_order_leaves_no_trace(fast: Wav2LipGenerator, stack: Stack) -> None:
    crops, speech = stack
    assert np.array_equal(fast.generate(crops[::-1], speech[::-1])[::-1], _whole(fast, stack))


_made: dict[int, U8] = {}


def _whole(generator: Wav2LipGenerator, stack: Stack) -> U8:
    if id(generator) not in _made:
        _made[id(generator)] = generator.generate(*stack)
    return _made[id(generator)]


def test_no_frames(eager: Wav2LipGenerator) -> None:
    empty = eager.generate(np.zeros((0, 96, 96, 3), np.uint8), np.zeros((0, 80, 16), np.float32))
    assert empty.shape == (0, 96, 96, 3)
    assert empty.dtype == np.uint8


def test_inputs_may_be_read_only_and_are_left_alone(eager: Wav2LipGenerator, stack: Stack) -> None:
    crops, speech = (a[:2].copy() for a in stack)
    before = crops.copy(), speech.copy()
    crops.flags.writeable = speech.flags.writeable = False
    eager.generate(crops, speech, landmarks=np.zeros((2, 68, 2), np.float32))
    assert np.array_equal(crops, before[0])
    assert np.array_equal(speech, before[1])


@pytest.mark.parametrize(
    ("crops", "speech", "named"),
    [
        (np.zeros((2, 128, 128, 3), np.uint8), np.zeros((2, 80, 16), np.float32), "crops must be"),
        (np.zeros((2, 96, 96, 3), np.float32), np.zeros((2, 80, 16), np.float32), "crops must be"),
        (np.zeros((2, 96, 96, 3), np.uint8), np.zeros((3, 80, 16), np.float32), "one window per crop"),
        (np.zeros((2, 96, 96, 3), np.uint8), np.zeros((2, 80, 16), np.float64), "speech must be"),
    ],
)
def test_inputs_of_another_shape_are_named(crops: Any, speech: Any, named: str, eager: Wav2LipGenerator) -> None:
    with pytest.raises(ValueError, match=named):
        eager.generate(crops, speech)


def test_speech_that_is_not_finite_is_no_picture(eager: Wav2LipGenerator, stack: Stack) -> None:
    speech = stack[1][:2].copy()
    speech[1, 40, 8] = np.nan
    with pytest.raises(DubError, match="not finite") as caught:
        eager.generate(stack[0][:2], speech)
    assert caught.value.code == "internal"


@pytest.fixture(scope="module")
def hooked(checkpoint_files: Callable[[str], Path]) -> Wav2LipGenerator:
    return Wav2LipGenerator(checkpoint_files("spread"), batch_size=4, threads=1)


@pytest.fixture
def before_each_step(hooked: Wav2LipGenerator) -> Iterator[Hooked]:
    """A generator of batch 4, all fresh, that calls a function with the frames of each step it is about to take."""
    backend: Any = hooked._backend
    handles = []

    def make(act: Callable[[int], None]) -> Wav2LipGenerator:
        handles.append(backend.network.register_forward_pre_hook(lambda _, inputs: act(len(inputs[0]))))
        hooked._batches.size = 4
        return hooked

    yield make
    for handle in handles:
        handle.remove()


def failing(above: int, error: Exception) -> Callable[[int], None]:
    def act(frames: int) -> None:
        if frames > above:
            raise error

    return act


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("not enough memory: you tried to allocate 603979776 bytes."),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "cpu of windows", "numpy"],
)
def test_out_of_memory_halves_the_batch_and_goes_on(
    error: Exception, before_each_step: Hooked, exact: U8, stack: Stack
) -> None:
    generator = before_each_step(failing(2, error))
    assert_close(generator.generate(stack[0][:3], stack[1][:3]), exact[:3])
    assert generator.batch_size == 2
    assert generator.notes == ["wav2lip batch 2 instead of 4: out of memory"]
    generator.generate(stack[0][:1], stack[1][:1])  # the report of the next shard says so too
    assert generator.notes == ["wav2lip batch 2 instead of 4: out of memory"]


def test_frames_before_the_shortage_are_kept(before_each_step: Hooked, stack: Stack) -> None:
    steps: list[int] = []

    def fail_once(frames: int) -> None:
        steps.append(frames)
        if len(steps) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    before_each_step(fail_once).generate(*stack)
    assert steps == [4, 4, 2]  # frames 4 and 5 once more; the first four are not computed again


def test_no_memory_for_a_single_frame(before_each_step: Hooked, stack: Stack) -> None:
    generator = before_each_step(failing(0, torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(DubError, match="single frame") as caught:
        generator.generate(stack[0][:2], stack[1][:2])
    assert caught.value.code == "oom"


def test_another_runtime_error_surfaces(before_each_step: Hooked, stack: Stack) -> None:
    generator = before_each_step(failing(0, RuntimeError("CUDA error: device-side assert triggered")))
    with pytest.raises(RuntimeError, match="device-side assert"):
        generator.generate(stack[0][:2], stack[1][:2])
    assert generator.batch_size == 4


def test_onnx_out_of_memory_halves_the_batch(checkpoint_files: Callable[[str], Path], stack: Stack) -> None:
    generator = Wav2LipGenerator(checkpoint_files("spread"), mode="onnx", batch_size=4, threads=1)
    backend: Any = generator._backend
    session = backend._session

    class Short:
        def run(self, names: None, inputs: dict[str, Any]) -> Any:
            if len(inputs["mel"]) > 2:
                raise backend._failures[0]("BFCArena: Failed to allocate memory for requested buffer of size 9")
            return session.run(names, inputs)

    backend._session = Short()
    generator.generate(stack[0][:3], stack[1][:3])
    assert generator.notes == ["wav2lip batch 2 instead of 4: out of memory"]


def test_threads_come_from_the_settings_in_every_thread(checkpoint_files: Callable[[str], Path], stack: Stack) -> None:
    seen: list[int] = []
    generator = Wav2LipGenerator(checkpoint_files("spread"), threads=2, batch_size=1)
    network: torch.nn.Module = generator._backend.network  # type: ignore[attr-defined]
    network.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))

    def work() -> None:
        torch.set_num_threads(1)  # as in an actor of Ray, which sets OMP_NUM_THREADS=1
        generator.generate(stack[0][:1], stack[1][:1])
        seen.append(torch.get_num_threads())

    before = torch.get_num_threads()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    torch.set_num_threads(before)
    assert seen == [2, 1]


def test_absent_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch, checkpoint_files: Callable[[str], Path]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DubError, match="sees no GPU") as caught:
        Wav2LipGenerator(checkpoint_files("spread"), device="cuda")
    assert caught.value.code == "unsupported"


def test_auto_without_a_gpu_says_what_it_took(
    monkeypatch: pytest.MonkeyPatch, checkpoint_files: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.INFO, logger="stages.lips.wav2lip"):
        generator = Wav2LipGenerator.from_settings(Wav2LipSettings(), checkpoint_files("spread"))
    assert (generator.device, generator.batch_size) == ("cpu", 8)
    assert "wav2lip on cpu (2 threads), fast, float32, batch 8" in caplog.text


def test_float16_without_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DubError, match="float16") as caught:
        Wav2LipGenerator(tmp_path / "unread.pth", device="auto", dtype="float16")
    assert caught.value.code == "unsupported"


def test_missing_onnx_extra_names_the_command(
    monkeypatch: pytest.MonkeyPatch, checkpoint_files: Callable[[str], Path]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DubError, match=r"pip install 'dubline\[cpu\]'") as caught:
        Wav2LipGenerator(checkpoint_files("spread"), mode="onnx")
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"mode": "parity", "dtype": "bfloat16"}, "computes in float32"),
        ({"mode": "onnx", "dtype": "bfloat16"}, "computes in float32"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_settings_that_do_not_fit_together(fields: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=named):
        Wav2LipSettings(**fields)
    with pytest.raises(ValueError, match=named):
        Wav2LipGenerator(tmp_path / "unread.pth", **fields)


@pytest.mark.parametrize(
    ("fields", "named"), [({"mode": "onnx", "device": "cuda"}, "runs on a CPU"), ({"device": "gpu"}, "device")]
)
def test_devices_that_cannot_be(fields: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=named):
        Wav2LipGenerator(tmp_path / "unread.pth", **fields)


def test_onnx_on_a_gpu_is_refused_with_the_settings() -> None:
    with pytest.raises(ValueError, match="runs on a CPU"):
        LipsSettings.model_validate({"generator": "wav2lip", "device": "cuda", "wav2lip": {"mode": "onnx"}})


@pytest.mark.parametrize("weights", [Path("absent/wav2lip.pth"), "absent/wav2lip.pth"])
def test_missing_weights(weights: str | Path) -> None:
    with pytest.raises(DubError, match=r"absent/wav2lip\.pth") as caught:
        Wav2LipGenerator(weights)
    assert caught.value.code == "weights_missing"


def test_name_is_the_registrys_even_beside_a_file_of_that_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DUBLINE_WEIGHTS", str(tmp_path / "empty"))
    Path("wav2lip_gan").write_bytes(b"not what the registry has")
    with pytest.raises(DubError, match="wav2lip_gan") as caught:
        Wav2LipGenerator("wav2lip_gan")
    assert caught.value.code == "weights_missing"
    assert "begins with" not in caught.value.message


def test_settings_cost_no_torch_and_the_generator_no_video_library() -> None:
    code = (
        "import sys, stages.lips.wav2lip.settings, stages.lips.wav2lip as w\n"
        "assert 'torch' not in sys.modules\n"
        "w.Wav2LipGenerator\n"
        "assert 'torch' in sys.modules\n"
        "print([m for m in ('av', 'cv2', 'ray', 'onnxruntime', 'onnx') if m in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


def test_weights_that_behave_keep_the_face_and_open_the_mouth(
    checkpoint_files: Callable[[str], Path],
) -> None:
    generator = Wav2LipGenerator(checkpoint_files("behaves"), batch_size=2, threads=1)
    ramp = np.linspace(40, 220, 96).astype(np.uint8)
    crop = np.broadcast_to(ramp[:, None, None], (96, 96, 3))
    silent, loud = np.full((80, 16), -4, np.float32), np.full((80, 16), 0, np.float32)
    closed, opened = generator.generate(np.stack([crop, crop]), np.stack([silent, loud]))
    assert np.abs(closed.astype(int) - crop).max() <= 2
    change = np.abs(opened.astype(int) - closed).max(axis=2)
    rows, columns = np.nonzero(change > 40)
    assert 64 <= rows.min() < 72 < rows.max() <= 80
    assert 30 <= columns.min() < 48 < columns.max() <= 66
    assert not change[:60].any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gpu_agrees_with_the_cpu(dtype: Any, checkpoint_files: Callable[[str], Path], stack: Stack) -> None:
    path = checkpoint_files("behaves")
    on_cpu = Wav2LipGenerator(path).generate(*stack)
    generator = Wav2LipGenerator(path, device="cuda", dtype=dtype)
    on_gpu = generator.generate(*stack)
    difference = np.abs(on_gpu.astype(int) - on_cpu)
    assert difference.max() <= (1 if dtype == "float32" else 12)
    assert difference.mean() < (0.01 if dtype == "float32" else 0.5)
    pieces = [generator.generate(stack[0][a:b], stack[1][a:b]) for a, b in ((0, 2), (2, 6))]
    assert np.array_equal(np.concatenate(pieces), on_gpu)
    assert generator.notes == []
