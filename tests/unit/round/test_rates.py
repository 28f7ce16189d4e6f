"""A learning rate is found by what it does: it must have learnt, forgotten little, and come nearest to the target."""

import pytest

from crowd_assets.round.rates import Trial, best_of
from resources.settings.resource import CrowdSettings

BASE = Trial(0.0, held_out_loss=2.0, general_loss=3.0, distance=0.9)


def test_the_nearest_rate_that_forgot_little_is_chosen() -> None:
    timid, right, ruinous = Trial(2e-4, 1.99, 3.0, 0.89), Trial(1e-3, 1.7, 3.02, 0.7), Trial(5e-3, 1.5, 6.0, 0.3)
    assert best_of(BASE, [timid, right, ruinous], limit=0.05) == 1e-3
    assert best_of(BASE, [timid, right, ruinous], limit=8.0) == 5e-3


def test_a_trial_may_use_up_a_part_of_the_limit_alone_as_candidates_take_more_steps_and_rounds_add_up() -> None:
    right, nearer = Trial(2e-3, 1.7, 2.8, 0.8), Trial(5e-3, 1.5, 3.05, 0.7)
    assert best_of(BASE, [right, nearer], limit=0.05) == 2e-3
    assert best_of(BASE, [right, nearer], limit=0.1) == 5e-3


def test_a_rate_under_which_kept_out_texts_get_less_likely_is_not_chosen() -> None:
    assert best_of(BASE, [Trial(2e-4, 1.9, 3.0, 0.8), Trial(1e-3, 2.1, 3.0, 0.5)], limit=0.05) == 2e-4


def test_where_every_rate_ruins_the_least_one_is_taken() -> None:
    assert best_of(BASE, [Trial(1e-3, 9.0, 9.0, 0.1), Trial(2e-4, 9.0, 9.0, 0.2)], limit=0.0) == 2e-4
    with pytest.raises(ValueError, match="no rate"):
        best_of(BASE, [], limit=0.0)


def test_rates_are_found_for_other_models_than_the_embedded_one_and_nothing_changes_for_that() -> None:
    embedded, own = CrowdSettings(), CrowdSettings(base_model="somebody/model")
    assert (embedded.known_learning_rate, embedded.alignment_rate(1.0), embedded.threads) == (0.005, 0.005, 1)
    assert embedded.values == {"seeds": 2, "order": 2, "rows": 64, "every": 16}
    assert embedded.samples == {"selection": embedded.selection_samples, "report": embedded.report_samples}
    assert own.known_learning_rate is None
    assert (own.values["seeds"], own.values["order"], own.values["rows"]) == (1, 1, 16)
    assert own.alignment_rate(0.002) is None
    assert own.changed(learning_rate=1e-3).known_learning_rate == 1e-3
    assert own.changed(value_seeds=3, scale_down=True).values["seeds"] == 3


def test_a_round_settled_before_keeps_what_it_was_settled_with() -> None:
    earlier = CrowdSettings(base_model="somebody/model").of_record({"base_model": "somebody/model"})
    assert (earlier.known_learning_rate, earlier.alignment_rate(1.0), earlier.threads) == (0.005, 0.005, 1)
    assert earlier.values == CrowdSettings().values
    assert earlier.forgetting_limit == 0.0
    assert earlier.rejecting_detectors == ("copies", "gibberish", "instructions")
