"""The model against the loop-by-loop rewrite, both variants; padding, switches, text modes."""

import pytest
import torch

from dsanet.detectors.config import CLASSES as CLASSES_OF
from dsanet.detectors.config import TrainConfig, fit_classes
from dsanet.detectors.dsanet.config import ModelConfig
from dsanet.detectors.dsanet.losses import TERMS, loss_terms
from dsanet.detectors.dsanet.model import DSANet
from dsanet.detectors.dsanet.output import DSANetOutput
from dsanet.detectors.dsanet.variant import RELEASE
from dsanet.layers.belief import belief_modulation
from dsanet.layers.clip_text import tokenize
from tests.dsanet.helpers import padded_bags, random_tower, reference_of, small_config, small_model
from tests.dsanet.reference import belief_modulation as reference_belief
from tests.dsanet.reference import losses as reference_losses

LENGTHS = [32, 17, 2, 9]
LABELS = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 1, 1, 0]])


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_every_output_and_loss_term_equals_the_rewrite(variant: str) -> None:
    model = small_model(small_config(variant=variant))
    features, lengths = padded_bags(LENGTHS, 32)
    with torch.no_grad():
        got = model.train()(features, lengths)
        expected = reference_of(model).forward(features, LENGTHS)
        terms = loss_terms(got, LABELS, lengths, variant)
        expected_terms = reference_losses(expected, LABELS.float(), LENGTHS, variant == "release")
    pairs = {
        "anomaly": got.anomaly_BT,
        "classes": got.classes_BTC,
        "event": got.event_BC,
        "background": got.background_BC,
        "text": got.text_CD,
        "video": got.video_BTD,
        "rec": got.scores_rec_BT,
    }
    for name, tensor in pairs.items():
        for b, n in enumerate(LENGTHS if name in ("anomaly", "classes", "video", "rec") else ()):
            torch.testing.assert_close(tensor[b, :n], expected[name][b, :n], atol=2e-5, rtol=1e-4, msg=name)
        if name in ("event", "background", "text"):
            torch.testing.assert_close(tensor, expected[name], atol=2e-5, rtol=1e-4, msg=name)
    assert tuple(terms) == TERMS
    for name in TERMS:
        torch.testing.assert_close(terms[name], expected_terms[name], atol=1e-5, rtol=1e-5, msg=name)
    torch.testing.assert_close(
        belief_modulation(got.anomaly_BT, got.classes_BTC, 5.0),
        reference_belief(expected["anomaly"], expected["classes"], 5.0),
        atol=1e-5,
        rtol=0,
    )


def test_padding_and_company_change_nothing_in_the_paper_variant() -> None:
    model = small_model().train()
    features, lengths = padded_bags(LENGTHS, 32)
    alone, n = features[1:2, :17], lengths[1:2]
    noisy = features.clone()
    noisy[1, 17:] = 1e3
    with torch.no_grad():
        together, single = model(noisy, lengths), model(alone, n)
    torch.testing.assert_close(together.anomaly_BT[1, :17], single.anomaly_BT[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.event_BC[1], single.event_BC[0], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(together.scores_rec_BT[1, :17], single.scores_rec_BT[0], atol=1e-5, rtol=1e-5)
    assert together.anomaly_BT.shape == (4, 32)
    assert together.anomaly_BT[1, 17:].count_nonzero() == 0


def test_padding_takes_part_in_the_release() -> None:
    model = small_model(small_config(variant="release"))
    features, lengths = padded_bags([17], 32)
    noisy = features.clone()
    noisy[0, 17:] = 1
    with torch.no_grad():
        assert (model(features, lengths).anomaly_BT - model(noisy, lengths).anomaly_BT)[
            0, :17
        ].abs().max() > 1e-3
    with pytest.raises(ValueError, match="a model with unmasked padding needs exactly 32"):
        model(features[:, :17], lengths)


def test_sgnm_runs_in_training_only() -> None:
    model = small_model()
    features, lengths = padded_bags([8], 8)
    calls: list[object] = []
    model.normality.register_forward_hook(lambda *_: calls.append(1))
    output = model(features, lengths)
    assert output.scores_rec_BT is None
    assert output.compact_B is None
    assert not calls
    assert model.train()(features, lengths).scores_rec_BT.shape == (1, 8)
    assert calls


def test_gradients_reach_every_trained_tensor_and_nothing_of_clip() -> None:
    for variant in ("paper", "release"):
        model = small_model(small_config(variant=variant)).train()
        features, lengths = padded_bags(LENGTHS, 32)
        model.total_loss(
            loss_terms(model(features, lengths), LABELS, lengths, variant), TrainConfig(align_weight=1.1)
        ).backward()
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        assert not [name for name, p in trained.items() if p.grad is None or not p.grad.any()]
        assert not [name for name in trained if name.startswith("text.tower.")]


@pytest.mark.parametrize(
    ("switch", "zero_terms"),
    [({"normality": False}, {"consist", "compact"}), ({"disentangled_alignment": False}, {"event", "bkg"})],
)
def test_a_switch_turns_off_its_terms_and_nothing_else(switch: dict, zero_terms: set) -> None:
    features, lengths = padded_bags(LENGTHS, 32)
    full, without = (
        small_model(),
        DSANet(small_config(**switch), DSANet.text_module(small_config(), random_tower())),
    )
    without.load_state_dict(full.state_dict(), strict=False)
    terms = [loss_terms(m.train()(features, lengths), LABELS, lengths, "paper") for m in (full, without)]
    for name in TERMS:
        if name in zero_terms:
            assert terms[1][name] == 0 != terms[0][name]
        else:
            assert terms[1][name] == terms[0][name], name
    output = [m.eval()(features, lengths) for m in (full, without)]
    assert torch.equal(output[0].anomaly_BT, output[1].anomaly_BT)
    assert torch.equal(output[0].classes_BTC, output[1].classes_BTC)


@pytest.mark.parametrize("mode", ["frozen", "manual", "learned", "adapter"])
def test_text_modes_change_the_text_alone_and_train_what_they_say(mode: str) -> None:
    config = small_config(text_tuning=mode)
    model = DSANet(config, DSANet.text_module(config, random_tower()))
    trained = {name for name, p in model.text.named_parameters() if p.requires_grad}
    expected = {
        "frozen": set(),
        "manual": set(),
        "learned": {"context"},
        "adapter": {"adapters.0.0.weight", "adapters.1.0.weight"},
    }
    assert trained == expected[mode]
    assert hasattr(model.text, "tower") == bool(trained)  # kept only where something in it is trained
    features, lengths = padded_bags([8], 8)
    others = DSANet(small_config(), DSANet.text_module(small_config(), random_tower()))
    others.load_state_dict(
        {n: t for n, t in model.state_dict().items() if not n.startswith("text.")}, strict=False
    )
    got, same = model(features, lengths), others(features, lengths)
    assert torch.equal(got.anomaly_BT, same.anomaly_BT)
    if mode != "adapter":
        assert not torch.allclose(got.text_CD, same.text_CD)


def test_text_cut_to_the_longest_prompt_equals_all_77_positions() -> None:
    clip = random_tower()
    texts = ["a video of normal", "car accident", "x"]
    cut, end = tokenize(texts)
    assert cut.shape == (3, 6)
    full = torch.nn.functional.pad(cut, (0, 77 - cut.shape[1]))
    with torch.no_grad():
        got, expected = (clip(clip.token_embedding(tokens), end) for tokens in (cut, full))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_frozen_text_is_clips_own() -> None:
    from tests.dsanet.helpers import random_clip

    config = small_config(text_tuning="manual")
    tokens = tokenize(config.texts)[0]
    with torch.no_grad():
        expected = random_clip().encode_text(torch.nn.functional.pad(tokens, (0, 77 - tokens.shape[1])))
    torch.testing.assert_close(DSANet.text_module(config, random_tower())(), expected, atol=1e-5, rtol=1e-5)
    assert config.texts[2] == "a video of car accident"


def test_learned_context_surrounds_the_name_as_in_vadclip() -> None:
    config = small_config(text_tuning="learned", context_tokens=10)
    text, tower = DSANet.text_module(config, random_tower()), random_tower()
    seen: list[torch.Tensor] = []
    handle = tower.register_forward_pre_hook(lambda _, args: seen.extend(args))
    text()
    handle.remove()
    words, end = seen
    tokens, _ = tokenize(config.texts)
    embedding = tower.token_embedding(tokens)
    assert end[2] == 10 + 2 + 10 + 1  # "car accident" has two tokens
    assert torch.equal(words[2, 0], embedding[2, 0])
    assert torch.equal(words[2, 11:13], embedding[2, 1:3])
    assert torch.equal(words[2, 23], embedding[2, 3])
    assert torch.equal(words[2, 1:11], text.context[1:11])
    assert torch.equal(words[2, 13:23], text.context[13:23])


def test_a_variant_can_be_given_rule_by_rule() -> None:
    rules = RELEASE.model_copy(update={"mask_padding": True})
    model = small_model(small_config(variant=rules))
    features, lengths = padded_bags([17], 32)
    assert isinstance(model(features[:, :17], lengths), DSANetOutput)
    assert ModelConfig.model_validate_json(model.config.model_dump_json()) == model.config


def test_classes_come_from_the_preset_where_the_labels_fit_else_from_the_labels() -> None:
    assert (
        fit_classes(["abuse", "normal"], CLASSES_OF["ucf-crime"])
        == ModelConfig.preset("ucf-crime").model.classes
    )
    assert fit_classes(["riot", "normal", "fire"], CLASSES_OF["ucf-crime"]) == ("normal", "fire", "riot")
    with pytest.raises(ValueError, match="no anomaly class"):
        fit_classes(["normal"], CLASSES_OF["small"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"classes": ("abuse", "normal")}, "first class must be 'normal'"),
        ({"classes": ("normal", "riot", "riot")}, "each once"),
        ({"window": 7}, "does not divide bag_length"),
        ({"variant": "other"}, "paper"),
        ({"prompts": {"fire": "a fire"}}, "unknown classes"),
        ({"depth": 3}, "depth"),
    ],
)
def test_configs_refuse_what_cannot_be(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_config(**wrong)


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_a_video_of_one_snippet_has_finite_losses_and_gradients(variant: str) -> None:
    model = small_model(small_config(variant=variant)).train()
    features, lengths = padded_bags([1, 1], 32)
    model.total_loss(
        loss_terms(model(features, lengths), LABELS[:2], lengths, variant), TrainConfig(align_weight=1.1)
    ).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_a_bag_of_impossible_length_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at most 32 snippets"):
        small_model()(torch.zeros(1, 32, 512), torch.tensor([0]))
