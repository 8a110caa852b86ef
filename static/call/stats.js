/** @typedef {import('./protocol.js').Slot} Slot */

/**
 * The few figures of `getStats()` that say whether a call is well.
 *
 * @param {RTCPeerConnection} pc @param {ReadonlyMap<string, Slot>} slots by mid
 * @param {(mid: string) => number} level how loud a slot is now
 */
export async function callStats(pc, slots, level) {
  /** @type {any[]} */
  const reports = [...(await pc.getStats()).values()];
  const pair = reports.find((r) => r.type === 'candidate-pair' && r.nominated && r.state === 'succeeded');
  return {
    state: pc.connectionState,
    rtt_ms: pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
    sent: reports
      .filter((r) => r.type === 'outbound-rtp')
      .map(({ mid, packetsSent, bytesSent }) => ({ mid, packetsSent, bytesSent })),
    received: reports
      .filter((r) => r.type === 'inbound-rtp')
      .map((r) => ({
        mid: r.mid,
        slot: slots.get(r.mid) ?? null,
        packets: r.packetsReceived,
        lost: r.packetsLost,
        jitter_ms: r.jitter * 1000,
        concealed_ratio: r.totalSamplesReceived ? r.concealedSamples / r.totalSamplesReceived : 0,
        playout_delay_ms: r.jitterBufferEmittedCount ? (1000 * r.jitterBufferDelay) / r.jitterBufferEmittedCount : 0,
        level: level(r.mid), // not totalAudioEnergy: a muted <audio> keeps that at 0 in Chromium though WebAudio plays
      })),
  };
}
