/**
 * What a platform gives an agent when it starts. Types only.
 */

/** A link the agent hears and speaks on. */
export interface Link {
  /** Its name in inputs, effects and reports. */
  readonly name: string;
  /** The MAC address the agent's own frames carry, 6 bytes. */
  readonly mac: Uint8Array;
}

/** What earlier `save` effects kept, read whole before the agent starts. */
export interface Saved {
  readonly [key: string]: Uint8Array;
}
