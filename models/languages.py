"""Languages by name, and what the embedded engine's programs call them. Data only.

On the wire and inside Dragoman a language is its BCP-47 tag; what an engine calls it exists here only.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tongue:
    """One language and its names."""

    code: str
    """BCP-47 tag, e.g. `es`."""
    name: str
    """In the language itself."""
    english: str
    """In English."""
    apertium: tuple[str, ...]
    """What Apertium's packages call it (ISO 639-3, and ISO 639-1 in older ones), preferred first."""
    espeak: str
    """Its espeak-ng voice."""
    accent: str = ""
    """Code of the language whose voice stands in, where espeak-ng has none of its own."""


TONGUES: tuple[Tongue, ...] = (
    Tongue("en", "English", "English", ("eng", "en"), "en-us"),
    Tongue("es", "español", "Spanish", ("spa", "es"), "es"),
    Tongue("ca", "català", "Catalan", ("cat", "ca"), "ca"),
    # espeak-ng has no Galician. Its Spanish voice reads the spelling (ñ, ll, stress) better than the Portuguese one.
    Tongue("gl", "galego", "Galician", ("glg", "gl"), "es", accent="es"),
    Tongue("fr", "français", "French", ("fra", "fr"), "fr"),
    Tongue("pt", "português", "Portuguese", ("por", "pt"), "pt"),
    Tongue("it", "italiano", "Italian", ("ita", "it"), "it"),
)
"""What the embedded engine can offer, in the order in which people are shown it."""

BY_CODE = {tongue.code: tongue for tongue in TONGUES}


def apertium_modes(source: str, target: str) -> list[str]:
    """The names under which a direct translation may be installed, preferred first: `eng-spa`, `eng-es`, ..."""
    return [f"{a}-{b}" for a in BY_CODE[source].apertium for b in BY_CODE[target].apertium]
