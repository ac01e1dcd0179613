/**
 * Every limit of the agent in one place, with what happens at it, and how the limits relate (checked by a test).
 *
 * The values suit a microcontroller; a platform with more room passes larger ones to the agent's constructor.
 */

export interface Limits {
  /** Effects an agent holds between two drains. Full: a frame to send is dropped and counted; a message waits. */
  readonly outboxEffects: number;
  /** Events that wait while the bus is down or the outbox is full. Full: the oldest is dropped and counted. */
  readonly waitingEvents: number;
  /** Bytes of one MQTT payload that is looked at. Longer: counted, reported, changes nothing. */
  readonly payloadBytes: number;
  /** Nesting of a decoded payload. Deeper: refused. */
  readonly payloadDepth: number;
  /** Rules in force. More: the new rule is rejected. */
  readonly rules: number;
  /** Hosts the power proxy keeps state for. More: the one heard longest ago is forgotten. */
  readonly hosts: number;
  /** Frames that woke a host and wait until it is up, and their bytes. Full: a further one is dropped and counted. */
  readonly heldFrames: number;
  readonly heldBytes: number;
  /** Answers for sleeping hosts that wait for their random delay. Full: a further question goes unanswered. */
  readonly waitingAnswers: number;
  /** Neighbours of a kibbutz, 1 … 255. More: the one heard longest ago makes room, or the new one is refused. */
  readonly neighbours: number;
  /** Bytes of one IP packet of ours. Longer: dropped and counted. */
  readonly packetBytes: number;
  /**
   * Own packets that wait for a radio or for a neighbour's answer, and their bytes. Full: one that should wait goes over
   * the own link at once, and one under way through a neighbour is not sent again if that refuses it.
   */
  readonly waitingPackets: number;
  readonly waitingBytes: number;
  /** Own packets in the queue before the uplink, and their bytes as sealed. Full: the new one is dropped and counted. */
  readonly uplinkPackets: number;
  readonly uplinkBytes: number;
  /** The same for those of each neighbour. */
  readonly forwardedPackets: number;
  readonly forwardedBytes: number;
}

export const defaultLimits: Limits = {
  outboxEffects: 64,
  waitingEvents: 16,
  payloadBytes: 4096,
  payloadDepth: 8,
  rules: 64,
  hosts: 64,
  // The first packets of a connection or two for each of a few hosts.
  heldFrames: 8,
  heldBytes: 6000,
  waitingAnswers: 64,
  // More than five devices in a kibbutz the paper does not expect (mobile kibbutz, §2.1.3.2.3).
  neighbours: 4,
  // Ethernet's MTU (RFC 894).
  packetBytes: 1500,
  waitingPackets: 8,
  waitingBytes: 6000,
  // 64 ms of the paper's 2 Mbit/s; a phone takes the 250 ms of kibbutz/uplink-queue.ts.
  uplinkPackets: 32,
  uplinkBytes: 16_000,
  forwardedPackets: 8,
  forwardedBytes: 6000,
};

/** What two envelopes add to a packet (kibbutz/envelope.ts; written out, for boards without a kibbutz load this file too). */
export const envelopesBytes = 60;
/** What fits into one UDP datagram on the local link, within two envelopes and five bytes (kibbutz/job.ts). */
const longestPacketBytes = 65_507 - envelopesBytes - 5;

/** What must hold between limits; throws, naming the limit, if a platform passes others. */
export function checkLimits(limits: Limits): void {
  for (const name of Object.keys(limits) as (keyof Limits)[]) {
    const value = limits[name];
    if (!(value >= 1 && value % 1 === 0))
      throw new Error(`limits.${name}: expected an integer from 1, got ${value}`);
  }
  // One input may cause a status, an event, a stored value and two frames.
  if (limits.outboxEffects < 8)
    throw new Error(`limits.outboxEffects: expected at least 8, got ${limits.outboxEffects}`);
  if (limits.neighbours > 255)
    throw new Error(`limits.neighbours: expected 1..255, got ${limits.neighbours}`);
  // At shutdown every neighbour's account is saved, what the owner's limits count, the registration, and the state said.
  if (limits.outboxEffects < limits.neighbours + 4)
    throw new Error(
      `limits.outboxEffects: expected at least ${limits.neighbours + 4}, 4 more than neighbours, got ${limits.outboxEffects}`,
    );
  if (limits.packetBytes > longestPacketBytes)
    throw new Error(`limits.packetBytes: expected 1..${longestPacketBytes}, got ${limits.packetBytes}`);
  // The longest packet must fit everywhere, and round robin needs a second one to choose from.
  for (const name of ['waitingBytes', 'uplinkBytes', 'forwardedBytes'] as const) {
    const least = limits.packetBytes + (name === 'waitingBytes' ? 0 : envelopesBytes);
    if (limits[name] < least)
      throw new Error(`limits.${name}: expected at least ${least}, got ${limits[name]}`);
  }
  if (limits.forwardedPackets < 2)
    throw new Error(`limits.forwardedPackets: expected at least 2, got ${limits.forwardedPackets}`);
  // A rule nests trigger → protocol → field → range.
  if (limits.payloadDepth < 6)
    throw new Error(`limits.payloadDepth: expected at least 6, got ${limits.payloadDepth}`);
}
