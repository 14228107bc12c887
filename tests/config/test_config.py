"""What a run is, and which layer of settings wins."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest
import yaml

from cyclegan.config import PRESETS, TrainConfig, flatten, in_steps, option, resolve
from cyclegan.errors import UsageError
from cyclegan.methods import with_networks


@dataclass(frozen=True)
class Extra:
    lambda_cycle: float = option(10.0, "weight", minimum=0)


def test_the_defaults_are_the_recipe_of_the_paper():
    config = with_networks(resolve([PRESETS["paper"]]))
    assert (config.generator, config.discriminator, config.channels) == ("resnet_9blocks", "patch", 64)
    assert (config.load_size, config.crop_size, config.batch_size, config.flip) == (286, 256, 1, True)
    assert (config.epochs, config.decay_epochs, config.steps) == (100, 100, None)
    assert (config.lr_generator, config.lr_discriminator, config.beta1) == (2e-4, 2e-4, 0.5)
    assert (config.norm, config.init, config.upsampling, config.ema_decay) == ("instance", "normal", "transposed", 0)


def test_a_later_layer_wins():
    config = resolve([{"batch_size": 2, "seed": 1}, {"batch_size": 3}, {"batch_size": 4}])
    assert (config.batch_size, config.seed) == (4, 1)


def test_steps_in_a_later_layer_silence_epochs_of_an_earlier_one_and_the_reverse():
    assert resolve([{"epochs": 5}, {"steps": 100}]).epochs is None
    config = resolve([{"steps": 100, "decay_steps": 10}, {"epochs": 5}])
    assert (config.steps, config.decay_steps, config.epochs) == (None, None, 5)


def test_a_new_length_in_a_later_layer_does_not_keep_the_decay_of_the_old_one():
    assert resolve([{"steps": 100, "decay_steps": 80}, {"steps": 10}]).decay_steps is None
    assert resolve([{"steps": 100, "decay_steps": 80}, {"seed": 10}]).decay_steps == 80
    assert resolve([{"steps": 100}, {"steps": 10, "decay_steps": 3}]).decay_steps == 3


def test_a_data_root_silences_the_two_folders():
    config = resolve([{"a": "x", "b": "y"}, {"data": "root"}])
    assert (config.a, config.b, config.data) == (None, None, "root")


@pytest.mark.parametrize("layer", [{"steps": 10, "epochs": 2}, {"data": "root", "a": "x"}])
def test_two_ways_of_saying_one_thing_in_one_layer_are_refused(layer):
    with pytest.raises(UsageError, match="exclude each other"):
        resolve([layer])


def test_an_unknown_key_names_the_nearest_known_one():
    with pytest.raises(UsageError, match="'batchsize'; did you mean 'batch_size'"):
        resolve([{"batchsize": 2}])
    with pytest.raises(UsageError, match="'lambda_cicle'; did you mean 'lambda_cycle'"):
        resolve([{"lambda_cicle": 2}], Extra)


def test_numbers_may_come_as_yaml_reads_them():
    values = yaml.safe_load("lr_generator: 2e-4\nsteps: 1e3\nwandb: disabled\ncompile: off\n")
    config = resolve([values])
    assert (config.lr_generator, config.steps, config.compile) == (2e-4, 1000, "off")


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ({"batch_size": "many"}, "--batch-size: 'many' is not a whole number"),
        ({"batch_size": 1.5}, "--batch-size: 1.5 is not a whole number"),
        ({"batch_size": True}, "--batch-size: True is not a whole number"),
        ({"batch_size": 0}, "--batch-size must be at least 1, not 0"),
        ({"flip": "yes"}, "--flip: 'yes' is not true or false"),
        ({"norm": "layer"}, "--norm: 'layer' is not one of instance, batch, none"),
        ({"crop_size": 300}, "--crop-size 300 is larger than --load-size 286"),
        ({"batch_size": 3, "accumulate": 2}, "--accumulate 2 does not divide --batch-size 3"),
        ({"holdout": 1.0}, "--holdout 1 leaves nothing to train on"),
        ({"ema_decay": 1.0}, "--ema-decay must be below 1"),
        ({"patience": 3, "evaluate_every": 0}, "--patience 3 counts evaluations, and --evaluate-every 0 makes none"),
        ({"evaluate_pictures": 1}, "--evaluate-pictures must be at least 2, not 1"),
        ({"a": 5}, "--a: 5 is not text"),
        ({"lr_generator": float("nan")}, "--lr-generator: nan is not a number"),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_the_option(layer, sentence):
    with pytest.raises(UsageError) as caught:
        resolve([layer])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_load_size_of_0_has_no_crop_that_is_too_large():
    assert resolve([{"load_size": 0, "crop_size": 1024}]).crop_size == 1024


def test_a_bad_method_option_is_a_sentence_too():
    with pytest.raises(UsageError, match="--lambda-cycle must be at least 0, not -1"):
        resolve([{"lambda_cycle": -1}], Extra)


def test_flatten_and_resolve_undo_each_other():
    config = resolve([PRESETS["demo"], {"a": "x", "b": "y", "lambda_cycle": 5}], Extra)
    assert resolve([flatten(config, Extra)], Extra) == config
    assert flatten(TrainConfig(), Extra)["lambda_cycle"] == 10.0


def test_epochs_become_steps_of_the_larger_folder():
    config = in_steps(resolve([{"epochs": 3, "decay_epochs": 2}]), steps_per_epoch=7)
    assert (config.steps, config.decay_steps, config.epochs, config.decay_epochs) == (35, 14, None, None)


def test_half_of_the_steps_decay_unless_said_otherwise():
    assert in_steps(resolve([{"steps": 11}]), 7).decay_steps == 5
    assert in_steps(resolve([{"steps": 11, "decay_steps": 0}]), 7).decay_steps == 0
    with pytest.raises(UsageError, match="--decay-steps 12 is more than --steps 11"):
        in_steps(resolve([{"steps": 11, "decay_steps": 12}]), 7)


def test_in_python_steps_win_over_the_default_epochs():
    config = TrainConfig(steps=10)
    assert (config.epochs, config.decay_epochs) == (None, None)
    assert resolve([flatten(config)]) == config


def test_a_preset_can_be_changed_in_python():
    config = TrainConfig.preset("fast", a="x", b="y", steps=10, options={"pool_size": 3})
    assert (config.channels, config.steps, config.epochs, config.options) == (32, 10, None, {"pool_size": 3})
    with pytest.raises(UsageError, match="preset: unknown value 'fats'; did you mean 'fast'"):
        TrainConfig.preset("fats")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_valid_config(name):
    resolve([PRESETS[name]])


def test_every_option_says_what_it_is():
    for item in fields(TrainConfig):
        if item.name != "options":
            assert item.metadata["help"].endswith("."), item.name
