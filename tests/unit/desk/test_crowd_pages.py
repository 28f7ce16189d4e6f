"""What people can do at the desk, and what becomes of it in the inbox."""

import re
from collections import Counter

import pytest

from crowd_assets.desk.forms import STRENGTHS
from crowd_assets.desk.privacy import kept_about
from resources.build import build_resources
from tests.unit.desk.conftest import PROMPTS, URL, Served, comparison, serve


def test_an_invitation_leads_to_consent_and_then_to_work(served: Served) -> None:
    ada = served.invited("ada", agree=False)
    assert "CC BY" in ada.text
    assert "Before you begin" in ada.open("/write")  # nothing before the consent
    ada.send("/consent")
    assert ada.status == 422
    ada.send("/consent", agreed="yes")
    assert "What there is to do" in ada.text
    assert "6 comparisons wait" in ada.text


def test_a_changed_consent_is_asked_again(served: Served, desk_settings, tmp_path, monkeypatch) -> None:
    ada = served.invited("ada")
    text = tmp_path / "consent.txt"
    text.write_text("Other terms.")
    monkeypatch.setattr(type(served.desk.settings), "consent_text", lambda self: text.read_text())
    assert "Other terms." in ada.open("/")


def test_a_text_becomes_a_demonstration(served: Served) -> None:
    ada = served.invited("ada")
    ada.open("/write?lot=lot-1-0")
    ada.send("/write", form=1, response="It was lovely,\r\nthank you all!")
    assert "Your text is received." in ada.text
    (event,) = served.delivered()
    assert event["kind"] == "demonstration"
    assert (event["contributor_id"], event["prompt"]) == ("ada", PROMPTS[0])
    assert event["response"] == "It was lovely,\nthank you all!"


def test_a_prompt_of_ones_own_may_be_answered(served: Served) -> None:
    ada = served.invited("ada")
    ada.open("/write?lot=free")
    ada.send("/write", form=1, prompt="Who keeps the key?", response="The baker does.")
    (event,) = served.delivered()
    assert event["prompt"] == "Who keeps the key?"


@pytest.mark.parametrize("strength", range(len(STRENGTHS)))
def test_a_judgement_says_what_was_meant_whichever_side_an_answer_stands(served: Served, strength: int) -> None:
    sides = set()
    for name in ("ada", "bo", "cy", "di", "ed"):
        browser = served.invited(name)
        browser.open("/compare")
        left = re.search(r'id="left">Left</h2><p class="text" dir="auto">The (first|second) answer', browser.text)
        assert left
        browser.send("/compare", form=1, strength=str(strength))
        sides.add((left[1], next(e for e in served.delivered() if e["contributor_id"] == name)["probability_a"]))
    chance = STRENGTHS[strength]
    assert sides <= {("first", chance), ("second", round(1 - chance, 6))}


def test_no_strength_is_chosen_beforehand_and_none_is_sent(served: Served) -> None:
    ada = served.invited("ada")
    ada.open("/compare")
    assert "checked" not in ada.text
    ada.send("/compare", form=1)
    assert ada.status == 422
    assert "how sure you are" in ada.text
    assert served.delivered() == []


def test_both_bad_reason_and_the_time_it_took_are_kept(served: Served) -> None:
    ada = served.invited("ada")
    ada.open("/compare")
    ada.send("/compare", form=1, both_bad="yes", reason="Neither says where.")
    (event,) = served.delivered()
    assert (event["both_bad"], event["probability_a"], event["reason"]) == (True, 0.5, "Neither says where.")
    assert event["accepted_at"] <= event["submitted_at"]


def test_every_comparison_is_judged_or_skipped_once(served: Served) -> None:
    ada = served.invited("ada")
    seen = []
    while "Which answer is better" in ada.open("/compare") and "Nothing waits" not in ada.text:
        seen.append(re.search(r"Question (\d)", ada.text)[1])
        ada.send("/compare", form=1, **({"skip": "yes"} if len(seen) == 2 else {"strength": "1"}))
    assert sorted(seen) == [str(number) for number in range(6)]
    assert len(served.delivered()) == 5


def test_own_answers_are_not_asked(served: Served) -> None:
    ada = served.invited("ada")
    ada.open("/write?lot=free")
    ada.send("/write", form=1, prompt="Question 0?", response=comparison(0)["response_b"])
    asked = set()
    while "Nothing waits" not in ada.open("/compare"):
        asked.add(re.search(r"Question (\d)", ada.text)[1])
        ada.send("/compare", form=1, strength="3")
    assert asked == {"1", "2", "3", "4", "5"}


def test_comparisons_with_enough_judgements_are_asked_no_more(served: Served) -> None:
    for name in ("ada", "bo", "cy", "di"):
        browser = served.invited(name)
        while "Nothing waits" not in browser.open("/compare"):
            browser.send("/compare", form=1, strength="3")
            served.desk.work._known.looked_at = 0.0
    assert served.desk.work.coverage() == {3: 6}


def test_an_offer_is_a_bid(served: Served) -> None:
    ada = served.invited("ada")
    ada.open("/offer?lot=lot-1-1")
    assert "Sealed" in ada.text
    ada.send("/offer", form=1, response="Cover the beds.", asked_price="0,25", claimed_quality="0.7")
    (event,) = served.delivered()
    assert (event["lot_id"], event["asked_price"], event["claimed_quality"]) == ("lot-1-1", "0.25", 0.7)


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ("", "too short"),
        ("!?", "too short"),
        (PROMPTS[0].upper(), "copy of the prompt"),
        ("Ask ann.lee@example.org about it.", "personal data (e-mail)"),
        ("x" * 20_001, "20,001 characters"),
        ("ring\x07ring ring", "control characters"),
        ("ab\u202ecd efg", "direction of writing"),
        ("ab\u0085cd efg", "control characters"),
        ("ab\ufffecd efg", "control characters"),
        ("abcd \U000e0041\U000e0042", "nobody sees"),
        ("ab\ufeffcd\u2060 efg", "nobody sees"),
    ],
)
def test_what_the_gate_would_reject_is_said_before_it_is_sent(served: Served, response: str, said: str) -> None:
    ada = served.invited("ada")
    ada.open("/write?lot=lot-1-0")
    ada.send("/write", form=1, response=response)
    assert ada.status == 422
    assert said in ada.text
    assert served.delivered() == []


@pytest.mark.parametrize(
    "response",
    [
        "میخواهم بنویسم",
        "Donau\u00addampfschiff",
        "a family: \U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\u200fשלום לכולם",
    ],
)
def test_what_languages_and_emoji_need_between_their_letters_is_taken(served: Served, response: str) -> None:
    ada = served.invited("ada")
    ada.open("/write?lot=lot-1-0")
    ada.send("/write", form=1, response=response)
    assert ada.status == 200
    assert served.delivered()[0]["response"] == response


@pytest.mark.parametrize("price", ["", "-1", "much", "NaN", "1e99", "0.0000001"])
def test_a_price_that_is_none_is_refused_in_words(served: Served, price: str) -> None:
    ada = served.invited("ada")
    ada.open("/offer?lot=lot-1-1")
    ada.send("/offer", form=1, response="Cover the beds.", asked_price=price, claimed_quality="0.7")
    assert ada.status == 422
    assert 'id="asked_price-problem"' in ada.text
    assert served.delivered() == []


def test_the_same_form_twice_is_one_event(served: Served) -> None:
    ada = served.invited("ada")
    page = ada.open("/compare")
    ada.send("/compare", form=1, strength="7")
    ada.text = page
    ada.send("/compare", form=1, strength="0")  # the browser's way back, and another answer
    assert "received before" in ada.text
    (event,) = served.delivered()
    assert event["probability_a"] in (0.85, 0.15)


def test_a_draft_is_kept_until_it_is_sent(served: Served) -> None:
    ada = served.invited("ada")
    ada.open("/write?lot=lot-1-2")
    ada.send("/write", form=1, response="Behind the", draft="yes")
    assert served.delivered() == []
    assert "Behind the</textarea>" in ada.open("/write?lot=lot-1-2")
    ada.send("/write", form=1, response="Behind the church.")
    assert "Behind the</textarea>" not in ada.open("/write?lot=lot-1-2")


def test_what_was_sent_is_taken_in_and_accepted(served: Served) -> None:
    ada, bo = served.invited("ada"), served.invited("bo")
    ada.open("/write?lot=lot-1-0")
    ada.send("/write", form=1, response="It was lovely, thank you all!")
    bo.open("/compare")
    bo.send("/compare", form=1, strength="6", reason="=1+1")
    served.desk.courier.deliver()
    taken = build_resources(served.desk.settings).inbox.ingest()
    assert [(each.accepted, each.rejected) for each in taken] == [(2, 0)]


def test_texts_leave_the_desk_once_they_lie_in_the_inbox(served: Served) -> None:
    ada = served.invited("ada")
    ada.open("/write?lot=lot-1-0")
    ada.send("/write", form=1, response="A text that nobody else needs to keep.")
    assert "nobody else" in str(kept_about(served.desk.store, "ada"))
    served.desk.courier.deliver()
    assert "nobody else" not in str(kept_about(served.desk.store, "ada"))


def test_mine_appeal_export_and_erasure_before_any_round(served: Served) -> None:
    ada = served.invited("ada")
    assert "No round with a part of yours is settled yet" in ada.open("/mine")
    ada.send("/mine/appeal", form=1, reference="desk-1", text="That was no copy.")
    assert "Your appeal lies with the operator" in ada.text
    ada.send("/mine/erase", form=2)
    assert "tick that you are sure" in ada.text
    ada.send("/mine/erase", form=2, sure="yes")
    assert served.desk.store.erasures_asked() == ["ada"]
    assert '"appeals"' in ada.open("/mine.json")


def test_a_participant_of_a_panel_gets_the_code_when_enough_is_done(tmp_path, desk_settings) -> None:
    served = serve(desk_settings.changed(desk_panel_code="C0DE", desk_panel_tasks=2))
    browser = served.browser()
    browser.open("/panel?PROLIFIC_PID=5f3a&STUDY_ID=s&SESSION_ID=t")
    browser.send("/consent", agreed="yes")
    assert "C0DE" not in browser.text
    for _ in range(2):
        browser.open("/compare")
        browser.send("/compare", form=1, strength="2")
    assert "https://app.prolific.com/submissions/complete?cc=C0DE" in browser.open("/")
    assert {event["contributor_id"] for event in served.delivered()} == {"prolific:5f3a"}
    served.desk.store.close()


def test_nothing_of_another_host_is_asked_for(served: Served) -> None:
    ada = served.invited("ada")
    for path in ("/", "/write", "/compare", "/offer", "/mine"):
        text = ada.open(path)
        assert ada.status == 200
        assert "<script" not in text
        assert not re.findall(r'(?:src|href|action)="(?:https?:)?//', text)
        assert "default-src 'none'" in ada.headers["content-security-policy"]
        # Browsers send "Origin: null" with the forms of a page that asks for no referrer, and that origin is refused.
        assert ada.headers["referrer-policy"] == "same-origin"
        assert ada.headers["cache-control"] == "no-store"
    assert URL  # links of invitations are the only absolute ones


def test_a_text_for_a_prompt_of_the_round_before_is_taken_and_an_offer_is_not_and_neither_is_lost(
    served: Served,
) -> None:
    ada = served.invited("ada")
    forms = {path: ada.open(f"{path}?lot=lot-1-0") for path in ("/write", "/offer")}
    outbox = build_resources(served.desk.settings).outbox
    outbox.publish("lots", "r000002", [{"lot_id": "lot-2-0", "prompt": "Who rings the bell?"}])
    served.desk.work._known.looked_at = 0.0
    ada.text = forms["/write"]
    ada.send("/write", form=1, response="It was lovely, thank you all!")
    assert "is received" in ada.text
    ada.text = forms["/offer"]
    ada.send("/offer", form=1, response="The fair was a joy.", asked_price="1", claimed_quality="0.7")
    assert ada.status == 409
    assert "asked no more" in ada.text
    assert "The fair was a joy.</textarea>" in ada.text
    assert [event["prompt"] for event in served.delivered()] == [PROMPTS[0]]


ANSWERS = ("Lovely.", "Fine.", "Loud.", "Long.")
MANY = [
    {"comparison_id": f"r000001-{number:016x}", "prompt": "How was it?", "response_a": one, "response_b": other}
    for number, (one, other) in enumerate((ANSWERS[:2], ANSWERS[2:]))
]


@pytest.fixture
def ranked(desk_settings):
    found = serve(desk_settings, comparisons=MANY)
    yield found
    found.desk.store.close()


def _places(text: str, wanted: dict[str, int]) -> dict[str, str]:
    shown = re.findall(r'<legend>Answer \w</legend>\s*<p class="text" dir="auto">(.*?)</p>', text)
    return {f"place-{at}": str(wanted[answer]) for at, answer in enumerate(shown)}


def test_a_ranking_of_four_answers_is_one_judgement_and_a_report_on_every_two(ranked: Served) -> None:
    wanted = dict(zip(ANSWERS, (1, 3, 3, 2), strict=True))
    orders = set()
    for name in ("ada", "bo", "cy"):
        browser = ranked.invited(name)
        browser.open("/compare")
        assert "checked" not in browser.text
        places = _places(browser.text, wanted)
        orders.add(tuple(places.values()))
        browser.send("/compare", form=1, **places, reason="Short is good.")
        assert "is received" in browser.text
        assert "Nothing waits" in browser.text
        assert "1 judgement," in browser.open("/")
    assert len(orders) > 1  # each sees them in an order of their own
    events = [each for each in ranked.delivered() if each["contributor_id"] == "ada"]
    assert {event["judgement_share"] for event in events} == {1 / 6}
    for event in events:
        one, other = wanted[event["response_a"]], wanted[event["response_b"]]
        assert event["probability_a"] == (0.5 if one == other else float(one < other))
    named = {event["comparison_id"]: (event["response_a"], event["response_b"]) for event in events}
    assert len(named) == 6
    assert {each["comparison_id"]: (each["response_a"], each["response_b"]) for each in MANY}.items() <= named.items()
    texts = Counter((each["comparison_id"], each["response_a"], each["response_b"]) for each in ranked.delivered())
    assert set(texts.values()) == {3}  # what everybody says of two answers is said of one comparison
    taken = build_resources(ranked.desk.settings).inbox.ingest()
    assert sum(each.accepted for each in taken) == 18


def test_a_ranking_without_a_place_or_with_one_that_there_is_not_is_sent_back_as_it_was(ranked: Served) -> None:
    ada = ranked.invited("ada")
    ada.open("/compare")
    ada.send("/compare", form=1, **{"place-0": "1", "place-1": "5", "place-2": "2"})
    assert ada.status == 422
    assert ada.text.count("Say which place the answer has") == 2
    assert ada.text.count(" checked") == 2
    assert ranked.delivered() == []
    ada.send("/compare", form=1, both_bad="yes")
    assert {(each["both_bad"], each["probability_a"]) for each in ranked.delivered()} == {(True, 0.5)}


def test_a_ranking_sent_twice_skipped_or_with_an_answer_of_ones_own(ranked: Served) -> None:
    ada, bo, cy = (ranked.invited(name) for name in ("ada", "bo", "cy"))
    ada.open("/compare")
    page, wanted = ada.text, {answer: place for place, answer in enumerate(ANSWERS, start=1)}
    ada.send("/compare", form=1, **_places(page, wanted))
    ada.text = page
    ada.send("/compare", form=1, **_places(page, wanted | {"Lovely.": 4}))
    assert "was received before, and counts once" in ada.text
    bo.open("/compare")
    bo.send("/compare", form=1, skip="yes")
    assert "Nothing waits" in bo.open("/compare")
    cy.open("/write?lot=free")
    cy.send("/write", form=1, prompt="How was it?", response="Loud. ")
    assert "Loud." in [event.get("response") for event in ranked.delivered()]
    assert "Which answer is better?" in cy.open("/compare")  # of the pair that is nobody's own
    assert "Lovely." in cy.text
    cy.send("/compare", form=1, strength="1")
    assert "Nothing waits" in cy.text
    assert Counter(event["kind"] for event in ranked.delivered())["preference"] == 7


def test_a_panel_counts_a_ranking_once(desk_settings) -> None:
    found = serve(desk_settings.changed(desk_panel_code="CODE", desk_panel_tasks=2), comparisons=MANY)
    ada = found.browser()
    ada.open("/panel?PROLIFIC_PID=ada&STUDY_ID=s&SESSION_ID=t")
    ada.send("/consent", agreed="yes")
    ada.open("/compare")
    ada.send("/compare", form=1, **_places(ada.text, dict.fromkeys(ANSWERS, 1)))
    assert "CODE" not in ada.open("/")
    found.desk.store.close()


def test_rankings_of_at_most_so_many_answers(desk_settings) -> None:
    more = [
        each | {"comparison_id": f"r000001-{number:016x}", "response_a": f"{number} one", "response_b": f"{number} two"}
        for number, each in enumerate(MANY * 2)
    ]
    for most, pages in ((2, 4), (3, 4), (4, 2), (6, 2), (8, 1)):
        found = serve(desk_settings.changed(desk_ranked=most, home=f"{desk_settings.home}-{most}"), comparisons=more)
        ada, seen = found.invited("ada"), 0
        while "Nothing waits" not in ada.open("/compare"):
            seen += 1
            ada.send("/compare", form=1, both_bad="yes")
        assert seen == pages
        found.desk.store.close()
