"""Sentences of a small language with their translations, for training and judging a small interpreter.

Some sixty English words, 4 to 14 in a sentence. The Spanish and the German are word for word but reordered, so that who
translates along has to wait as in life: Spanish needs the noun before its article and its adjective, and for `picks the
big ball up` (recoge) or `out` (elige) the last word before the second; German puts every verb at the end.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

LANGUAGES = ("eng", "spa", "deu")
"""As SeamlessM4T calls them. English is what is spoken."""

LONGEST = 14
"""English words in a sentence."""

Word = tuple[str, int]
"""(as written, index of the last spoken word that must have been heard to know it)"""


@dataclass(frozen=True)
class Sentence:
    """One sentence in every language."""

    spoken: tuple[str, ...]
    """English words without punctuation."""
    written: dict[str, tuple[Word, ...]]
    """By language, with punctuation."""

    def text(self, language: str) -> str:
        return " ".join(word for word, _ in self.written[language])

    @property
    def aloud(self) -> str:
        """For a speech synthesiser: it pauses at the comma."""
        return self.text("eng")


@dataclass(frozen=True)
class Noun:
    english: str
    many: str
    spanish: str
    german: str
    german_many: str
    feminine: bool = False
    article: str = "der"

    @property
    def spanish_many(self) -> str:
        return self.spanish + ("s" if self.spanish[-1] in "aeo" else "es")


LIVING = (
    Noun("dog", "dogs", "perro", "hund", "hunde"),
    Noun("cat", "cats", "gato", "katze", "katzen", article="die"),
    Noun("bird", "birds", "pájaro", "vogel", "vögel"),
    Noun("horse", "horses", "caballo", "pferd", "pferde", article="das"),
    Noun("donkey", "donkeys", "burro", "esel", "esel"),
    Noun("doctor", "doctors", "médico", "arzt", "ärzte"),
    Noun("girl", "girls", "niña", "mädchen", "mädchen", feminine=True, article="das"),
    Noun("teacher", "teachers", "maestra", "lehrerin", "lehrerinnen", feminine=True, article="die"),
)
THINGS = (
    Noun("ball", "balls", "pelota", "ball", "bälle", feminine=True),
    Noun("book", "books", "libro", "buch", "bücher", article="das"),
    Noun("box", "boxes", "caja", "kiste", "kisten", feminine=True, article="die"),
    Noun("hat", "hats", "sombrero", "hut", "hüte"),
)
PLACES = (
    Noun("garden", "", "jardín", "garten", ""),
    Noun("house", "", "casa", "haus", "", feminine=True, article="das"),
    Noun("river", "", "río", "fluss", ""),
    Noun("school", "", "escuela", "schule", "", feminine=True, article="die"),
)
DATIVE = {"der": "dem", "das": "dem", "die": "der"}

ADJECTIVES = {
    "red": ("rojo", "rote"),
    "blue": ("azul", "blaue"),
    "green": ("verde", "grüne"),
    "white": ("blanco", "weiße"),
    "black": ("negro", "schwarze"),
    "big": ("grande", "große"),
    "small": ("pequeño", "kleine"),
    "old": ("viejo", "alte"),
}
NUMBERS = {
    "two": ("dos", "zwei"),
    "three": ("tres", "drei"),
    "four": ("cuatro", "vier"),
    "seven": ("siete", "sieben"),
    "ten": ("diez", "zehn"),
}
ALONE = {"sleeps": ("duerme", "schläft"), "sings": ("canta", "singt")}
ON_SOMETHING = {
    "sees": ("ve", "sieht"),
    "finds": ("encuentra", "findet"),
    "follows": ("sigue", "verfolgt"),
    "likes": ("quiere", "mag"),
}
WITH_PARTICLE = {
    ("picks", "up"): ("recoge", "aufhebt"),
    ("picks", "out"): ("elige", "auswählt"),
    ("puts", "down"): ("deja", "ablegt"),
    ("puts", "away"): ("guarda", "wegräumt"),
}
PREPOSITIONS = {"in": ("en", "in"), "behind": ("tras", "hinter"), "under": ("bajo", "unter")}
TIMES = {"today": ("hoy", "heute"), "now": ("ahora", "jetzt"), "again": ("nuevamente", "wieder")}
JOINTS = {"and": ("y", "und"), "but": ("pero", "aber")}


@dataclass(frozen=True)
class Phrase:
    """Part of a sentence; the indices in its words count from its own first spoken word."""

    spoken: tuple[str, ...] = ()
    spanish: tuple[Word, ...] = ()
    german: tuple[Word, ...] = ()


def single(english: str, pair: tuple[str, str]) -> Phrase:
    return Phrase((english,), ((pair[0], 0),), ((pair[1], 0),))


def moved(words: Sequence[Word], by: int) -> tuple[Word, ...]:
    return tuple((word, index + by) for word, index in words)


def agreeing(adjective: str, feminine: bool, many: bool) -> str:
    """A Spanish adjective as its noun wants it."""
    word = adjective[:-1] + "a" if feminine and adjective.endswith("o") else adjective
    return word if not many else word + ("s" if word[-1] in "aeo" else "es")


def noun_phrase(random: Random, nouns: Sequence[Noun], counted: bool) -> Phrase:
    """The red dog, or where it may be counted: two red dogs."""
    noun = random.choice(nouns)
    number = random.choice(sorted(NUMBERS)) if counted and random.random() < 0.4 else None
    adjective = random.choice(sorted(ADJECTIVES)) if random.random() < 0.5 else None
    last = 2 if adjective else 1
    spoken = (number or "the", *([adjective] if adjective else []), noun.many if number else noun.english)
    article = "la" if noun.feminine else "el"
    spanish = [(NUMBERS[number][0], 0) if number else (article, last)]
    spanish.append((noun.spanish_many if number else noun.spanish, last))
    german = [(NUMBERS[number][1], 0) if number else (noun.article, last)]
    if adjective:
        spanish.append((agreeing(ADJECTIVES[adjective][0], noun.feminine, bool(number)), last))
        german.append((ADJECTIVES[adjective][1], 1))
    german.append((noun.german_many if number else noun.german, last))
    return Phrase(spoken, tuple(spanish), tuple(german))


def where(random: Random) -> Phrase:
    """In the garden."""
    english = random.choice(sorted(PREPOSITIONS))
    place = random.choice(PLACES)
    spanish, german = PREPOSITIONS[english]
    return Phrase(
        (english, "the", place.english),
        ((spanish, 0), ("la" if place.feminine else "el", 2), (place.spanish, 2)),
        ((german, 0), (DATIVE[place.article], 2), (place.german, 2)),
    )


def joined(phrases: Sequence[Phrase]) -> Phrase:
    """One after the other in every language."""
    spoken: tuple[str, ...] = ()
    spanish: tuple[Word, ...] = ()
    german: tuple[Word, ...] = ()
    for phrase in phrases:
        spanish += moved(phrase.spanish, len(spoken))
        german += moved(phrase.german, len(spoken))
        spoken += phrase.spoken
    return Phrase(spoken, spanish, german)


def clause(random: Random) -> Phrase:
    """The old teacher picks two balls up in the garden today."""
    subject = noun_phrase(random, LIVING, counted=False)
    kind = random.random()
    particle: tuple[str, ...] = ()
    thing = Phrase()
    if kind < 0.15:
        verb, meaning = random.choice(sorted(ALONE.items()))
    elif kind < 0.65:
        verb, meaning = random.choice(sorted(ON_SOMETHING.items()))
        thing = noun_phrase(random, LIVING + THINGS, counted=True)
    else:
        (verb, last), meaning = random.choice(sorted(WITH_PARTICLE.items()))
        thing = noun_phrase(random, THINGS, counted=True)
        particle = (last,)
    place = where(random) if random.random() < 0.5 else Phrase()
    time = single(*random.choice(sorted(TIMES.items()))) if random.random() < 0.4 else Phrase()

    known = len(thing.spoken) + 1 if particle else 0  # counted from the verb: when its meaning is clear
    rest = joined([thing, Phrase(particle), place, time])
    start = len(subject.spoken)
    spoken = (*subject.spoken, verb, *rest.spoken)
    spanish = (*subject.spanish, (meaning[0], start + known), *moved(rest.spanish, start + 1))
    german = (*subject.german, *moved(rest.german, start + 1), (meaning[1], len(spoken) - 1))
    return Phrase(spoken, spanish, german)


def sentence(random: Random, longest: int = LONGEST) -> Sentence:
    """One of a million or so."""
    while True:
        phrase = clause(random)
        if random.random() < 0.3:
            phrase = joined([marked(phrase, ","), single(*random.choice(sorted(JOINTS.items()))), clause(random)])
        if 4 <= len(phrase.spoken) <= longest:
            break
    phrase = marked(phrase, ".")
    plain = tuple(word.strip(",.") for word in phrase.spoken)
    english = tuple((word, index) for index, word in enumerate(phrase.spoken))
    return Sentence(plain, {"eng": english, "spa": phrase.spanish, "deu": phrase.german})


def marked(phrase: Phrase, mark: str) -> Phrase:
    """With `mark` after its last word in every language."""
    (spanish, spanish_at), (german, german_at) = phrase.spanish[-1], phrase.german[-1]
    return Phrase(
        (*phrase.spoken[:-1], phrase.spoken[-1] + mark),
        (*phrase.spanish[:-1], (spanish + mark, spanish_at)),
        (*phrase.german[:-1], (german + mark, german_at)),
    )


def together(sentences: Sequence[Sentence]) -> Sentence:
    """Several sentences as one segment of speech."""
    spoken: tuple[str, ...] = ()
    written: dict[str, tuple[Word, ...]] = dict.fromkeys(LANGUAGES, ())
    for one in sentences:
        written = {language: written[language] + moved(one.written[language], len(spoken)) for language in LANGUAGES}
        spoken += one.spoken
    return Sentence(spoken, written)


def different(random: Random, longest: int = LONGEST, without: frozenset[str] = frozenset()) -> Iterator[Sentence]:
    """Sentences without end, no two alike and none whose English is in `without`."""
    seen = set(without)
    while True:
        one = sentence(random, longest)
        if one.aloud not in seen:
            seen.add(one.aloud)
            yield one
