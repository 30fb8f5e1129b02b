"""Heat by gradients and by occlusion, and the deletion test, against answers worked out by hand or by brute force."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from inference.heat import centre_of, deletion, grad_cam, occlusion, of_features, together
from systems.heat import Features, enlarged, last_features
from systems.medics.heat import ClipHeatModel
from systems.medics.models import MODELS, ClipModel, FrameModel, create_model
from systems.ntechlab.checkpoints import LoadedClassifier
from systems.ntechlab.heat import TrackHeatModel
from systems.sample import Sample
from systems.seferbekov.checkpoints import LoadedModel
from systems.seferbekov.heat import FaceHeatModel


def as_it_is(heat):
    return heat


def features(activations, gradients, place=as_it_is):
    return Features(
        activations=np.array(activations, np.float32), gradients=np.array(gradients, np.float32), place=place
    )


# Grad-CAM


class TwoChannels(nn.Module):
    """One channel of 7 x 7 to two, x and -x, their mean, and the logit 2 * first + 3 * second."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.conv.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
        self.fc = nn.Linear(2, 1)
        self.fc.weight.data = torch.tensor([[2.0, 3.0]])
        self.requires_grad_(False)

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))


def test_grad_cam_of_a_network_by_hand():
    """The weights are 2 / 49 and 3 / 49, so that heat is relu(2 x - 3 x) / 49: what is negative is hot."""
    network = TwoChannels()
    x = torch.arange(-24.0, 25).view(1, 1, 7, 7)
    [(activations, gradients)] = last_features(network, [network.conv], x, torch.sum)
    assert np.array_equal(activations[0], np.stack([x[0, 0], -x[0, 0]]))
    assert np.allclose(gradients[0, 0], 2 / 49) and np.allclose(gradients[0, 1], 3 / 49)
    heat = of_features(features(activations[0, :, None], gradients[0, :, None]))
    assert np.allclose(heat[0], np.maximum(-x[0, 0].numpy(), 0) / 49)
    assert not any(module._forward_hooks for module in network.modules())


def test_each_place_has_its_own_gradient():
    """Two channels over two frames of one row and two columns: products, summed over the channels, cut off below 0."""
    activations = [[[[1, 2]], [[3, 4]]], [[[0, 1]], [[1, 0.5]]]]
    gradients = [[[[1, 3]], [[-1, 1]]], [[[-2, -2]], [[-4, 0]]]]
    assert of_features(features(activations, gradients)).tolist() == [[[1, 4]], [[0, 4]]]


def test_what_all_places_have_in_common_points_to_none():
    """5, 7, 6 are 0, 2, 1; all alike there is no heat, nor where everything speaks against a fake."""
    assert of_features(features([[[[5, 7, 6]]]], [[[[1, 1, 1]]]])).tolist() == [[[0, 2, 1]]]
    assert not of_features(features([[[[5, 5]]]], [[[[1, 1]]]])).any()
    assert not of_features(features([[[[5, 7]]]], [[[[-1, -1]]]])).any()


class Layers:
    """A model whose layers are the brightness of the pixels, times a factor each."""

    def __init__(self, *factors):
        self._factors = factors

    def features(self, sample):
        bright = sample.pixels.mean(axis=3, dtype=np.float32)[None]
        return [features(bright * factor, np.ones_like(bright)) for factor in self._factors]


class LeftHalf(Layers):
    """It looks at the left half of what it gets."""

    def features(self, sample):
        half = np.zeros_like(sample.pixels)
        half[:, :, : half.shape[2] // 2] = sample.pixels[:, :, : half.shape[2] // 2]
        return super().features(replace(sample, pixels=half))


def pixels_of(*rows):
    return np.repeat(np.array([rows], np.uint8)[..., None], 3, axis=3)


def test_layers_count_alike_however_large_their_features_are():
    """Each has its hottest place as 1, but one without heat."""
    seen = sample(pixels_of((0, 50, 100, 20)))
    assert grad_cam(Layers(1), seen).tolist() == pytest.approx(np.array([[[0, 0.5, 1, 0.2]]]))
    assert grad_cam(Layers(1, 9), seen).tolist() == pytest.approx(np.array([[[0, 0.5, 1, 0.2]]]))
    assert grad_cam(Layers(1, -1), seen).tolist() == pytest.approx(np.array([[[0, 0.25, 0.5, 0.1]]]))


def test_the_mirror_image_is_asked_too():
    """What it says of its left half is true of the right one: (0.5, 1, 0, 0) and (0, 0, 1, 0.2), halved."""
    heat = grad_cam(LeftHalf(1), sample(pixels_of((50, 100, 100, 20))))
    assert heat.tolist() == pytest.approx(np.array([[[0.25, 0.5, 0.5, 0.1]]]))


@pytest.mark.parametrize(
    ("side", "wanted"),
    [(24, [(1, 4, 6, 6)]), (20, [(1, 4, 5, 5), (1, 2, 10, 10)]), (8, [(1, 4, 2, 2), (1, 2, 4, 4)])],
)
def test_the_last_features_that_are_fine_enough(side, wanted):
    """Six cells a side are enough; where the last layer has fewer, the finer one counts too."""
    fine = nn.Conv2d(1, 2, 2, stride=2)
    coarse = nn.Conv2d(2, 4, 2, stride=2)
    network = nn.Sequential(fine, nn.ReLU(), coarse).requires_grad_(False)
    found = last_features(network, [coarse, fine], torch.rand(1, 1, side, side), torch.sum)
    assert [activations.shape for activations, _ in found] == [gradients.shape for _, gradients in found] == wanted
    assert (found[0][1] == 1).all()  # of a sum by its terms


def test_gradients_of_a_layer_before_the_last_go_through_it():
    """y = 2 relu(x) + 1, z = 5 y: of z by relu(x) 10, by y 5, where the sum of y is what z is."""
    network = nn.Sequential(nn.Identity(), nn.ReLU(), nn.Conv2d(1, 1, 1), nn.Identity(), nn.Conv2d(1, 1, 1, bias=False))
    network[2].weight.data.fill_(2)
    network[2].bias.data.fill_(1)
    network[4].weight.data.fill_(5)
    x = torch.tensor([[-1.0, 3.0]]).view(1, 1, 1, 2)
    last, before = last_features(network.requires_grad_(False), [network[3], network[1]], x, torch.sum)
    assert last[0].ravel().tolist() == [1, 7] and last[1].ravel().tolist() == [5, 5]
    assert before[0].ravel().tolist() == [0, 3] and before[1].ravel().tolist() == [10, 10]


def test_heat_is_enlarged_between_the_middles_of_cells():
    assert enlarged(np.array([[[0, 1]]], np.float32), (1, 1, 4)).tolist() == [[[0, 0.25, 0.75, 1]]]
    assert enlarged(np.array([[[2]], [[6]]], np.float32), (4, 1, 1)).ravel().tolist() == [2, 3, 5, 6]


# the systems' own


class BrightEncoder(nn.Module):
    """What FaceHeatModel looks at in a DeepFakeClassifier, and TrackHeatModel in a timm network."""

    def __init__(self, grid):
        super().__init__()
        self.bn2 = nn.AdaptiveAvgPool2d(grid)
        self.blocks = nn.ModuleList(nn.Identity() for _ in range(7))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.bn2(x.mean(1, keepdim=True) + 3).mean((2, 3))


class OnEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = BrightEncoder((32, 32))

    def forward(self, x):
        return self.encoder(x)


def spot(shape, place):
    """Grey pixels with a bright spot, whose cell of an eighth of each side is at `place` (row, column)."""
    pixels = np.full((*shape, 3), 40, np.uint8)
    rows, columns = (slice(side * at // 8, side * (at + 1) // 8) for side, at in zip(shape[1:], place, strict=True))
    pixels[:, rows, columns] = 255
    return pixels


def hottest(heat):
    """Frame, and eighth of the rows and columns, of the hottest pixel."""
    frame, row, column = np.unravel_index(heat.argmax(), heat.shape)
    return frame, 8 * row // heat.shape[1], 8 * column // heat.shape[2]


def sample(pixels, **more):
    frames = tuple(range(len(pixels)))
    return Sample(pixels=pixels, frames=frames, track=0, bbox=(0, 0, 9, 9), detector_score=0.9, **more)


@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 120, 60), (1, 30, 90)])
def test_a_crop_of_any_shape_has_its_heat_where_the_spot_is(shape):
    """The model sees it in the middle of a black square."""
    model = FaceHeatModel(LoadedModel(module=OnEncoder(), input_size=128, encoder="b0"), torch.device("cpu"))
    pixels = spot(shape, (1, 6))
    heat = grad_cam(model, sample(pixels))
    assert heat.shape == shape
    column, row = centre_of(np.maximum(heat - heat.mean() - 2 * heat.std(), 0))
    assert abs(column - 6.5 / 8) < 0.03 and abs(row - 1.5 / 8) < 0.03


def test_a_sequence_has_its_heat_where_and_when_the_spot_is():
    network = BrightEncoder((8, 8))
    model = TrackHeatModel(LoadedClassifier(network=network, role="seq", encoder="b0"), torch.device("cpu"))
    pixels = np.concatenate([spot((3, 224, 192), (0, 0)), spot((4, 224, 192), (5, 2))])
    pixels[3:] //= 2  # so that the first three are hotter
    heat = grad_cam(model, sample(pixels, role="seq", model=0))
    assert heat.shape == (7, 224, 192)
    assert hottest(heat)[1:] == (0, 0) and hottest(heat)[0] < 3
    assert hottest(heat[3:])[1:] == (5, 2)


class Clips(nn.Module):
    """A 3D network: FAKE's logit is the brightness, REAL's is 0; a cell has 28 x 28 pixels of one frame."""

    def __init__(self):
        super().__init__()
        self.layer3, self.layer4 = nn.Identity(), nn.AvgPool3d((1, 28, 28))

    def forward(self, x):
        bright = self.layer4(self.layer3(x).mean(1, keepdim=True) + 3).flatten(1).mean(1)
        return torch.stack([bright, torch.zeros_like(bright)], dim=1)


class Pictures(nn.Module):
    """A 2D network: the brightness, by cells of 32 pixels."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict({"layer3": nn.Identity(), "layer4": nn.AvgPool2d(32)})

    def forward(self, x):
        return self.backbone["layer4"](self.backbone["layer3"](x).mean(1, keepdim=True) + 3).flatten(1).mean(1)


def clip_with_spot():
    """Six pictures of 256 x 256, the fifth with a bright square in the right upper quarter."""
    pixels = np.full((6, 256, 256, 3), 40, np.uint8)
    pixels[4, 44:72, 184:212] = 255
    return pixels


def test_a_clip_has_its_heat_where_and_when_the_spot_is():
    """The edge that is not seen has none."""
    model = ClipHeatModel(ClipModel(MODELS["mc3_224"], Clips()), torch.device("cpu"))
    heat = grad_cam(model, sample(clip_with_spot(), model=0, role="mc3_224"))
    frame, row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert frame == 4 and 44 <= row < 72 and 184 <= column < 212
    assert not heat[:, :16].any() and not heat[:, :, -16:].any()


def test_pictures_have_their_heat_where_and_when_the_spot_is():
    """Every other one is mirrored for the model."""
    model = ClipHeatModel(FrameModel(MODELS["seresnext50"], Pictures()), torch.device("cpu"))
    for frame in (3, 4):
        pixels = np.roll(clip_with_spot(), frame - 4, axis=0)
        (each,) = model.features(sample(pixels, model=0, role="seresnext50"))
        heat = of_features(each)
        at, row, column = np.unravel_index(heat.argmax(), heat.shape)
        assert at == frame and 32 <= row < 96 and 160 <= column < 224


@pytest.mark.parametrize(
    ("name", "cells"), [("i3d", 7), ("res34", 7), ("mc3_224", 14), ("r2p1_112", 7), ("seresnext50", 8)]
)
def test_published_networks_have_fine_last_features(name, cells):
    """No layer before them is asked, and heat is as large as the clip."""
    torch.manual_seed(0)
    model = create_model(name).eval().requires_grad_(False)
    pixels = np.random.default_rng(0).integers(0, 255, (9, 256, 256, 3), dtype=np.uint8)
    (last,) = ClipHeatModel(model, torch.device("cpu")).features(sample(pixels, model=0, role=name))
    assert last.activations.shape[2:] == (cells, cells)
    assert last.gradients.shape == last.activations.shape and last.gradients.any()
    heat = of_features(last)
    assert heat.shape == (9, 256, 256) and heat.min() >= 0


# occlusion


def brightness_of(weights):
    """A score that no single square explains: a sigmoid of weighted brightness, and its square."""

    def score(pictures):
        sums = np.array([(picture.mean(axis=(0, 3)) * weights).sum() for picture in pictures])
        return 1 / (1 + np.exp(-sums / 4000)) ** 2

    return score


def test_occlusion_equals_brute_force():
    draw = np.random.default_rng(5)
    pixels = draw.integers(1, 255, (2, 24, 17, 3), dtype=np.uint8)
    score = brightness_of(draw.normal(0, 1, (24, 17)))
    rows, columns = ([round(side * n / 8) for n in range(9)] for side in (24, 17))
    expected = np.zeros((24, 17))
    for y in range(24):
        for x in range(17):
            drops = []
            for top in range(7):
                for left in range(7):
                    if rows[top] <= y < rows[top + 2] and columns[left] <= x < columns[left + 2]:
                        hidden = pixels.copy()
                        hidden[:, rows[top] : rows[top + 2], columns[left] : columns[left + 2]] = 0
                        drops.append(score([pixels])[0] - score([hidden])[0])
            expected[y, x] = max(0, np.mean(drops))
    told = []
    heat = occlusion(score, pixels, told.append)
    assert heat.shape == (2, 24, 17) and (heat > 0).any() and (heat == 0).any()
    assert np.allclose(heat[0], expected, atol=1e-7) and np.array_equal(heat[0], heat[1])
    assert sum(told) == 49


def test_occlusion_of_a_face_of_few_pixels():
    """Squares between two edges that fall together hide nothing."""
    heat = occlusion(
        lambda pictures: np.array([p.mean() / 255 for p in pictures]), np.full((1, 3, 5, 3), 200, np.uint8)
    )
    assert heat.shape == (1, 3, 5) and np.isfinite(heat).all() and heat.any()


# models together, and the centre


def test_models_together():
    """Each has its hottest place as 1 before they are weighted: (3 * (1, 0.5, 0) + (0, 0, 1)) / 4, and that to 1."""
    heats = [np.array([[[8, 4, 0]]]), np.array([[[0, 0, 0.1]]])]
    assert together(heats, [3, 1]).tolist() == pytest.approx(np.array([[[1, 0.5, 1 / 3]]]))
    assert together([np.zeros((1, 2, 2))], [1]).tolist() == [[[0, 0], [0, 0]]]


def test_centre():
    """Of four columns and two rows, over both frames: x = (1 * 0.125 + 3 * 0.875) / 4, y = (3 * 0.75 + 0.25) / 4."""
    heat = np.zeros((2, 2, 4), np.float32)
    heat[0, 0, 0], heat[1, 1, 3] = 1, 3
    assert centre_of(heat) == pytest.approx((0.6875, 0.625))


# the deletion test


def mean_of_pixels(pictures):
    return np.array([picture.mean() / 255 for picture in pictures])


def test_deletion_by_hand():
    """Ten pixels, of which the score is a tenth of the first and third, white ones: blacking out the two hottest, which
    these are, takes it to 0."""
    pixels = np.full((1, 2, 5, 3), 10, np.uint8)

    def score(pictures):
        return np.array([(picture[0, 0, 0, 0] / 10 + picture[0, 0, 2, 0] / 10) * 0.4 for picture in pictures])

    heat = np.array([[[0.9, 0.1, 1, 0.2, 0], [0.3, 0, 0, 0.1, 0]]], np.float32)
    test = deletion(score, pixels, heat, draws=6, seed=(3, 1))
    assert (test.before, test.hottest, test.share, test.draws) == (pytest.approx(0.8), 0, 0.2, 6)
    expected = []
    for number in range(6):
        _, down, right = (int(np.random.default_rng((3, 1, number)).integers(1)), *shift_of(number))
        black = {((0 + down) % 2, (0 + right) % 5), ((0 + down) % 2, (2 + right) % 5)}
        expected.append(0.8 - 0.4 * len(black & {(0, 0), (0, 2)}))
    assert test.random == pytest.approx(np.mean(expected)) and test.random > 0
    assert test.holds
    assert np.array_equal(np.argwhere(test.pixels[0, :, :, 0] == 0), [[0, 0], [0, 2]]) and (pixels == 10).all()


def shift_of(number):
    """Rows and columns by which the draw of that number moves, after the frames."""
    draw = np.random.default_rng((3, 1, number))
    draw.integers(1)
    return int(draw.integers(2)), int(draw.integers(5))


def test_it_does_not_hold_where_the_score_hangs_on_all_alike():
    pixels = np.full((2, 8, 8, 3), 200, np.uint8)
    heat = np.random.default_rng(0).random((2, 8, 8), np.float32)
    test = deletion(mean_of_pixels, pixels, heat, draws=4, seed=(0,))
    assert test.share == pytest.approx(0.2, abs=0.01)
    assert test.hottest == pytest.approx(test.random) == pytest.approx(test.before * (1 - test.share))
    assert not replace(test, hottest=test.random).holds
    assert not replace(test, hottest=test.random + 0.1).holds and replace(test, hottest=test.random - 0.1).holds


def test_where_only_a_few_pixels_are_hot_only_these_are_blacked_out():
    heat = np.zeros((1, 10, 10), np.float32)
    heat[0, 4, 4:7] = 0.5
    test = deletion(mean_of_pixels, np.full((1, 10, 10, 3), 255, np.uint8), heat, draws=2, seed=(0,))
    assert test.share == 0.03 and test.hottest == pytest.approx(0.97) == pytest.approx(test.random)


def test_without_heat_there_is_no_test():
    pixels = np.full((1, 4, 4, 3), 9, np.uint8)
    assert deletion(mean_of_pixels, pixels, np.zeros((1, 4, 4), np.float32), draws=2, seed=(0,)) is None


def test_black_edges_are_left_alone():
    """Of 8 x 8 pixels only 5 x 4 are no padding: a fifth of these is 4, and no move goes into the padding."""
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    pixels[0, 1:6, 2:6] = 100
    heat = np.zeros((1, 8, 8), np.float32)
    heat[0, 1:6, 2:6] = np.random.default_rng(1).uniform(0.5, 1, (5, 4))
    test = deletion(mean_of_pixels, pixels, heat, draws=5, seed=(0,))
    assert test.share == 0.2 and test.hottest == pytest.approx(0.8 * test.before) == pytest.approx(test.random)


def test_a_face_that_is_black_all_over():
    heat = np.ones((1, 4, 4), np.float32)
    test = deletion(mean_of_pixels, np.zeros((1, 4, 4, 3), np.uint8), heat, draws=2, seed=(0,))
    assert not test.holds and test.before == 0


def test_draws_are_the_same_each_time_and_depend_on_the_seed():
    draw = np.random.default_rng(2)
    pixels, heat = draw.integers(0, 255, (3, 16, 16, 3), dtype=np.uint8), draw.random((3, 16, 16), np.float32)
    score = brightness_of(draw.normal(0, 1, (16, 16)))
    first, again, other = (deletion(score, pixels, heat, draws=5, seed=seed) for seed in ((0, 1), (0, 1), (0, 2)))
    assert first.random == again.random != other.random
