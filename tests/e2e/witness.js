/**
 * Runs in a page before the page's own scripts and writes down what a person at this browser sees and hears, with the
 * time: tests ask afterwards instead of looking at the right moment.
 *
 * What is heard is taken from the received tracks (MediaStreamTrackProcessor: Chromium only), whose frames carry their
 * own time, so a busy machine delays the note and not the time in it.
 */
(() => {
  /** 'mic', 'original en', 'translation es', …: [ms since 1970, RMS] of each 10 ms. */
  const sounds = {};
  /** Every value of the connection pill, in order. */
  const states = [];
  /** Every text a caption ever showed: {kind, translated, lang, text, segment}. */
  const captions = [];
  /** Seconds of each recording that was played to its end outside the call. */
  const played = [];

  const tapped = new WeakSet();

  /** @param {MediaStreamTrack} track @param {() => string | null} label */
  async function tap(track, label) {
    tapped.add(track);
    const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const samples = new Float32Array(value.numberOfFrames);
      value.copyTo(samples, { planeIndex: 0, format: 'f32-planar' });
      const at = performance.timeOrigin + value.timestamp / 1000;
      value.close();
      const name = label();
      if (name === null) continue;
      let sum = 0;
      for (const sample of samples) sum += sample * sample;
      (sounds[name] ??= []).push([at, Math.sqrt(sum / samples.length)]);
    }
  }

  function findTracks() {
    const call = window.dragoman?.call;
    const microphone = call?.microphone?.track;
    if (microphone && !tapped.has(microphone)) void tap(microphone, () => 'mic');
    for (const { mid, receiver } of call?.pc?.getTransceivers() ?? []) {
      if (!call.slots.has(mid) || tapped.has(receiver.track)) continue;
      const { pc } = call;
      void tap(receiver.track, () => {
        const slot = call.pc === pc ? call.slots.get(mid) : null;
        return slot ? `${slot.variant} ${slot.language}` : null;
      });
    }
  }

  const shown = new WeakMap();

  function look() {
    const state = document.querySelector('[data-testid=connection-state]')?.dataset.state;
    if (state && state !== states.at(-1)) states.push(state);
    for (const span of document.querySelectorAll('[data-testid=caption] [data-kind]')) {
      const { kind, translated, segmentId } = span.dataset;
      const news = JSON.stringify([kind, translated, segmentId, span.textContent]);
      if (!span.textContent || shown.get(span) === news) continue;
      shown.set(span, news);
      captions.push({ kind, translated: translated === 'true', lang: span.lang, text: span.textContent, segment: segmentId });
    }
  }

  new MutationObserver(look).observe(document, {
    subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ['data-kind', 'data-state'],
  });
  document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => {
    console.error(`blocked by the content security policy: ${blockedURI} (${violatedDirective})`);
  });
  const play = HTMLMediaElement.prototype.play;
  HTMLMediaElement.prototype.play = function playAndNote() {
    this.addEventListener('ended', () => played.push(this.duration), { once: true });
    return play.call(this);
  };
  if ('MediaStreamTrackProcessor' in window) setInterval(findTracks, 50);

  window.witness = {
    sounds, states, captions, played,
    /** Seconds of a sound that were louder than -40 dBFS since some time. */
    loud: (name, since = 0) => (sounds[name] ?? []).filter(([at, rms]) => at >= since && rms > 0.01).length / 100,
    /** Seconds of a sound, loud or not. */
    seconds: (name, since = 0) => (sounds[name] ?? []).filter(([at]) => at >= since).length / 100,
    /** The clock of all these times. */
    now: () => performance.timeOrigin + performance.now(),
  };
})();
