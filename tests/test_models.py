"""The networks: shapes, keys, and pooling and filters worked by hand."""

import pytest
import torch

from systems.seferbekov import models
from systems.seferbekov.models import (
    ENCODERS,
    NETWORKS,
    DeepFakeClassifier,
    GlobalWeightedAveragePool2d,
    PretrainedWeightsError,
    create_encoder,
    encoder_features,
)


@pytest.mark.parametrize("network", NETWORKS)
def test_one_logit_an_image(network):
    module = NETWORKS[network]("tf_efficientnet_b0_ns").eval()
    with torch.inference_mode():
        assert module(torch.zeros(2, 3, 64, 64)).shape == (2, 1)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_features(encoder):
    with torch.device("meta"):
        module = create_encoder(encoder, pretrained=False)
    assert module.num_features == encoder_features(encoder)


def test_published_keys():
    with torch.device("meta"):
        keys = DeepFakeClassifier("tf_efficientnet_b7_ns").state_dict()
    assert len(keys) == 1202
    assert keys["fc.weight"].shape == (1, 2560) and "encoder.classifier.weight" in keys
    assert {key.split(".")[0] for key in keys} == {"encoder", "fc"}


def test_drop_path_of_the_variants():
    def drop_path(encoder):
        with torch.device("meta"):
            modules = create_encoder(encoder, pretrained=False).modules()
        return max(m.drop_prob for m in modules if type(m).__name__ == "DropPath")

    # the rate grows linearly over n blocks, from 0 by rate / n
    assert drop_path("tf_efficientnet_b4_ns") == pytest.approx(0.5 * 31 / 32, abs=1e-6)
    assert drop_path("tf_efficientnet_b4_ns_03d") == pytest.approx(0.3 * 31 / 32, abs=1e-6)


def test_weighted_average_by_hand():
    """Weights exp(sigmoid(x)) of 0 and 10000 are exp(0.5) and exp(1): 1.6487 and 2.7183."""
    pool = GlobalWeightedAveragePool2d(1)
    torch.nn.init.ones_(pool.conv.weight)
    torch.nn.init.zeros_(pool.conv.bias)
    result = pool(torch.tensor([[[[0.0, 10000.0]]]]))
    assert result.shape == (1, 1)
    assert result.item() == pytest.approx(10000 * 2.71828 / (1.64872 + 2.71828), rel=1e-5)


def test_srm_filters():
    convolution = models._srm_convolution()
    assert not convolution.weight.requires_grad and convolution.weight.shape == (3, 3, 5, 5)
    assert convolution.weight.sum(dim=(2, 3)).abs().max() < 1e-6  # a flat image has no noise
    assert convolution.weight[0, 1, 2, 2] == -1 and convolution.weight[1, 2, 2, 2] == -1
    assert convolution.weight[2, 0, 2].tolist() == [0, 0.5, -1, 0.5, 0]
    impulse = torch.zeros(1, 3, 7, 7)
    impulse[0, :, 3, 3] = 1
    assert convolution(impulse)[0, 0, 3, 3].item() == pytest.approx(-3)


def test_unknown_encoder():
    with pytest.raises(ValueError, match="unknown encoder 'resnet50'; use one of tf_efficientnet_b0_ns"):
        DeepFakeClassifier("resnet50")


def test_failed_download_says_what_to_do(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(models.timm, "create_model", refuse)
    with pytest.raises(PretrainedWeightsError, match=r"tf_efficientnet_b7\.ns_jft_in1k.*no route to host.*HF_HOME"):
        create_encoder("tf_efficientnet_b7_ns", pretrained=True)
