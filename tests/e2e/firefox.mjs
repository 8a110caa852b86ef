/**
 * A person in front of Firefox: joins a room, reads captions, writes and reads a message, leaves.
 *
 *     node firefox.mjs '{"executable", "room", "name", "language", "captions": [[original, translated], …], "writes", "reads"}'
 *
 * Driven over WebDriver BiDi, so it needs no geckodriver. Prints what was seen as one JSON object; problems end it with
 * a sentence on stderr and an exit status that is not 0.
 */

import puppeteer from 'puppeteer-core';

const { executable, room, name, language, captions, writes, reads } = JSON.parse(process.argv[2] ?? '{}');
const PATIENCE_MS = 60_000;

const browser = await puppeteer.launch({
  browser: 'firefox',
  executablePath: executable,
  headless: true,
  timeout: PATIENCE_MS,
  protocolTimeout: 2 * PATIENCE_MS,
  extraPrefsFirefox: {
    'media.navigator.streams.fake': true,
    'media.navigator.permission.disabled': true,
    'media.autoplay.default': 0,
    'media.autoplay.blocking_policy': 0,
  },
});

const problems = [];

try {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  await page.setViewport({ width: 1280, height: 800 });
  page.on('console', (message) => { if (message.type() === 'error') problems.push(message.text()); });
  page.on('pageerror', (error) => problems.push(`uncaught: ${error.message}`));
  page.on('dialog', (dialog) => { problems.push(`dialog: ${dialog.message()}`); void dialog.dismiss(); });

  const by = (testid, more = '') => `[data-testid=${testid}]${more}`;
  const appears = (selector) => page.waitForSelector(selector, { visible: true });
  const holds = (what, ...args) => page.waitForFunction(what, { polling: 100 }, ...args);

  await page.goto(room);
  await (await appears(by('name-input'))).type(name);
  await page.click(by('language-select'));
  await (await appears(by('language-select-dialog', ` [data-value=${language}]`))).click();
  await holds((selector) => document.querySelector(selector)?.textContent.startsWith('Say something'), by('mic-status'));
  await page.click(by('join-button'));
  await appears(by('connection-state', '[data-state=connected]'));

  const understood = await holds((pairs) => {
    for (const turn of document.querySelectorAll('[data-testid=caption]')) {
      /** @param {boolean} translated */
      const words = (translated) => [...turn.querySelectorAll(`[data-kind=final][data-translated=${translated}]`)]
        .map((span) => span.textContent).join(' ').toLowerCase();
      const found = pairs.find(([original, translation]) => words(true).includes(translation) && words(false).includes(original));
      if (found) return found;
    }
    return null;
  }, captions.map((pair) => pair.map((text) => text.toLowerCase().replace(/\.$/, ''))));

  const heard = await holds(async () => {
    const { pc, slots } = window.dragoman.call;
    const found = await Promise.all([...slots.values()].map(async ({ mid, variant, language: spoken }) => {
      const { receiver } = pc.getTransceivers().find((transceiver) => transceiver.mid === mid);
      const report = [...(await receiver.getStats()).values()].find(({ type }) => type === 'inbound-rtp');
      return { variant, language: spoken, packets: report?.packetsReceived ?? 0 };
    }));
    return found.length > 1 && found.every(({ packets }) => packets > 50) && found;
  });

  await page.type(by('chat-input'), writes);
  await page.click(by('chat-send'));
  await holds((text) => [...document.querySelectorAll('[data-testid=chat-message]')].some((one) => one.textContent.includes(text)), reads);

  await page.click(by('leave-button'));
  await appears(by('left'));
  console.log(JSON.stringify({ version: await browser.version(), understood: await understood.jsonValue(), slots: await heard.jsonValue(), problems }));
} catch (error) {
  const [page] = (await browser.pages()).slice(-1);
  throw new Error(`${await page?.evaluate(() => document.body.innerText)}\n${problems.join('\n')}`, { cause: error });
} finally {
  await browser.close();
}
