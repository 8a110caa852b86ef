"""What the embedded partner can say: a few skills, and otherwise the person's own words turned round.

After ELIZA (Weizenbaum 1966): it understands nothing. The same words in the same place of a conversation always get the
same answer.
"""

import re
from collections.abc import Callable
from datetime import datetime

GREETING = (
    "Hello. I am a simple program, not Moshi and not a person. I hear English, and often wrong. "
    "Ask me for the time, let me count, or say: repeat after me."
)

NOT_HEARD = "I heard you, but I did not understand a word. Please say it again."
BUSY = "Too many people are speaking at once for me. Please say that again."

MAX_COUNT = 20

_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()

_TURNED = {
    "i": "you",
    "me": "you",
    "my": "your",
    "mine": "yours",
    "myself": "yourself",
    "i'm": "you are",
    "i've": "you have",
    "i'll": "you will",
    "am": "are",
    "you": "I",
    "your": "my",
    "yours": "mine",
    "yourself": "myself",
    "you're": "I am",
    "you've": "I have",
}

_REFLECTIONS = (
    (r"\bi (?:need|want) (.+)", "What would it mean to you to get {}?"),
    (r"\bi (?:feel|am feeling) (.+)", "How long have you felt {}?"),
    (r"\b(?:i am|i'm) (.+)", "How long have you been {}?"),
    (r"\bi (?:can't|cannot|can not) (.+)", "What keeps you from being able to {}?"),
    (r"\bi (?:think|believe|guess) (.+)", "What makes you think {}?"),
    (r"\bi (?:like|love|enjoy) (.+)", "What do you like about {}?"),
    (r"\bi remember (.+)", "What else do you remember about {}?"),
    (r"\bbecause (.+)", "Is that the only reason?"),
    (r"\bmy (mother|father|sister|brother|wife|husband|son|daughter|family)\b", "Tell me more about your {}."),
    (r"\b(?:yes|yeah|sure|okay)\b", "Good. Tell me more."),
    (r"\bno\b", "Why not?"),
    (r"^(?:what|who|where|when|why|how|is|are|do|does|can|could|will)\b", "That is beyond a simple program like me."),
)

_ON = (
    "I see. Please go on.",
    "Tell me more about that.",
    "What do you think about it yourself?",
    "How does that make you feel?",
)


class SmallTalk:
    """One person's conversation: `reply` to each thing they say."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._turns = 0
        self._said = GREETING

    def reply(self, heard: str) -> str:
        """An answer to what was heard, which may be nothing."""
        words = " ".join(re.sub(r"[^a-z' ]", " ", heard.lower()).split())
        self._said = self._answer(words, heard) if words else NOT_HEARD
        return self._said

    def _answer(self, words: str, heard: str) -> str:
        if re.search(r"\b(?:say (?:that|it) again|repeat that|pardon)\b", words):
            return self._said
        if match := re.search(r"\b(?:repeat after me|say after me|please say)\b\W*(\w.*)", heard, re.IGNORECASE):
            return match[1][0].upper() + match[1][1:]
        # "time is it" will do: the first word of a question is what a recogniser loses most easily
        if re.search(r"\btime\b", words) and re.search(r"\b(?:what|tell|know|is it)\b", words):
            return f"My clock says {self._clock():%H:%M}."
        if re.search(r"\b(?:what day|the date|today)\b", words):
            now = self._clock()
            return f"Today is {now:%A}, {now.day} {now:%B}."
        if match := re.search(r"\bcount\b(?:.*?\b(\w+)$)?", words):
            last = _NUMBERS.index(match[1]) if match[1] in _NUMBERS[1:] else 5
            return ", ".join(_NUMBERS[1 : min(last, MAX_COUNT) + 1]).capitalize() + "."
        if match := re.search(r"\bmy name is (\w+)", words):
            return f"Nice to meet you, {match[1].capitalize()}."
        if re.search(r"\b(?:who|what) are you\b|\bare you (?:a|human|moshi|real)\b|\byour name\b", words):
            return "I am a simple program with a few rules, not Moshi and not a person."
        if re.search(r"\bhow are you\b", words):
            return "I am a program, so always the same. How are you?"
        if re.search(r"\b(?:hello|hi|good morning|good evening)\b", words):
            return "Hello. What is on your mind?"
        if re.search(r"\b(?:bye|goodbye)\b", words):
            return "Goodbye. It was good to hear you."
        if re.search(r"\bthank", words):
            return "You are welcome."
        return self._reflect(words)

    def _reflect(self, words: str) -> str:
        for pattern, answer in _REFLECTIONS:
            if match := re.search(pattern, words):
                turned = " ".join(_TURNED.get(word, word) for word in match[1].split()) if match.groups() else ""
                return answer.format(turned)
        self._turns += 1
        return _ON[(self._turns - 1) % len(_ON)]
