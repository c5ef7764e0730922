"""S3FD behind our interface, on a checkpoint with the official keys and shapes (wav2lip.md 2.5) and known values."""

import numpy as np
import pytest
import torch
from face_alignment.detection.sfd.bbox import decode
from face_alignment.detection.sfd.net_s3fd import s3fd

from stages.errors import DubError
from stages.faces.sfd import Sfd

# wav2lip.md 2.5: name -> (out, in, kernel); three norms hold a weight only.
LAYERS = {
    "conv1_1": (64, 3, 3),
    "conv1_2": (64, 64, 3),
    "conv2_1": (128, 64, 3),
    "conv2_2": (128, 128, 3),
    "conv3_1": (256, 128, 3),
    "conv3_2": (256, 256, 3),
    "conv3_3": (256, 256, 3),
    "conv4_1": (512, 256, 3),
    "conv4_2": (512, 512, 3),
    "conv4_3": (512, 512, 3),
    "conv5_1": (512, 512, 3),
    "conv5_2": (512, 512, 3),
    "conv5_3": (512, 512, 3),
    "fc6": (1024, 512, 3),
    "fc7": (1024, 1024, 1),
    "conv6_1": (256, 1024, 1),
    "conv6_2": (512, 256, 3),
    "conv7_1": (128, 512, 1),
    "conv7_2": (256, 128, 3),
    "conv3_3_norm": (256,),
    "conv4_3_norm": (512,),
    "conv5_3_norm": (512,),
    "conv3_3_norm_mbox_conf": (4, 256, 3),
    "conv3_3_norm_mbox_loc": (4, 256, 3),
    "conv4_3_norm_mbox_conf": (2, 512, 3),
    "conv4_3_norm_mbox_loc": (4, 512, 3),
    "conv5_3_norm_mbox_conf": (2, 512, 3),
    "conv5_3_norm_mbox_loc": (4, 512, 3),
    "fc7_mbox_conf": (2, 1024, 3),
    "fc7_mbox_loc": (4, 1024, 3),
    "conv6_2_mbox_conf": (2, 512, 3),
    "conv6_2_mbox_loc": (4, 512, 3),
    "conv7_2_mbox_conf": (2, 256, 3),
    "conv7_2_mbox_loc": (4, 256, 3),
}
# wav2lip.md 8.1: first and last element of a map, conf1 after the max-out.
VECTORS = {
    0: (-0.040311372, -0.064310864),
    1: (0.128033435, 0.054413112),
    2: (0.015880100, -0.045821771),
    5: (-0.046846805, -0.056491789),
    6: (0.091494060, 0.054563335),
    8: (-0.101260426, 0.113546724),
    11: (0.080789067, 0.054353948),
}


def sequence(count: int, tag: int) -> np.ndarray:
    """u(n, j) of wav2lip.md 8.1."""
    i = np.arange(count, dtype=np.int64)
    return (((i * i % 9973) * 31 + i * 7919 + tag * 104729) % 1009) / 504.5 - 1


def filled_state() -> dict[str, torch.Tensor]:
    """The deterministic fill of wav2lip.md 8.1."""
    state: dict[str, torch.Tensor] = {}
    for name, shape in LAYERS.items():
        full = {"weight": (*shape[:2], shape[2], shape[2]), "bias": shape[:1]} if len(shape) == 3 else {"weight": shape}
        for part, size in full.items():
            u = sequence(int(np.prod(size)), len(state)).reshape(size)
            if len(size) > 1:
                u = u / np.sqrt(u.size / size[0])
            elif part == "weight":
                u = 1 + 0.1 * u
            else:
                u = 0.1 * u
            state[f"{name}.{part}"] = torch.from_numpy(u.astype(np.float32))
    return state


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("sfd") / "s3fd.pth"
    torch.save(filled_state(), path)
    return path


@pytest.fixture(scope="module")
def picture():
    return ((sequence(64 * 96 * 3, 904) + 1) * 127).astype(np.uint8).reshape(64, 96, 3)


def boxes_of_the_official_script(net: s3fd, picture: np.ndarray) -> np.ndarray:
    """wav2lip.md 4.1, steps 1 to 7, for one BGR picture: [k, 5] x0, y0, x1, y1, score."""
    rgb = picture[:, :, ::-1].astype(np.float32) - np.array([104, 117, 123], np.float32)
    with torch.no_grad():
        maps = net(torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None])
    rows = []
    for n in range(6):
        score = torch.softmax(maps[2 * n][0], 0)[1].numpy()
        for h, w in np.argwhere(score > 0.05):
            stride, side = 2 ** (n + 2), 2 ** (n + 4)
            loc = maps[2 * n + 1][0, :, h, w].numpy()
            centre = stride / 2 + np.array([w, h]) * stride + loc[:2] * 0.1 * side
            half = side * np.exp(loc[2:] * 0.2) / 2
            rows.append([*(centre - half), *(centre + half), score[h, w]])
    rows = sorted(rows, key=lambda r: -r[4])
    kept: list[np.ndarray] = []
    for row in np.array(rows):
        for other in kept:
            low, high = np.maximum(row[:2], other[:2]), np.minimum(row[2:4], other[2:4])
            shared = np.prod(np.maximum(high - low + 1, 0))
            areas = np.prod(row[2:4] - row[:2] + 1) + np.prod(other[2:4] - other[:2] + 1)
            if shared / (areas - shared) > 0.3:
                break
        else:
            kept.append(row)
    return np.array([row for row in kept if row[4] > 0.5])


def test_checkpoint_is_the_official_one_in_keys_shapes_and_numbers(checkpoint):
    state = torch.load(checkpoint, weights_only=True)
    assert len(state) == 65
    assert sum(t.numel() for t in state.values()) == 22_459_110
    net = s3fd().eval()
    net.load_state_dict(state)
    assert list(net.state_dict()) == list(state)
    image = torch.from_numpy((100 * sequence(3 * 64 * 96, 904)).astype(np.float32)).reshape(1, 3, 64, 96)
    with torch.no_grad():
        maps = net(image)
    conf1 = maps[0]
    for k, (first, last) in VECTORS.items():
        flat = maps[k].flatten()
        if k == 0:
            assert conf1.shape == (1, 2, 16, 24)
        assert flat[0].item() == pytest.approx(first, abs=2e-5)
        assert flat[-1].item() == pytest.approx(last, abs=2e-5)


def test_decode_vector_of_the_reference():
    prior, loc = np.array([[44.0, 28.0, 32.0, 32.0]]), np.array([[0.5, -0.25, 0.1, -0.2]])
    found = decode(loc, prior, [0.1, 0.2])[0]
    np.testing.assert_allclose(found, [29.2768, 11.8274, 61.9232, 42.5726], atol=1e-4)  # wav2lip.md 8.3


def test_official_box_is_the_scripts_best_in_whole_pixels(checkpoint, picture):
    found = Sfd(checkpoint, None, 0.0, official=True, threads=1).detect(picture)
    net = s3fd().eval()
    net.load_state_dict(torch.load(checkpoint, weights_only=True))
    expected = boxes_of_the_official_script(net, picture)
    assert len(found.scores) == 1
    np.testing.assert_array_equal(found.boxes[0], np.trunc(np.maximum(expected[0, :4], 0)))
    assert found.scores[0] == pytest.approx(expected[0, 4], abs=1e-5)
    assert np.isnan(found.points).all()


def test_official_swaps_the_colours_and_the_other_mode_does_not(checkpoint, picture):
    def first_pixel_the_network_sees(official: bool) -> list[float]:
        detector = Sfd(checkpoint, None, 0.0, official=official, threads=1)
        seen: list[torch.Tensor] = []
        hook = detector._detector.face_detector.conv1_1.register_forward_hook(lambda _, args, __: seen.append(args[0]))
        detector.detect(picture)
        hook.remove()
        return seen[0][0, :, 0, 0].tolist()

    blue, green, red = (float(v) for v in picture[0, 0])
    assert first_pixel_the_network_sees(official=True) == [red - 104, green - 117, blue - 123]
    assert first_pixel_the_network_sees(official=False) == [blue - 104, green - 117, red - 123]


def test_the_other_mode_keeps_every_face_as_found(checkpoint, picture):
    found = Sfd(checkpoint, None, 0.0, official=False, threads=1).detect(picture)
    net = s3fd().eval()
    net.load_state_dict(torch.load(checkpoint, weights_only=True))
    expected = boxes_of_the_official_script(net, picture[:, :, ::-1])
    assert len(found.scores) == len(expected) > 1
    np.testing.assert_allclose(found.boxes, expected[:, :4], atol=1e-2)


def test_picture_without_a_face_gives_no_box(checkpoint, picture):
    found = Sfd(checkpoint, None, 0.999, official=True, threads=1).detect(picture)
    assert found.boxes.shape == (0, 4)


@pytest.mark.parametrize("content", [b"not weights", b""])
def test_file_that_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "s3fd.pth"
    path.write_bytes(content)
    with pytest.raises(DubError, match="weights fetch s3fd") as caught:
        Sfd(path, None, 0.3, official=True, threads=1)
    assert caught.value.code == "weights_missing"
    assert str(path) in caught.value.message


def test_checkpoint_of_another_network_is_named(tmp_path):
    path = tmp_path / "s3fd.pth"
    torch.save({"conv1_1.weight": torch.zeros(1)}, path)
    with pytest.raises(DubError, match="weights fetch s3fd"):
        Sfd(path, None, 0.3, official=True, threads=1)
