"""Everyday meeting sentences for tests and benches, in English.

Nobody picked only those that the embedded recogniser gets right: about four in five come out exact from a Flite voice.
"""

SENTENCES = (
    "Good morning everybody.",
    "The meeting starts at ten o'clock.",
    "We will begin in five minutes.",
    "I will send you the document after the call.",
    "Please send me the report before Friday.",
    "The next meeting is on Tuesday.",
    "Thank you for your help.",
    "We need more time to finish the work.",
    "The project is going very well.",
    "Our customers are happy with the new product.",
    "I have a question about the budget.",
    "The price is too high.",
    "We can talk about this tomorrow.",
    "I work for a small company.",
    "He will arrive in the afternoon.",
    "We have a problem with the computer.",
    "I want to learn Spanish this year.",
    "The team has finished the first part.",
    "I do not understand the question.",
    "We agree with the plan.",
    "The results are very important.",
    "They will open a new office in Madrid next year.",
    "I would like to thank everybody for coming.",
    "I think that this is a good idea.",
    "We must change the date of the meeting.",
    "We have two hundred employees.",
    "I will call you on Monday.",
    "What time is the meeting?",
    "The company has offices in many countries.",
    "We will discuss the budget next week.",
)
"""In any order; each is 1 to 3 s long."""

SURE = (
    ("We have a problem with the computer.", "tenemos un problema con el ordenador"),
    ("The results are very important.", "los resultados son muy importantes"),
    ("The company has offices in many countries.", "la empresa tiene oficinas en muchos países"),
    ("I will call you on Monday.", "te llamaré el lunes"),
)
"""(English, Spanish in lower case without its full stop): the embedded engine gets these wholly right from Flite's
`slt`, `rms` and `awb` at a normal level, so a test of the whole path may ask for every word."""

PARAGRAPH = " ".join((SENTENCES[8], SENTENCES[7], SENTENCES[9], SENTENCES[20], SENTENCES[28]))
"""Five sentences without a pause planned between them: about 13 s."""
