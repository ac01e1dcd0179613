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
}

export const defaultLimits: Limits = {
  outboxEffects: 64,
  waitingEvents: 16,
  payloadBytes: 4096,
  payloadDepth: 8,
  rules: 64,
  hosts: 64,
};

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
  // A rule nests trigger → protocol → field → range.
  if (limits.payloadDepth < 6)
    throw new Error(`limits.payloadDepth: expected at least 6, got ${limits.payloadDepth}`);
}
