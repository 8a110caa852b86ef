"""What the embedded partner answers."""

from datetime import datetime

import pytest

from models.small_talk import GREETING, NOT_HEARD, SmallTalk


def talk() -> SmallTalk:
    return SmallTalk(lambda: datetime(2026, 3, 2, 14, 5))


@pytest.mark.parametrize(
    ("heard", "answer"),
    [
        ("What time is it?", "My clock says 14:05."),
        ("But time is it?", "My clock says 14:05."),
        ("What day is today?", "Today is Monday, 2 March."),
        ("Count to three.", "One, two, three."),
        ("Can you count?", "One, two, three, four, five."),
        ("Repeat after me the weather is nice.", "The weather is nice."),
        ("Repeat after me.", "I see. Please go on."),
        ("Please say that again.", GREETING),
        ("My name is Ana.", "Nice to meet you, Ana."),
        ("Are you a human?", "I am a simple program with a few rules, not Moshi and not a person."),
        ("I need my coffee.", "What would it mean to you to get your coffee?"),
        ("I think you like me.", "What makes you think I like you?"),
        ("", NOT_HEARD),
    ],
)
def test_it_knows_a_few_things_and_turns_the_rest_round(heard: str, answer: str) -> None:
    assert talk().reply(heard) == answer


def test_it_says_what_it_is_first_and_repeats_itself_when_asked() -> None:
    assert "simple program, not Moshi" in GREETING
    one = talk()
    assert one.reply("say that again") == GREETING
    assert len({one.reply("the weather outside") for _ in range(4)}) == 4


def test_the_same_conversation_is_the_same_again() -> None:
    said = ["hello", "i feel tired", "the harbour", "the ships", "goodbye"]
    first, second = talk(), talk()
    assert [first.reply(text) for text in said] == [second.reply(text) for text in said]
