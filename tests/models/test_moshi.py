"""Moshi with many people: tiny random checkpoints in the real layout, through the real loaders."""

import codecs
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import moshi, moshi_checkpoint
from models.base import EngineBroken, EngineError, EngineFailed, Pcm
from models.moshi import Batch, Moshi

try:
    moshi_checkpoint.library()
except EngineError as error:
    pytest.skip(str(error), allow_module_level=True)

import torch  # not everybody has it

from tests.models.tiny_moshi import CODEBOOKS, CONTEXT, checkpoint, speech  # needs it

pytestmark = pytest.mark.usefixtures("one_thread")

FRAMES = 52
"""Of each conversation: more than twice the context."""

VOICES = [speech(seed, FRAMES) for seed in range(3)]


@dataclass(frozen=True)
class Kind:
    """A checkpoint in memory, and how it is run."""

    folder: Path
    lm: Any
    mimi: Any
    described: bool
    guidance: float

    @contextmanager
    def batch(self, seats: int) -> Iterator[Batch]:
        """Greedy, for as long as the context lasts."""
        batch = Batch(self.lm, self.mimi, seats, {"use_sampling": False}, self.described, self.guidance)
        yield batch
        batch.close()


@pytest.fixture(scope="session", params=["moshi", "hibiki", "hibiki guided", "hibiki-zero"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of voice."""
    name, _, guided = request.param.partition(" ")
    found = moshi_checkpoint.read(checkpoint(name))
    device = torch.device("cpu")
    lm = moshi_checkpoint.load_lm(found, device, torch.float32, CONTEXT)
    return Kind(
        checkpoint(name),
        lm,
        moshi_checkpoint.load_codec(found, device),
        described="conditioners" in found.lm,
        guidance=3.0 if guided else 1.0,
    )


@dataclass
class Said:
    """What a voice said in one conversation, a frame at a time."""

    tokens: list[list[int]] = field(default_factory=list)
    pcm: list[Pcm] = field(default_factory=list)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Said) or len(self.tokens) != len(other.tokens):
            return False
        # A row of a batch is not computed in the same order as a row alone.
        return self.tokens == other.tokens and np.allclose(self.pcm, other.pcm, atol=1e-4)

    def first(self, frames: int) -> "Said":
        return Said(self.tokens[:frames], self.pcm[:frames])

    def after(self, frames: int) -> "Said":
        return Said(self.tokens[frames:], self.pcm[frames:])


def talk(batch: Batch, seats: int, frames: Mapping[int, Pcm], into: Mapping[int, Said]) -> None:
    """One step."""
    pcm = np.full((seats, 1920), 0.7, np.float32)  # the rows of others do not count
    for seat, frame in frames.items():
        pcm[seat] = frame
    tokens, said = batch.step(pcm, tuple(frames))
    for seat in frames:
        into[seat].tokens.append(tokens[seat].tolist())
        into[seat].pcm.append(said[seat])


def alone(kind: Kind, voice: Iterable[Pcm]) -> Said:
    said = Said()
    with kind.batch(1) as batch:
        for frame in voice:
            talk(batch, 1, {0: frame}, {0: said})
    return said


@pytest.fixture(scope="session")
def conversations(kind: Kind) -> list[Said]:
    """Each of VOICES, in a batch of one."""
    return [alone(kind, voice) for voice in VOICES]


def upstream(kind: Kind, voice: Iterable[Pcm], end: int | None = None) -> Said:
    """What moshi.server makes of a single conversation, from its first words on. In the `end`th frame, Hibiki
    is told that this was all, as in run_inference."""
    gen = moshi_checkpoint.library().LMGen(
        kind.lm,
        use_sampling=False,
        cfg_coef=kind.guidance,
        condition_tensors=moshi._conditions(kind.lm, 1, kind.guidance) if kind.described else None,
    )
    found = Said()
    with torch.no_grad(), kind.mimi.streaming(1), gen.streaming(1):
        for index, frame in enumerate(voice):
            if index == end:
                codes = torch.full((1, kind.mimi.num_codebooks, 1), kind.mimi.cardinality)
            else:
                codes = kind.mimi.encode(torch.from_numpy(frame)[None, None])
            if index == 0:
                kind.mimi.reset_streaming()
            if (tokens := gen.step(codes)) is not None:
                found.tokens.append(tokens[0, :, 0].tolist())
                found.pcm.append(kind.mimi.decode(tokens[:, 1:])[0, 0].clamp(-1, 1).numpy())
    return found


def test_a_conversation_alone_is_what_upstream_makes_of_it(kind: Kind, conversations: Sequence[Said]) -> None:
    """Nothing for as many frames as tokens are delayed, then the same, and it differs with what is heard."""
    delay = max(kind.lm.delays)
    assert conversations[0].tokens[:delay] == [[-2] * (1 + CODEBOOKS)] * delay
    assert not np.any(conversations[0].pcm[:delay])
    assert conversations[0].after(delay) == upstream(kind, VOICES[0])
    for other in conversations[1:]:
        assert other.tokens[CONTEXT:] != conversations[0].tokens[CONTEXT:]


def test_a_seat_does_not_feel_the_others(kind: Kind, conversations: Sequence[Said]) -> None:
    """Four seats; people join late, say nothing for a while, leave, and others sit down in their place, at random: each
    conversation is token by token what it is alone."""
    rng, seats = np.random.default_rng(1), 4
    voice, position = [int(rng.integers(3)) for _ in range(seats)], [-1] * seats  # -1: nobody sits there
    now = {seat: Said() for seat in range(seats)}
    held: list[tuple[int, Said]] = []
    with kind.batch(seats) as batch:
        while sum(len(said.tokens) == FRAMES for _, said in held) < 4:
            joining = [seat for seat in range(seats) if position[seat] < 0 and rng.random() < 0.2]
            if joining:
                batch.reset(joining)
            for seat in joining:
                voice[seat], position[seat], now[seat] = int(rng.integers(3)), 0, Said()
                held.append((voice[seat], now[seat]))
            talking = [seat for seat in range(seats) if position[seat] >= 0 and rng.random() < (0.9, 0.7)[seat % 2]]
            if talking:
                talk(batch, seats, {seat: VOICES[voice[seat]][position[seat]] for seat in talking}, now)
            for seat in talking:
                position[seat] += 1
                if position[seat] == FRAMES or rng.random() < 0.01:
                    position[seat] = -1
    assert len(held) > 4
    for which, said in held:
        assert said == conversations[which].first(len(said.tokens))


def test_nothing_survives_into_the_next_conversation(kind: Kind, conversations: Sequence[Said]) -> None:
    """Whatever was said before, and however often; even numbers that overflowed are gone, while a neighbour goes on."""
    said = {0: Said(), 1: Said()}
    with kind.batch(2) as batch:
        for index in range(0, FRAMES, FRAMES // 2):
            said[1] = Said()
            batch.reset([1])
            for frame in range(FRAMES // 2):
                talk(batch, 2, {0: VOICES[0][index + frame], 1: VOICES[1][frame]}, said)
            assert said[1] == conversations[1].first(FRAMES // 2)
            for ring in batch._rings:
                ring[:, 1::2] = torch.nan
            for state in kind.mimi.get_streaming_state().values():
                for value in vars(state).values():
                    if isinstance(value, torch.Tensor) and value.is_floating_point():
                        value[1] = torch.nan
    assert said[0] == conversations[0]


def test_the_end_of_the_input_is_heard(kind: Kind, conversations: Sequence[Said]) -> None:
    """By the seat whose input ends, as upstream feeds it; its neighbour does not hear it."""
    if kind.folder.name == "moshi":
        with pytest.raises(ValueError, match="moshi does not wait for an end"):
            Moshi(kind.folder).end_input([0])
        return
    end, delay, said = 30, max(kind.lm.delays), {0: Said(), 1: Said()}
    with kind.batch(2) as batch:
        for index in range(FRAMES):
            if index == end:
                batch.end_input([0])
            talk(batch, 2, dict.fromkeys(said, VOICES[0][index]), said)
    assert said[0].after(delay) == upstream(kind, VOICES[0], end)
    assert said[1] == conversations[0]
    assert said[0].tokens[end:] != said[1].tokens[end:]


@pytest.fixture
def loaded() -> Iterator[Moshi]:
    """A voice with three seats, greedy."""
    voice = Moshi(checkpoint("moshi"), seats=3, device="cpu", greedy=True)
    heard: list[float] = []
    voice.load(lambda fraction, _: heard.append(fraction))
    assert heard == sorted(heard) and heard[0] == 0 and heard[-1] == 1
    yield voice
    voice.close()


def test_it_answers_each_frame_with_one(loaded: Moshi) -> None:
    """Of the same length, in [-1, 1], silent at first; for the seats that were asked for, and only those."""
    assert loaded.step({}) == {}
    heard: dict[int, list[Pcm]] = {0: [], 2: []}
    text = {0: "", 2: ""}
    for index in range(FRAMES):
        answer = loaded.step({0: VOICES[0][index], 2: VOICES[2][index]})
        assert answer.keys() == {0, 2}
        for seat, frame in answer.items():
            assert frame.pcm.shape == (1920,) and frame.pcm.dtype == np.float32 and np.abs(frame.pcm).max() <= 1
            heard[seat].append(frame.pcm)
            text[seat] += frame.text
    assert not np.any(heard[0][0]) and np.any(heard[0][1])
    assert text[0] and text[2] and text[0] != text[2]
    assert loaded.counters()["steps"] == FRAMES and loaded.counters()["frames"] == 2 * FRAMES

    found = moshi_checkpoint.read(checkpoint("moshi"))
    lm = moshi_checkpoint.load_lm(found, torch.device("cpu"), torch.float32, CONTEXT)
    mimi = moshi_checkpoint.load_codec(found, torch.device("cpu"))
    expected = alone(Kind(checkpoint("moshi"), lm, mimi, described=False, guidance=1.0), VOICES[2])
    assert np.allclose(heard[2], expected.pcm, atol=1e-4)
    pieces = moshi.pieces(moshi_checkpoint.load_tokenizer(found), {0, 3})
    written = b"".join(pieces[tokens[0]] for tokens in expected.tokens if tokens[0] >= 0)
    decoded = codecs.getincrementaldecoder("utf-8")("replace").decode(written)  # half a character may be left
    assert text[2] == decoded


def test_text_is_words_with_spaces() -> None:
    """Pieces of words, octets of what is no word, and nothing for padding, marks and what is not known."""
    tokenizer = moshi_checkpoint.load_tokenizer(moshi_checkpoint.read(checkpoint("moshi")))
    pieces = moshi.pieces(tokenizer, {0, 3})
    assert pieces[:4] == [b""] * 4
    sentence = "how are you — 你好"
    assert b"".join(pieces[token] for token in tokenizer.EncodeAsIds(sentence)).decode() == " " + sentence


def test_half_a_character_waits_for_its_other_half(loaded: Moshi) -> None:
    """In its own seat; a new conversation does not begin with it."""
    frame, many = VOICES[0][0], len(loaded._pieces)
    loaded.step({0: frame, 1: frame})
    loaded._pieces = [b"\xc3"] * many
    assert [answer.text for answer in loaded.step({0: frame, 1: frame}).values()] == ["", ""]
    loaded.reset([1])
    loaded._pieces = [b"\xa9"] * many
    assert loaded.step({0: frame})[0].text == "é"
    loaded._pieces = [b"a"] * many
    loaded.step({1: frame})
    assert loaded.step({1: frame})[1].text == "a"


def test_a_step_that_fails_is_one_step(loaded: Moshi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames are lost, the sentence says why, and the next step is made."""

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore about it.")

    loaded.step({0: VOICES[0][0]})
    with monkeypatch.context() as broken:
        broken.setattr(Batch, "step", full)
        with pytest.raises(EngineFailed, match=r"lost a step: CUDA out of memory\. Tried to allocate 2 GiB\.$"):
            loaded.step({0: VOICES[0][1]})
    assert loaded.counters()["failures"] == 1
    assert np.any(loaded.step({0: VOICES[0][2]})[0].pcm)


def test_a_gpu_that_fails_is_broken(loaded: Moshi, monkeypatch: pytest.MonkeyPatch) -> None:
    """For good: nothing reaches it any more."""

    def gone(*_: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with …")

    with monkeypatch.context() as broken:
        broken.setattr(Batch, "step", gone)
        with pytest.raises(EngineBroken, match=r"illegal memory access was encountered\): start moshi"):
            loaded.step({0: VOICES[0][0]})
    for call in (lambda: loaded.step({0: VOICES[0][0]}), lambda: loaded.reset([0])):
        with pytest.raises(EngineBroken, match="start moshi anew"):
            call()


def test_a_frame_that_is_none_is_refused_before_anything_happens(loaded: Moshi) -> None:
    """And so is a seat that is none."""
    for frame, why in (
        (np.zeros(960, np.float32), r"seat 1: a frame has shape \(1920,\), not \(960,\)"),
        (np.full(1920, np.nan, np.float32), "seat 1: a frame has finite numbers only"),
        (np.full(1920, np.inf, np.float32), "seat 1: a frame has finite numbers only"),
    ):
        with pytest.raises(ValueError, match=why):
            loaded.step({0: VOICES[0][0], 1: frame})
    for seat in (-1, 3):
        with pytest.raises(ValueError, match=f"there is no seat {seat}: there are 3, from 0"):
            loaded.step({seat: VOICES[0][0]})
        with pytest.raises(ValueError, match=f"there is no seat {seat}"):
            loaded.reset([0, seat])
    assert loaded.counters()["steps"] == 0 and loaded.counters()["resets"] == 0


def test_too_loud_is_as_loud_as_can_be(loaded: Moshi) -> None:
    """A frame beyond [-1, 1] is clipped: it must not overflow in the codec."""
    shout = np.sign(VOICES[0][0])
    said = [loaded.step({0: 1e30 * shout, 1: shout}) for _ in range(5)]
    assert all(np.array_equal(answer[0].pcm, answer[1].pcm) for answer in said) and np.any(said[-1][0].pcm)


def test_closed_is_closed(loaded: Moshi) -> None:
    """Twice; and calls say so."""
    loaded.close()
    loaded.close()
    with pytest.raises(EngineFailed, match="moshi is not loaded"):
        loaded.step({0: VOICES[0][0]})


def test_what_cannot_be_is_said_before_loading() -> None:
    """Seats, contexts and guidance."""
    folder = checkpoint("moshi")
    with pytest.raises(ValueError, match="at least one seat, not 0"):
        Moshi(folder, seats=0)
    with pytest.raises(ValueError, match="runs on cuda or cpu, not on mps"):
        Moshi(folder, device="mps")
    for context in (-1, 0, CONTEXT + 1):
        with pytest.raises(ValueError, match=f"is 1 to {CONTEXT} steps, not {context}"):
            Moshi(folder, context=context)
    with pytest.raises(ValueError, match="knows no guidance"):
        Moshi(folder, guidance=3.0)


def test_seats_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is read."""
    monkeypatch.setattr(moshi, "available", lambda device: (10**9, "this GPU"))
    with pytest.raises(EngineError, match=r"^400 seats at context 24 need 7 GB; this GPU has 1: use at most \d\d, "):
        Moshi(checkpoint("moshi"), seats=400, device="cpu").load(lambda fraction, doing: None)


def test_a_shorter_context_remembers_less() -> None:
    """And takes less memory."""
    said = {}
    for context in (4, CONTEXT):
        voice = Moshi(checkpoint("moshi"), seats=1, context=context, device="cpu", greedy=True)
        voice.load(lambda fraction, doing: None)
        assert voice._batch is not None
        assert max(ring.shape[3] for ring in voice._batch._rings[-2:]) == context
        said[context] = np.concatenate([voice.step({0: frame})[0].pcm for frame in VOICES[0][:20]])
        voice.close()
    assert np.allclose(said[4][: 4 * 1920], said[CONTEXT][: 4 * 1920], atol=1e-5)
    assert not np.allclose(said[4], said[CONTEXT], atol=5e-3)


def test_a_checkpoint_that_does_not_run_says_so(tmp_path: Path) -> None:
    """A sampling parameter that the library does not know, for one."""
    shutil.copytree(checkpoint("moshi"), tmp_path, dirs_exist_ok=True)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"top_k_text"', '"warmth"'))
    with pytest.raises(EngineError, match=r"moshi does not run: .*'warmth'"):
        Moshi(tmp_path, device="cpu").load(lambda fraction, doing: None)


def test_another_codec_is_refused(tmp_path: Path) -> None:
    """Its codes would mean something else to the model."""
    shutil.copytree(checkpoint("moshi"), tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "mimi_config.json").read_text())
    config |= {"sample_rate": 48_000, "frame_rate": 25}
    (tmp_path / "mimi_config.json").write_text(json.dumps(config))
    with pytest.raises(EngineError, match=r"tokenizer-tiny-checkpoint\.safetensors is not the codec of model"):
        Moshi(tmp_path, device="cpu").load(lambda fraction, doing: None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_said() -> None:
    """When one was asked for."""
    with pytest.raises(EngineError, match="moshi does not run: "):
        Moshi(checkpoint("moshi"), device="cuda").load(lambda fraction, doing: None)
