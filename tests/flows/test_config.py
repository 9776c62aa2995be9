"""The configuration: presets, overrides by dotted path, rejection of unknown keys."""

import jsonschema
import pytest

from dsanet.detectors.dsanet.variant import PAPER, RELEASE, Variant
from dsanet.detectors.registry import DETECTORS, config_class
from extract.errors import InputError
from flows.workspace.config import PRESETS, PipelineConfig, merge_settings, override, preset_config
from flows.workspace.retrain_config import RetrainConfig


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_valid_configuration_that_names_itself(name: str) -> None:
    assert preset_config(name).preset == name


def test_presets_carry_the_papers_values() -> None:
    ucf, xd = preset_config("ucf-crime"), preset_config("xd-violence")
    assert (ucf.model.window, ucf.model.adapter_layers, ucf.train.align_weight, ucf.infer.beta) == (
        8,
        3,
        1.1,
        5.0,
    )
    assert (xd.model.window, xd.model.adapter_layers, xd.train.align_weight, xd.infer.beta) == (
        64,
        1,
        5.0,
        1.0,
    )


def test_override_sets_nested_values_and_keeps_the_others() -> None:
    before = preset_config("small")
    after = override(before, ["train.epochs=3", "extract.weights=random", "train.lr=1e-3"])
    assert (after.train.epochs, after.extract.weights, after.train.lr) == (3, "random", 1e-3)
    assert after.model == before.model
    assert override(after, [f"train.epochs={before.train.epochs}"]).train.epochs == before.train.epochs


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("train.epoch=3", "no setting 'train.epoch'"),
        ("trian.epochs=3", "no setting 'trian.epochs'"),
        ("train=3", "setting train:"),
        ("train.epochs=0", "setting train.epochs:.*given: 0"),
        ("train.epochs=many", "setting train.epochs:"),
        ("train.epochs", "has no `=`"),
        ("model.variant=wrong", "setting model.variant: Input should be 'paper' or 'release'"),
        ("model.variant.smoothing=1", "setting model.variant.smoothing: Extra inputs .*given: 1"),
        ('model.variant={"label_smoothing": 7}', "setting model.variant.label_smoothing: .*given: 7"),
    ],
)
def test_an_invalid_override_names_its_path(assignment: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        override(preset_config("small"), [assignment])


def test_an_unknown_preset_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="ucf-crime, xd-violence, small"):
        preset_config("shanghai")


def test_the_preset_is_the_source_of_the_defaults() -> None:
    config = PipelineConfig.model_validate({"preset": "xd-violence", "train": {"epochs": 3}})
    assert config.train.epochs == 3
    assert config.train.lr == preset_config("xd-violence").train.lr
    assert config.model == preset_config("xd-violence").model
    assert PipelineConfig.model_validate(config.model_dump(mode="json")) == config


def test_a_detector_change_loads_its_settings_of_the_preset() -> None:
    before = override(preset_config("small"), ["extract.weights=random", "train.epochs=3", "infer.beta=9"])
    after = override(before, ["model.detector=vadclip", "model.separation=0.5"])
    assert (after.model.detector, after.model.clip_weights, after.model.separation) == (
        "vadclip",
        "random",
        0.5,
    )
    assert after.train.epochs != 3
    assert after.extract == before.extract
    assert override(after, ["train.epochs=3", "model.detector=vadclip"]).train.epochs == 3
    assert type(after).model_validate_json(after.model_dump_json()) == after


@pytest.mark.parametrize("assignment", ["model.detector=sultani", "model.window=4", "model.clip_weights=x"])
def test_a_setting_of_another_detector_is_rejected(assignment: str) -> None:
    with pytest.raises(
        ValueError, match=r"no setting 'model|no detector 'sultani'; expected one of mil-ranking"
    ):
        override(preset_config("small"), ["model.detector=clip-tsa", assignment])


def test_an_invalid_value_of_a_detector_is_named_by_its_path() -> None:
    with pytest.raises(ValueError, match=r"setting model\.nominated:.*given: 2"):
        override(preset_config("small"), ["model.detector=clip-tsa", "model.nominated=2"])


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_json_schema_accepts_every_detector_and_no_unknown_setting(detector: str) -> None:
    model = {"detector": detector, **config_class(detector)().model_dump(mode="json")}
    schema = PipelineConfig.model_json_schema()
    jsonschema.validate({"model": model}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"model": {**model, "windows": 4}}, schema)


def test_merged_settings_change_only_what_is_named() -> None:
    before = override(
        preset_config("small"), ["extract.weights=random", 'retrain.inboxes=["/in"]', "train.lr=1e-3"]
    )
    given = {"retrain": {"min_new_labels": 50, "gate": {"margins": {"auc": 0.1}}}, "train": {"epochs": 3}}
    expected = ["retrain.min_new_labels=50", "retrain.gate.margins.auc=0.1", "train.epochs=3"]
    assert merge_settings(before, given) == override(before, expected)
    assert merge_settings(before, {"preset": "small"}) == before
    assert merge_settings(before, {}) == before


def test_merged_settings_of_another_preset_or_detector_begin_with_its_own() -> None:
    before = override(preset_config("small"), ["extract.weights=random", "train.epochs=3"])
    xd = merge_settings(before, {"preset": "xd-violence", "infer": {"beta": 9}})
    assert xd == override(preset_config("xd-violence"), ["infer.beta=9"])
    given = {"model": {"detector": "clip-tsa", "samples": 7}}
    assert merge_settings(before, given) == override(before, ["model.detector=clip-tsa", "model.samples=7"])
    chosen = merge_settings(before, given)
    assert merge_settings(chosen, {"model": {"noise": 0.1}}) == override(chosen, ["model.noise=0.1"])


def test_a_model_object_replaces_its_section() -> None:
    before = override(preset_config("small"), ["retrain.min_new_labels=3", "retrain.settle_s=1"])
    after = merge_settings(before, {"retrain": RetrainConfig(min_new_labels=50)})
    assert after.retrain == RetrainConfig(min_new_labels=50)
    assert after.train == before.train


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"trian": {"epochs": 3}}, "setting trian:"),
        ({"train": {"epoch": 3}}, "setting train.epoch:"),
        ({"train": {"epochs": 0}}, "setting train.epochs:.*given: 0"),
        ({"train": 3}, "setting train:"),
        ({"preset": "shanghai"}, "no preset 'shanghai'"),
        ({"model": {"detector": "sultani"}}, "no detector 'sultani'"),
    ],
)
def test_invalid_settings_to_merge_are_named(given: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        merge_settings(preset_config("small"), given)


def test_a_section_given_as_json_changes_only_what_it_names() -> None:
    before = override(preset_config("small"), ["train.epochs=3", "retrain.gate.resamples=9"])
    after = override(before, ['train={"lr": 0.5}', 'retrain.gate={"quantile": 0.1}'])
    assert after == override(before, ["train.lr=0.5", "retrain.gate.quantile=0.1"])
    replaced = override(before, ['retrain.gate.margins={"video_auc": 0.01}'])  # a setting, not a section
    assert replaced.retrain.gate.margins == {"video_auc": 0.01}
    other = override(before, ['model={"detector": "vadclip", "separation": 0.5}'])
    assert other == override(before, ["model.detector=vadclip", "model.separation=0.5"])


@pytest.mark.parametrize(
    ("begun", "rest"), [("release", RELEASE), ("paper", PAPER), ('{"normalize_text": true}', None)]
)
def test_a_rule_of_a_variant_changes_only_itself(begun: str, rest: Variant | None) -> None:
    before = override(preset_config("small"), [f"model.variant={begun}"])
    rules = (rest or Variant(normalize_text=True)).model_copy(update={"label_smoothing": 0.25})
    for assignment in ("model.variant.label_smoothing=0.25", 'model.variant={"label_smoothing": 0.25}'):
        assert override(before, [assignment]).model.variant == rules
    assert merge_settings(before, {"model": {"variant": {"label_smoothing": 0.25}}}).model.variant == rules
    assert override(before, ["model.variant=release"]).model.variant == "release"
