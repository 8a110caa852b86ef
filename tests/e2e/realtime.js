/**
 * An application made for OpenAI's Realtime API: the SDK as npm has it, and a note of all that it tells.
 */
import { OpenAIRealtimeWebRTC, RealtimeAgent, RealtimeSession } from './sdk/openai-realtime-agents.mjs';

/** Every event of the server, as it came. */
const events = [];
/** What the SDK said of its connection, in order. */
const states = [];
/** What the SDK took for an error. */
const errors = [];

const audio = document.createElement('audio');
document.body.append(audio);

/** @type {RealtimeSession} */
let session;
/** @type {OpenAIRealtimeWebRTC} */
let transport;
/** @type {RTCPeerConnection} The SDK forgets it when it is closed. */
let pc;

/** Without `apiKey` the page asks for a secret itself. */
async function connect(server, apiKey, instructions) {
  if (!apiKey) {
    const answer = await fetch(`${server}/v1/realtime/client_secrets`, { method: 'POST' });
    apiKey = (await answer.json()).value;
  }
  transport = new OpenAIRealtimeWebRTC({
    baseUrl: `${server}/v1/realtime/calls`,
    audioElement: audio,
    changePeerConnection: (made) => (pc = made),
  });
  transport.on('*', (event) => events.push(event));
  transport.on('connection_change', (state) => states.push(state));
  session = new RealtimeSession(new RealtimeAgent({ name: 'Dragoman', instructions }), { transport });
  session.on('error', (error) => errors.push(error));
  await session.connect({ apiKey });
  return transport.callId;
}

/** Of the SDK's history: what `role` said, as far as it is known. */
const said = (role) =>
  session.history
    .filter((item) => item.role === role)
    .flatMap((item) => item.content.map((part) => part.transcript ?? ''))
    .join(' ');

/** What was heard so far (W3C webrtc-stats): its energy, the seconds it lasted, and how many of them since a sound. */
const heard = { energy: 0, seconds: 0, silence: 0 };

async function listen() {
  for (const report of (await pc?.getStats())?.values() ?? []) {
    if (report.type !== 'inbound-rtp' || !report.totalSamplesDuration) continue;
    const { totalAudioEnergy: energy, totalSamplesDuration: seconds } = report;
    heard.silence = energy - heard.energy > 1e-5 ? 0 : heard.silence + seconds - heard.seconds;
    Object.assign(heard, { energy, seconds });
  }
  setTimeout(listen, 50);
}
void listen();

window.app = { connect, said, heard, events, states, errors, interrupt: () => session.interrupt(), audio };
