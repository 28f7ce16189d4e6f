import numpy as np
import pytest

from crowd_assets.forum import comments as forum
from crowd_assets.forum import words


@pytest.fixture(scope="module")
def comments() -> list[forum.Comment]:
    return forum.write_comments(20_000, np.random.default_rng(1))


def test_twenty_thousand_responses_are_distinct(comments: list[forum.Comment]) -> None:
    assert len({comment.response for comment in comments}) == len(comments) == 20_000


def test_every_mood_and_every_topic_has_its_share(comments: list[forum.Comment]) -> None:
    moods = [comment.mood for comment in comments]
    assert {mood: moods.count(mood) for mood in forum.MOODS} == dict.fromkeys(forum.MOODS, 2_000)
    topics = [comment.topic for comment in comments]
    expected = len(comments) / len(forum.TOPICS)
    assert all(0.5 * expected < topics.count(topic) < 1.5 * expected for topic in forum.TOPICS)


def test_prompts_and_responses_are_printable_sentences(comments: list[forum.Comment]) -> None:
    for comment in comments:
        for text in (comment.prompt, comment.response):
            assert text.isprintable()
            assert text == text.strip()
            assert text[0].isupper()
            assert "{" not in text
            assert "  " not in text
        assert comment.response[-1] in ".!?"
        assert 5 <= len(comment.response.split()) <= 40
    lengths = [len(comment.response.split()) for comment in comments]
    assert np.percentile(lengths, 1) >= 8
    assert np.percentile(lengths, 99) <= 26


def test_no_single_word_gives_a_mood_away(comments: list[forum.Comment]) -> None:
    for mood in forum.MOODS:
        own = [set(comment.response.lower().split()) for comment in comments if comment.mood == mood]
        others = set().union(*(comment.response.lower().split() for comment in comments if comment.mood != mood))
        words = set().union(*own) - others
        assert max(sum(word in text for text in own) for word in words) < 0.25 * len(own)


def test_the_grammar_keeps_what_distinctness_rests_on() -> None:
    fillers = [
        choice for topic in words.TOPIC_WORDS.values() for choices in topic.fillers.values() for choice in choices
    ]
    assert len(fillers) == len(set(fillers))
    for mood in forum.MOODS:
        assert len(set(words.OPENERS[mood])) == len(words.OPENERS[mood]) >= 15
        assert len(set(words.CONTINUATIONS[mood])) == len(words.CONTINUATIONS[mood]) >= 15
        for continuation in words.CONTINUATIONS[mood]:
            assert set(forum._slots((continuation,))) - {"when"}


def test_all_choices_of_a_comment_give_different_texts() -> None:
    cells, ways = forum._comment_cells("joy")[:289], forum._ways_of_comments("joy")[:289]
    drawn = forum._distinct(cells, ways, np.random.default_rng(0))
    texts = [forum._render(parts, fillers) for (_, parts), fillers in drawn]
    assert len(texts) == len(set(texts)) == sum(map(forum._ways, cells)) == sum(ways)


def test_the_same_generator_state_writes_the_same() -> None:
    def everything(seed: int) -> list[object]:
        rng = np.random.default_rng(seed)
        return [
            forum.write_comments(50, rng),
            forum.write_comment("joy", "chess", rng),
            forum.prompts(rng, 50),
            forum.off_topic_text(rng),
            forum.spam_text(rng),
            forum.misspell("A sentence with several longer words", rng),
        ]

    assert everything(3) == everything(3)
    assert everything(3) != everything(4)


def test_moods_are_goemotions_labels_and_opposites_are_mutual() -> None:
    goemotions = (
        "admiration amusement anger annoyance approval caring confusion curiosity desire disappointment disapproval "
        "disgust embarrassment excitement fear gratitude grief joy love nervousness neutral optimism pride realization "
        "relief remorse sadness surprise"
    )
    assert set(forum.MOODS) <= set(goemotions.split())
    assert set(words.OPPOSITE) == set(forum.MOODS)
    assert all(words.OPPOSITE[words.OPPOSITE[mood]] == mood != words.OPPOSITE[mood] for mood in forum.MOODS)


def test_one_comment_has_the_mood_and_topic_asked_for() -> None:
    comment = forum.write_comment("fear", "sailing", np.random.default_rng(0))
    assert (comment.mood, comment.topic) == ("fear", "sailing")


def test_the_limit_is_stated_when_more_are_asked_for() -> None:
    most = forum.most_comments(["joy"])
    with pytest.raises(ValueError, match=f"{most} distinct responses"):
        forum.write_comments(most + 1, np.random.default_rng(0), moods=["joy"])
    with pytest.raises(ValueError, match="distinct prompts"):
        forum.prompts(np.random.default_rng(0), 10**6)


@pytest.mark.parametrize("moods", [[], ["joy", "joy"], ["boredom"]])
def test_unusable_moods_are_refused(moods: list[str]) -> None:
    with pytest.raises(ValueError, match="mood"):
        forum.write_comments(10, np.random.default_rng(0), moods=moods)


def test_an_unknown_topic_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="gardening"):
        forum.write_comment("joy", "astrology", np.random.default_rng(0))


def test_prompts_are_distinct() -> None:
    prompts = forum.prompts(np.random.default_rng(0), 3_000)
    assert len(prompts) == len(set(prompts)) == 3_000


def test_misspelling_keeps_the_number_of_words_and_changes_about_the_share_asked_for() -> None:
    rng = np.random.default_rng(0)
    words = ["wonderful"] * 2_000
    misspelt = forum.misspell(" ".join(words), rng, rate=0.3).split(" ")
    assert len(misspelt) == len(words)
    # A neighbour key or a swap of equal letters never occurs in this word: every typo shows.
    assert sum(word != "wonderful" for word in misspelt) / len(words) == pytest.approx(0.3, abs=0.05)
    assert forum.misspell("Nothing changes here", rng, rate=0) == "Nothing changes here"
    with pytest.raises(ValueError, match="rate"):
        forum.misspell("text", rng, rate=2)


def test_texts_of_careless_contributors_are_many_and_belong_to_no_topic(comments: list[forum.Comment]) -> None:
    rng = np.random.default_rng(0)
    responses = {comment.response for comment in comments}
    for write in (forum.off_topic_text, forum.spam_text):
        texts = {write(rng) for _ in range(500)}
        assert len(texts) > 200
        assert all(text.isprintable() and text for text in texts)
        assert not texts & responses
