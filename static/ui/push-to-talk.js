/** @param {EventTarget | null} target @returns {boolean} whether keys belong to what is focused */
function takesKeys(target) {
  return target instanceof Element && target.closest('input, textarea, select, [contenteditable]') !== null;
}

/** @param {EventTarget | null} target @returns {boolean} the button that is held to talk does not: Space does the same */
function takesSpace(target) {
  if (takesKeys(target)) return true;
  const pressed = target instanceof Element ? target.closest('button, summary, a') : null;
  return pressed !== null && !pressed.closest('mute-button');
}

/**
 * The room's keys: M mutes, Space talks while it is held (when push to talk is on).
 *
 * @param {{toggleMute: () => void, pushToTalk: () => boolean, talk: (talking: boolean) => void}} actions
 * @param {AbortSignal} signal ends it
 */
export function listenToKeys({ toggleMute, pushToTalk, talk }, signal) {
  let held = false;
  const release = () => {
    if (held) talk(false);
    held = false;
  };
  window.addEventListener(
    'keydown',
    (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.code === 'KeyM' && !event.repeat && !takesKeys(event.target)) toggleMute();
      if (event.code !== 'Space' || !pushToTalk() || takesSpace(event.target)) return;
      event.preventDefault();
      if (!held) talk(true);
      held = true;
    },
    { signal },
  );
  window.addEventListener(
    'keyup',
    (event) => {
      if (event.code === 'Space') release();
    },
    { signal },
  );
  window.addEventListener('blur', release, { signal });
}
