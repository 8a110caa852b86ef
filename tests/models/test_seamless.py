"""SeamlessM4T-v2 as rooms use it, on a random checkpoint in the real layout: one pass for all languages, early speech,
one thread for all rooms, and what happens when something goes wrong."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.base import SPEECH_RATE, EngineError, EngineFailed, Pcm, Recognition, Rendering

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from models.seamless import SeamlessRecognition, SeamlessTranslator  # noqa: E402  # after the skips
from models.seamless_model import Encoded, Row, SeamlessModel  # noqa: E402
from models.seamless_worker import Worker, is_hallucination  # noqa: E402
from tests.models.tiny_seamless import noise  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

PIECE = SPEECH_RATE // 5


def heard(recognition: Recognition, clip: Pcm) -> list[list[Rendering]]:
    """Speak, look after every piece, finish: the renderings of each look, the final's last."""
    looks = []
    for start in range(0, len(clip), PIECE):
        recognition.push(clip[start : start + PIECE])
        if (interim := recognition.interim()) is not None:
            looks.append(list(interim))
    return [*looks, list(recognition.finish())]


def by_language(looks: Sequence[Sequence[Rendering]]) -> dict[str, list[Rendering]]:
    languages: dict[str, list[Rendering]] = {}
    for look in looks:
        for rendering in look:
            languages.setdefault(rendering.language, []).append(rendering)
    return languages


# loading


def test_loading_tells_how_far_it_is_and_offers_what_the_checkpoint_knows(tiny_seamless: Path) -> None:
    engine = SeamlessTranslator(str(tiny_seamless), device="cpu")
    assert len(engine.languages) > 90, "until it is loaded, what the real one knows"
    told: list[tuple[float, str]] = []
    engine.load(lambda done, doing: told.append((done, doing)))
    engine.close()
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == 1.0
    assert any("reading weights" in doing for _, doing in told)
    codes = {language.code: language for language in engine.languages}
    assert codes["es"].speech_out
    assert codes["el"].text
    assert not codes["el"].speech_out
    assert codes["zh-Hant"].speech_out, "read by the Chinese voice"
    assert not codes["oc"].text, "only understood when spoken"
    assert "ru" not in codes, "not in this checkpoint"


def test_when_it_is_loaded_it_has_heard_read_and_translated_once(tiny_seamless: Path) -> None:
    """The first speaker is not to wait until a GPU has loaded what it computes with."""
    used: set[str] = set()

    class Watched(SeamlessModel):
        def encode_speech(self, clips: Sequence[Pcm]) -> list[Encoded]:
            used.add("heard")
            return super().encode_speech(clips)

        def encode_text(self, texts: Sequence[str], language: str) -> list[Encoded]:
            used.add("read")
            return super().encode_text(texts, language)

        def decode(self, rows: Sequence[Row], max_tokens: int) -> list[tuple[int, ...]]:
            used.add("translated")
            return super().decode(rows, max_tokens)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.seamless.SeamlessModel", Watched)
        engine = SeamlessTranslator(str(tiny_seamless), device="cpu")
        engine.load(lambda done, doing: None)
        engine.close()
    assert used == {"heard", "read", "translated"}


def test_a_folder_without_a_model_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"config\.json"):
        SeamlessTranslator(str(tmp_path)).load(lambda done, doing: None)


def test_a_server_that_stops_does_not_wait_for_the_weights(tiny_seamless: Path) -> None:
    engine = SeamlessTranslator(str(tiny_seamless), device="cpu")
    with pytest.raises(EngineError, match="stopped"):
        engine.load(lambda done, doing: engine.close())  # at the first word of progress
    with pytest.raises(EngineError):
        engine.hear("bob", "en")


def test_before_it_is_loaded_it_says_so() -> None:
    with pytest.raises(EngineError, match="loaded"):
        SeamlessTranslator().hear("bob", "en")


# segments


def test_one_pass_makes_all_languages(engine: SeamlessTranslator) -> None:
    before = dict(engine.counters())
    recognition = engine.hear("bob", "en", "room", simultaneous=False)
    recognition.want(["es", "fr", "de", "el"])
    recognition.push(noise(3.0))
    made = list(recognition.finish())
    after = engine.counters()
    assert [rendering.language for rendering in made[:1]] == ["en"]
    assert {rendering.language for rendering in made} == {"en", "es", "fr", "de", "el"}
    assert {rendering.language for rendering in made if rendering.speech} == {"es", "fr", "de"}
    assert all(rendering.text for rendering in made)
    assert after["utterances_encoded"] - before["utterances_encoded"] == 1
    assert after["passes"] - before["passes"] == 1


def test_another_script_is_written_but_not_spoken_anew(engine: SeamlessTranslator) -> None:
    recognition = engine.hear("mei", "zh", simultaneous=False)
    recognition.want(["zh-Hant", "es"])
    recognition.push(noise(2.0))
    assert {one.language: one.speech is not None for one in recognition.finish()} == {
        "zh": False,
        "zh-Hant": False,
        "es": True,
    }


def test_what_is_committed_stays_and_is_spoken_before_the_segment_ends(engine: SeamlessTranslator) -> None:
    """Random weights change their mind much: of some segments little is settled, of all together enough."""
    early: list[Rendering] = []
    for seed in range(5):
        recognition = engine.hear("bob", "en", "room", simultaneous=True)
        recognition.want(["es", "el"])
        for language, renderings in by_language(heard(recognition, noise(6.0, seed))).items():
            committed = ""
            for rendering in renderings:
                assert rendering.text.startswith(committed)
                committed = rendering.text[: rendering.committed]
            said = [rendering for rendering in renderings[:-1] if rendering.speech is not None]
            assert language == "es" or not said, "nobody speaks Greek, or the speaker's own language"
            early += said
    assert early, "nothing was said early"
    assert all(one.source_end is not None and 0 < one.source_end <= 6.2 for one in early)


def test_pieces_spoken_early_and_the_rest_are_all_of_the_sentence(engine: SeamlessTranslator) -> None:
    """The samples said in pieces are as many as the words of the final take, but for the lengths that the model gives
    them anew each time."""
    recognition = engine.hear("bob", "en", "room", simultaneous=True)
    recognition.want(["es"])
    renderings = by_language(heard(recognition, noise(6.0, 1)))["es"]
    said = sum(len(rendering.speech.pcm) for rendering in renderings if rendering.speech is not None)
    alone = engine.speak(renderings[-1].text, "es")
    assert 0.7 < said / len(alone.pcm) < 1.4


def test_who_asks_to_wait_for_the_end_hears_nothing_early(engine: SeamlessTranslator) -> None:
    recognition = engine.hear("bob", "en", "room", simultaneous=False)
    recognition.want(["es"])
    *interims, final = heard(recognition, noise(4.0, 1))
    assert interims, "captions go on"
    assert all(rendering.speech is None and not rendering.committed for look in interims for rendering in look)
    assert [rendering.language for rendering in final if rendering.speech] == ["es"]


def test_a_language_that_nobody_wants_any_more_is_not_translated(model: SeamlessModel) -> None:
    worker = Worker(model)
    recognition = SeamlessRecognition(worker, "en", "room", simultaneous=False)
    recognition.want(["es", "fr"])
    recognition.push(noise(2.0))
    renderings = recognition.finish()
    recognition.want(["fr"])  # before its turn comes
    worker.start()
    assert {rendering.language for rendering in renderings} == {"en", "fr"}
    worker.close()


def test_segments_of_different_rooms_are_one_batch_and_a_cancelled_one_is_not_computed(model: SeamlessModel) -> None:
    worker = Worker(model)
    rooms = []
    for number in range(3):
        recognition = SeamlessRecognition(worker, "en", f"room {number}", simultaneous=False)
        recognition.want(["es"])
        recognition.push(noise(2.0 + number / 4, number))
        rooms.append((recognition, recognition.finish()))
    rooms[1][0].cancel()
    worker.start()
    assert [[rendering.language for rendering in renderings] for _, renderings in rooms] == [
        ["en", "es"],
        [],
        ["en", "es"],
    ]
    statistics = worker.statistics()
    worker.close()
    assert statistics["passes"] == 1
    assert statistics["utterances_encoded"] == 2
    assert statistics["cancelled"] == 1


def test_the_final_overtakes_an_interim_that_waits(model: SeamlessModel) -> None:
    worker = Worker(model)
    recognition = SeamlessRecognition(worker, "en", "room", simultaneous=True)
    recognition.want(["es"])
    recognition.push(noise(3.0))
    interim = recognition.interim()
    assert interim is not None
    assert recognition.interim() is None, "one at a time"
    final = recognition.finish()
    worker.start()
    assert list(interim) == []
    assert {rendering.language for rendering in final} == {"en", "es"}
    worker.close()


# what is no speech


@pytest.mark.parametrize(
    "clip", [noise(0.0), noise(0.1), np.zeros(SPEECH_RATE, np.float32)], ids=["nothing", "too short", "silence"]
)
def test_of_what_is_no_speech_nothing_is_understood(engine: SeamlessTranslator, clip: Pcm) -> None:
    recognition = engine.hear("bob", "en")
    recognition.want(["es"])
    recognition.push(clip)
    assert recognition.interim() is None
    assert list(recognition.finish()) == []


def test_faint_speech_is_translated_like_any_other(engine: SeamlessTranslator) -> None:
    """A microphone of -62 dB, which is still let in, and which the speech detector knows for speech."""
    clip = noise(2.0)
    faint = clip * 10 ** (-62 / 20) / np.sqrt(np.mean(np.square(clip)))
    recognition = engine.hear("bob", "en", simultaneous=False)
    recognition.want(["es"])
    recognition.push(faint.astype(np.float32))
    assert recognition.interim() is not None
    assert {rendering.language for rendering in recognition.finish() if rendering.text} == {"en", "es"}


def test_much_too_loud_speech_is_translated_all_the_same(engine: SeamlessTranslator) -> None:
    def words(clip: Pcm) -> list[str]:
        recognition = engine.hear("bob", "en", simultaneous=False)
        recognition.want(["es"])
        recognition.push(clip)
        return [rendering.text for rendering in recognition.finish()]

    assert words(noise(2.0) * 100) == words(noise(2.0))


def test_numbers_that_are_none_are_refused_and_the_next_segment_goes_well(engine: SeamlessTranslator) -> None:
    broken = noise(2.0)
    broken[1000] = np.nan
    recognition = engine.hear("bob", "en")
    recognition.push(broken)
    with pytest.raises(EngineFailed, match="no numbers"):
        list(recognition.finish())
    recognition = engine.hear("bob", "en")
    recognition.push(noise(2.0))
    assert list(recognition.finish())


def test_words_made_up_of_noise_are_known_by_their_repetition_or_their_number() -> None:
    assert is_hallucination("thank you for watching " * 12, 20.0)
    assert is_hallucination("x" * 130, 1.0)
    assert not is_hallucination("yes yes yes", 1.0)
    assert not is_hallucination("The meeting on Tuesday is moved to Thursday, since the room is taken.", 3.0)


SAID = {
    "hi": "अगर आप कल सुबह नौ बजे तक आ सकते हैं तो हम साथ में बैठकर सारी बातें कर लेंगे, और अगर नहीं आ सकते हैं तो मुझे फोन कर दीजिए, "
    "मैं परसों का समय रख लूँगा, क्योंकि परसों मेरे पास और कोई काम नहीं है और हम आराम से बैठकर बात कर सकते हैं, और "
    "उसके बाद खाना भी साथ खाएँगे।",
    "th": "พรุ่งนี้ถ้าคุณว่างตอนเก้าโมงเช้าเราจะนั่งคุยกันเรื่องงานทั้งหมด แต่ถ้าคุณไม่ว่างก็โทรบอกผมนะครับ ผมจะเลื่อนไปเป็นวันมะรืน "
    "เพราะวันมะรืนผมไม่มีงานอะไร และเราจะได้นั่งคุยกันสบายๆ ไม่ต้องรีบร้อน",
    "ka": "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით. მათ მინიჭებული აქვთ გონება და "
    "სინდისი და ერთმანეთის მიმართ უნდა იქცეოდნენ ძმობის სულისკვეთებით.",
    "my": "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း၊ တူညီလွတ်လပ်သော အခွင့်အရေးများဖြင့် လည်းကောင်း၊ "
    "မွေးဖွားလာသူများ ဖြစ်သည်။ ထိုသူတို့၌ ပိုင်းခြား ဝေဖန်တတ်သော ဉာဏ်နှင့် ကျင့်ဝတ် သိတတ်သော စိတ်တို့ရှိကြ၍ ထိုသူတို့သည် "
    "အချင်းချင်း မေတ္တာထား၍ ဆက်ဆံကျင့်သုံးသင့်၏။",
    "zh": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
}
"""What people say in 10 to 20 s, in scripts of two and three bytes a letter."""


@pytest.mark.parametrize("language", SAID)
def test_good_speech_is_believed_in_every_script(language: str) -> None:
    assert not is_hallucination(SAID[language], 20.0)
    assert is_hallucination(SAID[language][:14] * 12, 20.0), "the same over and over is not"
