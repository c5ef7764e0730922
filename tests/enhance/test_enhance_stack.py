"""A stack through the enhancer: what the network is shown, and where its answer lands."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.arrays import I32, U8
from stages.crops.landmarks.five import five_of
from stages.crops.landmarks.template import place
from stages.crops.types import CONTEXT_PX, FaceStack
from stages.enhance.align import similarity
from stages.enhance.enhance import PATCH_PX, enhance, enhance_key
from stages.enhance.restorer import GfpganRestorer
from stages.enhance.settings import EnhanceSettings
from stages.errors import DubError
from stages.weights import Weights
from tests.faces.portraits import astronaut

BOX = (160, 61, 287, 197)
SETTINGS = EnhanceSettings(model="gfpgan", threads=2)


class Fake:
    """Restores by a function, and keeps what it was shown."""

    def __init__(self, work: Callable[[U8], U8] = lambda face: face, batch_size: int = 2) -> None:
        self.notes: list[str] = ["of the stack before"]
        self.batch_size = batch_size
        self.shown: list[U8] = []
        self.sizes: list[int] = []
        self._work = work

    def restore(self, faces: U8) -> U8:
        self.notes = []
        self.sizes.append(len(faces))
        self.shown += list(faces)
        return np.stack([self._work(face) for face in faces])


def surroundings(picture: U8, box: I32) -> tuple[U8, I32]:
    """The square round a box (musetalk.md 4.8.2), black beyond the picture."""
    half = int((max(box[2] - box[0], box[3] - box[1]) // 2) * 1.5)
    x, y = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
    square = np.array([x - half, y - half, x + half, y + half], np.int32)
    wide = cv2.copyMakeBorder(picture, *[600] * 4, cv2.BORDER_CONSTANT)
    cut = wide[square[1] + 600 : square[3] + 600, square[0] + 600 : square[2] + 600]
    return cv2.resize(cut, (CONTEXT_PX, CONTEXT_PX), interpolation=cv2.INTER_LINEAR), square


def stack_of(picture: U8, *boxes: tuple[int, int, int, int], px: int = 256) -> FaceStack:
    """Faces of one picture whose patches are their own crops."""
    at = np.array(boxes, np.int32)
    crops = [cv2.resize(picture[y0:y1, x0:x1], (px, px), interpolation=cv2.INTER_CUBIC) for x0, y0, x1, y1 in boxes]
    context, squares = zip(*(surroundings(picture, box) for box in at), strict=True)
    n = len(boxes)
    return FaceStack(
        np.arange(n),
        np.stack(crops),
        at,
        place(at.astype(np.float32)),
        np.ones(n, np.float32),
        np.stack(context),
        np.stack(squares),
    )


def rolled(stack: FaceStack, degrees: float) -> FaceStack:
    """The same boxes with the landmarks turned about their middle: the network gets the face upright."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = stack.landmarks.mean(axis=1, keepdims=True)
    return replace(stack, landmarks=((stack.landmarks - middle) @ turn.T + middle).astype(np.float32))


@pytest.fixture(scope="module")
def stack() -> FaceStack:
    return stack_of(astronaut(), BOX)


def grain(side: int, seed: int = 3, soft: float = 2.0) -> U8:
    random = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(random.uniform(-1, 1, (side, side)), (0, 0), soft)
    return np.clip(128 + 300 * noise, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


def grown(patch: U8) -> U8:
    return cv2.resize(patch, (PATCH_PX, PATCH_PX), interpolation=cv2.INTER_CUBIC)


def shift_between(first: U8, second: U8) -> float:
    """How far the one lies from the other, in px."""
    (dx, dy), _ = cv2.phaseCorrelate(first[..., 1].astype(np.float64), second[..., 1].astype(np.float64))
    return float(np.hypot(dx, dy))


@pytest.mark.parametrize("px", [96, 256])
@pytest.mark.parametrize("degrees", [0, 20, -35])
def test_a_patch_comes_back_where_it_lay(px: int, degrees: float, stack: FaceStack) -> None:
    """A pattern wholly within the mask, turned upright and back: half a pixel of 512 would be seen."""
    marked = replace(stack, pixels=grain(px, soft=px / 60)[None], masks=np.full((1, 64, 64), 255, np.uint8))
    back = enhance(rolled(marked, degrees), Fake(), SETTINGS).pixels[0]
    inner = np.s_[96:416, 96:416]
    before = grown(marked.pixels[0])
    assert shift_between(before[inner], back[inner]) < 0.15
    assert np.abs(before[inner].astype(int) - back[inner]).mean() < 4


def test_the_network_is_shown_the_new_mouth_in_the_old_face(stack: FaceStack) -> None:
    restorer = Fake()
    green = replace(stack, pixels=np.full_like(stack.pixels, (0, 255, 0)))
    enhance(green, restorer, SETTINGS)
    shown = restorer.shown[0].astype(int)
    mouth = shown[360:395, 230:280]
    assert np.abs(mouth - (0, 255, 0)).max() <= 2
    own = Fake()
    enhance(stack, own, SETTINGS)
    eyes = np.s_[200:280, 150:350]
    assert np.array_equal(shown[eyes], own.shown[0][eyes])
    assert shown[eyes].std() > 20


def test_it_is_shown_upright_on_the_template(stack: FaceStack) -> None:
    """The portrait's own pixels at the template's points, whatever the warp is made of."""
    restorer = Fake()
    enhance(stack, restorer, SETTINGS)
    matrix = similarity(five_of(stack.landmarks))[0]
    expected = cv2.warpAffine(astronaut(), matrix, (512, 512), flags=cv2.INTER_LINEAR)
    inner = np.s_[140:420, 140:380]
    assert shift_between(expected[inner], restorer.shown[0][inner]) < 1
    assert np.abs(expected[inner].astype(int) - restorer.shown[0][inner]).mean() < 4


def test_beyond_the_surroundings_it_is_shown_grey(stack: FaceStack) -> None:
    restorer = Fake()
    enhance(rolled(stack, 40), restorer, SETTINGS)
    assert restorer.shown[0][0, 0].tolist() == [135, 133, 132]


def test_masks_say_what_is_shown_and_stay(stack: FaceStack) -> None:
    masks = np.zeros((1, 128, 128), np.uint8)
    masks[0, 32:64, 32:96] = 255
    restorer = Fake()
    green = replace(stack, pixels=np.full_like(stack.pixels, (0, 255, 0)), masks=masks)
    done = enhance(green, restorer, SETTINGS)
    assert done.masks is not None
    assert np.array_equal(done.masks, masks)
    back = enhance(replace(green, masks=masks), Fake(), SETTINGS).pixels[0]
    assert np.abs(back[150:240, 150:360].astype(int) - (0, 255, 0)).max() <= 3  # within the mask
    assert np.abs(back[300:].astype(int) - (0, 255, 0)).max(axis=2).min() > 30  # below it, the old face


def test_colours_stay_in_their_order(stack: FaceStack) -> None:
    paint = np.zeros_like(stack.pixels)
    paint[...] = (200, 100, 30)
    all_of_it = replace(stack, pixels=paint, masks=np.full((1, 16, 16), 255, np.uint8))
    back = enhance(all_of_it, Fake(), SETTINGS).pixels[0]
    assert np.abs(back[64:448, 64:448].astype(int) - (200, 100, 30)).max() <= 1


def test_strength_0_gives_the_patches_back(stack: FaceStack) -> None:
    restorer = Fake(lambda face: face * 0)
    done = enhance(stack, restorer, SETTINGS.model_copy(update={"strength": 0.0}))
    assert np.array_equal(done.pixels, stack.pixels)
    assert done.context is None
    assert done.context_boxes is None
    assert (restorer.shown, restorer.notes) == ([], [])


def test_strength_mixes(stack: FaceStack) -> None:
    black = Fake(lambda face: face * 0)
    half = enhance(stack, black, SETTINGS.model_copy(update={"strength": 0.5})).pixels[0].astype(float)
    inner = np.s_[64:448, 64:448]
    assert np.abs(half[inner] - grown(stack.pixels[0])[inner] / 2).max() <= 1
    assert enhance(stack, black, SETTINGS).pixels[0][inner].max() == 0


def test_restored_is_what_is_inside_the_square(stack: FaceStack) -> None:
    """A box that reaches beyond the network's square keeps the generator's pixels there, without an edge between."""
    far = replace(stack, boxes=np.array([[60, 0, 400, 330]], np.int32))
    white = grown(enhance(replace(far, pixels=far.pixels * 0), Fake(lambda face: face * 0 + 255), SETTINGS).pixels[0])
    assert white[256, 256].tolist() == [255, 255, 255]
    assert white[0, 0].max() == white[-1, -1].max() == 0
    assert np.abs(np.diff(white[..., 0].astype(int), axis=1)).max() < 40


def test_faces_without_usable_landmarks_are_left_alone_and_counted() -> None:
    stack = stack_of(astronaut(), BOX, BOX, BOX)
    landmarks = stack.landmarks.copy()
    landmarks[1] = np.nan
    restorer = Fake(lambda face: face * 0)
    done = enhance(replace(stack, landmarks=landmarks), restorer, SETTINGS)
    assert np.array_equal(done.pixels[1], grown(stack.pixels[1]))
    assert done.pixels[0][256, 256].max() == done.pixels[2][256, 256].max() == 0
    assert restorer.notes == ["gfpgan left 1 of 3 faces alone: no usable landmarks"]
    assert sum(restorer.sizes) == 2


def test_none_has_usable_landmarks(stack: FaceStack) -> None:
    restorer = Fake()
    done = enhance(replace(stack, landmarks=np.full_like(stack.landmarks, np.nan)), restorer, SETTINGS)
    assert np.array_equal(done.pixels[0], grown(stack.pixels[0]))
    assert restorer.notes == ["gfpgan left 1 of 1 faces alone: no usable landmarks"]


def test_a_frame_does_not_depend_on_its_shard() -> None:
    """Boxes of all sizes: one size of patches for all, and each frame alone is as in company."""
    boxes = [(160 - k, 61 - k, 287 + k, 197 + k) for k in range(0, 45, 9)]
    stack = stack_of(astronaut(), *boxes)
    blurred = Fake(lambda face: cv2.GaussianBlur(face, (0, 0), 3))
    whole = enhance(stack, blurred, SETTINGS)
    assert whole.pixels.shape == (5, PATCH_PX, PATCH_PX, 3)
    for k, box in enumerate(boxes):
        alone = enhance(stack_of(astronaut(), box), blurred, SETTINGS.model_copy(update={"threads": 1}))
        assert np.array_equal(alone.pixels[0], whole.pixels[k])
    assert np.array_equal(whole.boxes, stack.boxes)
    assert np.array_equal(whole.frames, stack.frames)


def test_memory_is_bounded_by_pieces_of_whole_steps() -> None:
    stack = stack_of(astronaut(64), (20, 8, 36, 26), px=16)  # eyes of 6 px: barely enough to be aligned
    many = FaceStack(
        **{
            field: np.repeat(getattr(stack, field), 40, axis=0)
            for field in ("frames", "pixels", "boxes", "landmarks", "weight", "context", "context_boxes")
        }
    )
    for batch_size, sizes in ((1, [32, 8]), (8, [32, 8]), (5, [30, 10]), (38, [38, 2])):
        restorer = Fake(batch_size=batch_size)
        enhance(many, restorer, SETTINGS)
        assert restorer.sizes == sizes


def test_an_error_of_the_network_surfaces(stack: FaceStack) -> None:
    def full(face: U8) -> U8:
        raise DubError("oom", "gfpgan cannot fit a single frame into memory")

    with pytest.raises(DubError, match="single frame"):
        enhance(stack, Fake(full), SETTINGS)


def test_a_stack_without_surroundings_is_an_error(stack: FaceStack) -> None:
    with pytest.raises(ValueError, match="surroundings"):
        enhance(replace(stack, context=None), Fake(), SETTINGS)


def test_survives_the_payload(stack: FaceStack) -> None:
    done = enhance(FaceStack.from_bytes(stack.to_bytes()), Fake(), SETTINGS)
    again = FaceStack.from_bytes(done.to_bytes())
    assert again.context is None
    assert np.array_equal(again.pixels, done.pixels)


def test_key_follows_the_settings_and_the_weights(tmp_path: Path) -> None:
    path, other = tmp_path / "a.pth", tmp_path / "b.pth"
    path.write_bytes(b"a")
    other.write_bytes(b"b")
    base = EnhanceSettings(model="gfpgan", weights=str(path))
    keys = {
        enhance_key(settings, Weights())
        for settings in (
            base,
            base.model_copy(update={"strength": 0.5}),
            base.model_copy(update={"dtype": "bfloat16"}),
            base.model_copy(update={"batch_size": 4}),
            base.model_copy(update={"weights": str(other)}),
        )
    }
    assert len(keys) == 5
    assert enhance_key(base, Weights()) in keys
    by_a_row = EnhanceSettings(weights=str(path))
    assert enhance_key(by_a_row, Weights()) == enhance_key(base, Weights())


def test_with_the_network(stack: FaceStack, behaving: GfpganRestorer) -> None:
    """Weights that give the face back: the patch comes back, softer by the network's half resolution."""
    done = enhance(stack, behaving, SETTINGS).pixels[0]
    mouth = np.s_[300:460, 130:380]  # elsewhere the restored face is the old one, not the patch
    assert shift_between(grown(stack.pixels[0])[mouth], done[mouth]) < 0.5
    assert np.abs(done[mouth].astype(int) - grown(stack.pixels[0])[mouth]).mean() < 6
