"""Languages by name, what each engine's programs call them, and who speaks them. Data only.

On the wire and inside Dragoman a language is its BCP-47 tag; what an engine calls it exists here only.

Names come from Unicode CLDR, but where people say otherwise (Bahasa Indonesia, Bengali); a second English one is in
brackets where both are in use. What SeamlessM4T-v2 knows is listed in
https://github.com/facebookresearch/seamless_communication/blob/main/docs/m4t/README.md, but for two things that only
the checkpoint's own table of target languages tells: it writes `sat`, and the Malay that it writes is called `zlm`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tongue:
    """One language, its names, and what the engines can do with it."""

    code: str
    """BCP-47 tag, as short as it can be: `es`, not `spa`; `fil` and not `tl`, which browsers no longer use."""
    name: str
    """In the language itself."""
    english: str
    """In English."""
    seamless: str
    """What SeamlessM4T calls it: ISO 639-3, where need be with a script (`cmn_Hant`)."""
    speaker: int | None = None
    """The voice in SeamlessM4T-v2's vocoder, None where it has none. It has 75; this is the first of each language in
    its makers' list (cards/vocoder_v2.yaml). Left out, transformers takes 0: Arabic's."""
    text: bool = True
    """SeamlessM4T-v2 writes it. Where it does not, it only understands it when spoken."""
    heard: bool = True
    """SeamlessM4T-v2 understands it when spoken."""
    apertium: tuple[str, ...] = ()
    """What Apertium's packages call it (ISO 639-3, and ISO 639-1 in older ones), preferred first."""
    espeak: str = ""
    """Its espeak-ng voice, where the embedded engine uses one."""
    accent: str = ""
    """Code of the language whose voice stands in, where espeak-ng has none of its own."""

    @property
    def voice(self) -> str | None:
        """What SeamlessM4T's vocoder calls it, None without a voice. A script makes no difference to the ear."""
        return self.seamless.partition("_")[0] if self.speaker is not None else None


LANGUAGES: dict[str, Tongue] = {
    tongue.code: tongue
    for tongue in (
        Tongue("af", "Afrikaans", "Afrikaans", "afr"),
        Tongue("am", "አማርኛ", "Amharic", "amh"),
        Tongue("ar", "العربية", "Arabic", "arb", 0),
        Tongue("ary", "الدارجة المغربية", "Moroccan Arabic", "ary"),
        Tongue("arz", "العامية المصرية", "Egyptian Arabic", "arz"),
        Tongue("as", "অসমীয়া", "Assamese", "asm"),
        Tongue("ast", "asturianu", "Asturian", "ast", text=False),
        Tongue("az", "azərbaycan", "Azerbaijani", "azj"),
        Tongue("be", "беларуская", "Belarusian", "bel"),
        Tongue("bg", "български", "Bulgarian", "bul"),
        Tongue("bn", "বাংলা", "Bengali", "ben", 1),
        Tongue("bs", "bosanski", "Bosnian", "bos"),
        Tongue("ca", "català", "Catalan", "cat", 2, apertium=("cat", "ca"), espeak="ca"),
        Tongue("ceb", "Cebuano", "Cebuano", "ceb"),
        Tongue("ckb", "کوردیی ناوەندی", "Central Kurdish (Sorani)", "ckb"),
        Tongue("cs", "čeština", "Czech", "ces", 3),
        Tongue("cy", "Cymraeg", "Welsh", "cym", 6),
        Tongue("da", "dansk", "Danish", "dan", 7),
        Tongue("de", "Deutsch", "German", "deu", 9),
        Tongue("el", "Ελληνικά", "Greek", "ell"),
        Tongue("en", "English", "English", "eng", 10, apertium=("eng", "en"), espeak="en-us"),
        Tongue("es", "español", "Spanish", "spa", 45, apertium=("spa", "es"), espeak="es"),
        Tongue("et", "eesti", "Estonian", "est", 11),
        Tongue("eu", "euskara", "Basque", "eus"),
        Tongue("fa", "فارسی", "Persian (Farsi)", "pes", 38),
        Tongue("fi", "suomi", "Finnish", "fin", 14),
        Tongue("fil", "Filipino", "Tagalog", "tgl", 53),
        Tongue("fr", "français", "French", "fra", 15, apertium=("fra", "fr"), espeak="fr"),
        Tongue("fuv", "Fulfulde", "Nigerian Fulfulde", "fuv"),
        Tongue("ga", "Gaeilge", "Irish", "gle"),
        # espeak-ng has no Galician. Its Spanish voice reads the spelling (ñ, ll, stress) better than Portuguese does.
        Tongue("gl", "galego", "Galician", "glg", apertium=("glg", "gl"), espeak="es", accent="es"),
        Tongue("gu", "ગુજરાતી", "Gujarati", "guj"),
        Tongue("he", "עברית", "Hebrew", "heb"),
        Tongue("hi", "हिन्दी", "Hindi", "hin", 16),
        Tongue("hr", "hrvatski", "Croatian", "hrv"),
        Tongue("hu", "magyar", "Hungarian", "hun"),
        Tongue("hy", "հայերեն", "Armenian", "hye"),
        Tongue("id", "Bahasa Indonesia", "Indonesian", "ind", 17),
        Tongue("ig", "Igbo", "Igbo", "ibo"),
        Tongue("is", "íslenska", "Icelandic", "isl"),
        Tongue("it", "italiano", "Italian", "ita", 29, apertium=("ita", "it"), espeak="it"),
        Tongue("ja", "日本語", "Japanese", "jpn", 30),
        Tongue("jv", "Basa Jawa", "Javanese", "jav"),
        Tongue("ka", "ქართული", "Georgian", "kat"),
        Tongue("kam", "Kikamba", "Kamba", "kam", text=False),
        Tongue("kea", "kabuverdianu", "Cape Verdean Creole", "kea", text=False),
        Tongue("kk", "қазақ тілі", "Kazakh", "kaz"),
        Tongue("km", "ខ្មែរ", "Khmer", "khm"),
        Tongue("kn", "ಕನ್ನಡ", "Kannada", "kan"),
        Tongue("ko", "한국어", "Korean", "kor", 31),
        Tongue("ky", "кыргызча", "Kyrgyz", "kir"),
        Tongue("lb", "Lëtzebuergesch", "Luxembourgish", "ltz", text=False),
        Tongue("lg", "Luganda", "Ganda", "lug"),
        Tongue("lo", "ລາວ", "Lao", "lao"),
        Tongue("lt", "lietuvių", "Lithuanian", "lit"),
        Tongue("luo", "Dholuo", "Luo", "luo"),
        Tongue("lv", "latviešu", "Latvian", "lvs"),
        Tongue("mai", "मैथिली", "Maithili", "mai"),
        Tongue("mk", "македонски", "Macedonian", "mkd"),
        Tongue("ml", "മലയാളം", "Malayalam", "mal"),
        Tongue("mn", "монгол", "Mongolian", "khk"),
        Tongue("mni", "মৈতৈলোন্", "Manipuri (Meitei)", "mni"),
        Tongue("mr", "मराठी", "Marathi", "mar"),
        Tongue("ms", "Bahasa Melayu", "Malay", "zlm"),
        Tongue("mt", "Malti", "Maltese", "mlt", 32),
        Tongue("my", "မြန်မာ", "Burmese", "mya"),
        Tongue("nb", "norsk bokmål", "Norwegian Bokmål", "nob"),
        Tongue("ne", "नेपाली", "Nepali", "npi"),
        Tongue("nl", "Nederlands", "Dutch", "nld", 35),
        Tongue("nn", "norsk nynorsk", "Norwegian Nynorsk", "nno"),
        Tongue("ny", "Chinyanja", "Nyanja (Chichewa)", "nya"),
        Tongue("oc", "occitan", "Occitan", "oci", text=False),
        Tongue("om", "Afaan Oromoo", "Oromo", "gaz"),
        Tongue("or", "ଓଡ଼ିଆ", "Odia", "ory"),
        Tongue("pa", "ਪੰਜਾਬੀ", "Punjabi", "pan"),
        Tongue("pl", "polski", "Polish", "pol", 39),
        Tongue("ps", "پښتو", "Pashto", "pbt"),
        Tongue("pt", "português", "Portuguese", "por", 40, apertium=("por", "pt"), espeak="pt"),
        Tongue("ro", "română", "Romanian", "ron", 41),
        Tongue("ru", "русский", "Russian", "rus", 43),
        Tongue("sat", "ᱥᱟᱱᱛᱟᱲᱤ", "Santali", "sat", heard=False),
        Tongue("sd", "سنڌي", "Sindhi", "snd"),
        Tongue("sk", "slovenčina", "Slovak", "slk", 44),
        Tongue("sl", "slovenščina", "Slovenian", "slv"),
        Tongue("sn", "chiShona", "Shona", "sna"),
        Tongue("so", "Soomaali", "Somali", "som"),
        Tongue("sr", "српски", "Serbian", "srp"),
        Tongue("sv", "svenska", "Swedish", "swe", 46),
        Tongue("sw", "Kiswahili", "Swahili", "swh", 49),
        Tongue("ta", "தமிழ்", "Tamil", "tam"),
        Tongue("te", "తెలుగు", "Telugu", "tel", 52),
        Tongue("tg", "тоҷикӣ", "Tajik", "tgk"),
        Tongue("th", "ไทย", "Thai", "tha", 54),
        Tongue("tr", "Türkçe", "Turkish", "tur", 61),
        Tongue("uk", "українська", "Ukrainian", "ukr", 62),
        Tongue("ur", "اردو", "Urdu", "urd", 63),
        Tongue("uz", "o‘zbek", "Uzbek", "uzn", 66),
        Tongue("vi", "Tiếng Việt", "Vietnamese", "vie", 69),
        Tongue("xh", "isiXhosa", "Xhosa", "xho", text=False),
        Tongue("yo", "Èdè Yorùbá", "Yoruba", "yor"),
        Tongue("yue", "粵語", "Cantonese", "yue"),
        Tongue("zh", "简体中文", "Chinese (Mandarin)", "cmn", 4),
        Tongue("zh-Hant", "繁體中文", "Chinese (Mandarin), traditional", "cmn_Hant", 4),
        Tongue("zu", "isiZulu", "Zulu", "zul"),
    )
}
"""Every language that some engine here knows, by code. SeamlessM4T-v2 knows all of them."""

BY_SEAMLESS = {tongue.seamless: tongue for tongue in LANGUAGES.values()}

TONGUES: tuple[Tongue, ...] = tuple(LANGUAGES[code] for code in ("en", "es", "ca", "gl", "fr", "pt", "it"))
"""What the embedded engine can offer, in the order in which people are shown it."""

BY_CODE = {tongue.code: tongue for tongue in TONGUES}
"""The same by code."""


def apertium_modes(source: str, target: str) -> list[str]:
    """The names under which a direct translation may be installed, preferred first: `eng-spa`, `eng-es`, ..."""
    return [f"{a}-{b}" for a in BY_CODE[source].apertium for b in BY_CODE[target].apertium]
