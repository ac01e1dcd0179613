/**
 * What a platform gives an agent when it starts. Types only.
 */

/** A link the agent hears and speaks on. */
export interface Link {
  /** Its name in inputs, effects and reports. */
  readonly name: string;
  /** The MAC address the agent's own frames carry, 6 bytes. */
  readonly mac: Uint8Array;
  /**
   * False: frames for another station's MAC do not reach this link, as behind a switch. Then the power proxy says that a sleeping
   * host's addresses are at `mac`. Left out: they do, as on a bridge the agent runs on.
   */
  readonly hearsOthers?: boolean;
  /** `datagrams`: no raw Ethernet, but what UDP sockets get: no host is heard by its MAC. Left out: all frames. */
  readonly hears?: 'frames' | 'datagrams';
  /** The agent's own addresses on it, 4 and 16 bytes; a service of the agent (the sleep proxy) is found by them. */
  readonly addresses?: readonly Uint8Array[];
}

/** What earlier `save` effects kept, read whole before the agent starts. */
export interface Saved {
  readonly [key: string]: Uint8Array;
}
