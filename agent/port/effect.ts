/**
 * The boundary of the agent: what a platform hands in (`Input`) and what it is asked to do (`Effect`). Types only.
 *
 * An agent never performs anything: it puts effects into a bounded outbox, and the platform drains the outbox after
 * every call and performs them in order. No effect has an answer; what comes of it arrives as a later input.
 */

export type Input =
  /** A frame heard on a link, with its Ethernet header. The bytes may be reused after the call returns. */
  | { readonly kind: 'frame'; readonly link: string; readonly frame: Uint8Array }
  /** An MQTT publication on a subscribed topic; `retained` is the packet's RETAIN flag (MQTT 3.1.1 §3.3.1.3). */
  | {
      readonly kind: 'message';
      readonly topic: string;
      readonly payload: Uint8Array;
      readonly retained: boolean;
    }
  /** The broker accepted the connection. `sessionPresent` as in CONNACK (MQTT 3.1.1 §3.2.2.2). */
  | { readonly kind: 'bus-up'; readonly sessionPresent: boolean }
  | { readonly kind: 'bus-down' }
  /** Something is wrong around the agent, in the platform's words: reported as event `fault`. */
  | { readonly kind: 'fault'; readonly text: string }
  /** The platform is about to stop the agent in an orderly way. What comes after it is left aside. */
  | { readonly kind: 'shutdown' }
  | KibbutzInput
  | PppoeInput
  | UpdateInput;

/**
 * What the job `kibbutz` hears. The local link joins neighbours (Wi-Fi, Bluetooth), the uplink is the cellular one; each
 * is a UDP socket (RFC 768) to the agent, so that a board without raw Ethernet can do it. Bytes may be reused after the call.
 */
export type KibbutzInput =
  /** A payload from the local link, unicast or multicast; `peer`: the sender's address and port, in the platform's words. */
  | { readonly kind: 'datagram'; readonly link: 'local'; readonly peer: string; readonly payload: Uint8Array }
  /** A payload from the kibbutz provider, over the uplink. */
  | { readonly kind: 'datagram'; readonly link: 'uplink'; readonly payload: Uint8Array }
  /**
   * An IP packet of the own host for the Internet, as from a TUN device. `mayWait`: until some radio is up, such as DSCP LE
   * (RFC 8622). `path`: where MPTCP put it, a neighbour's member id, or 0 for the own link; left out: the kibbutz chooses.
   */
  | {
      readonly kind: 'packet';
      readonly packet: Uint8Array;
      readonly mayWait: boolean;
      readonly path?: number;
    }
  /** Own traffic of so many bytes left over the uplink without the agent, as a board's sockets do. */
  | { readonly kind: 'sent'; readonly lengthBytes: number; readonly mayWait: boolean }
  /**
   * The uplink's radio changed its state (RRC_CONNECTED or RRC_IDLE, 3GPP TS 36.331 §4.2.1); a platform that cannot tell
   * leaves it to the agent, which reckons from packets. `releaseMs`: until the network releases it if nothing more passes.
   */
  | { readonly kind: 'radio'; readonly state: 'connected'; readonly releaseMs?: number }
  | { readonly kind: 'radio'; readonly state: 'idle' }
  /** The level changed; 0 … 100. */
  | { readonly kind: 'battery'; readonly percent: number; readonly charging: boolean }
  /** The civil date where the contract is: at the start, when it becomes known, after each midnight. Month and day from 1. */
  | { readonly kind: 'date'; readonly year: number; readonly month: number; readonly day: number }
  /**
   * How the path through a neighbour does: a `PathSample` of kibbutz/watchdog.ts. About ten a second, at least one, while
   * data are under way. Without any, the agent goes by what is not answered.
   */
  | {
      readonly kind: 'path-sample';
      readonly member: number;
      readonly timeouts: number;
      readonly ssthreshBytes: number;
      readonly roundTripMs: number;
      readonly deliveredBytes: number;
      readonly wantedBytesPerSecond: number;
      readonly outstanding: boolean;
    };

/** What the job `pppoe` hears, beside frames of the access line. Bytes may be reused after the call. */
export type PppoeInput =
  /** An IP packet of the gateway's own network for the subscriber's line, its source address as the line has it. */
  { readonly kind: 'line-packet'; readonly packet: Uint8Array };

/** What comes of `image-fetch` and `slot`. Bytes may be reused after the call. */
export type UpdateInput =
  /** These bytes of the image are in the spare slot now, from offset `at`. In order, and only after an `image-fetch`. */
  | { readonly kind: 'image'; readonly state: 'chunk'; readonly at: number; readonly bytes: Uint8Array }
  /** The fetch ended early; what was told is in the slot, and it is worth another try from there. */
  | { readonly kind: 'image'; readonly state: 'broken'; readonly reason: string }
  /** What was asked for last cannot be had: no such image, another length, a slot that does not take it. */
  | { readonly kind: 'image'; readonly state: 'refused'; readonly reason: string };

export type Effect =
  | { readonly kind: 'transmit'; readonly link: string; readonly frame: Uint8Array }
  | {
      readonly kind: 'publish';
      readonly topic: string;
      readonly payload: Uint8Array;
      readonly qos: 0 | 1;
      readonly retain: boolean;
    }
  | { readonly kind: 'subscribe'; readonly filter: string; readonly qos: 0 | 1 }
  /** Keep `value` under `key` over restarts; `undefined` forgets it. */
  | { readonly kind: 'save'; readonly key: string; readonly value: Uint8Array | undefined }
  | { readonly kind: 'log'; readonly level: LogLevel; readonly text: string }
  | JobEffect;

/** What single jobs ask for. A platform that does not run a job never sees its effects. */
export type JobEffect = KibbutzEffect | PowerProxyEffect | PppoeEffect | UpdateEffect;

/** Hand a frame for a sleeping host to a program beside the agent, by the name a rule gives (`redirect.stub`). */
export type PowerProxyEffect = {
  readonly kind: 'redirect';
  readonly stub: string;
  readonly link: string;
  readonly frame: Uint8Array;
};

export type PppoeEffect =
  /** An IP packet from the subscriber's line for the gateway's own network. */
  | { readonly kind: 'line-deliver'; readonly packet: Uint8Array }
  /** The line has these addresses now (RFC 1332, RFC 1877); `mtuBytes`: of IP packets. */
  | {
      readonly kind: 'line';
      readonly state: 'up';
      readonly mode: 'tunnel' | 'plain';
      readonly address: Uint8Array;
      readonly peerAddress: Uint8Array;
      readonly dnsAddresses: readonly Uint8Array[];
      readonly mtuBytes: number;
    }
  | { readonly kind: 'line'; readonly state: 'down' };

/** What the job `kibbutz` asks for. */
export type KibbutzEffect =
  /** Send to one neighbour on the local link, or (without `peer`) to all: multicast. `peer` as in the input. */
  | {
      readonly kind: 'datagram';
      readonly link: 'local';
      readonly peer?: string;
      readonly payload: Uint8Array;
    }
  /** Send to the kibbutz provider over the uplink. */
  | { readonly kind: 'datagram'; readonly link: 'uplink'; readonly payload: Uint8Array }
  /** Hand an IP packet to the own host. */
  | { readonly kind: 'deliver'; readonly packet: Uint8Array }
  /**
   * Bring the uplink's radio up or keep it up for a tail time, or ask the network to release it at once (fast dormancy,
   * 3GPP TS 25.331 §8.1.14).
   */
  | { readonly kind: 'radio'; readonly state: 'connected' | 'idle' }
  /**
   * What a path is to MPTCP's path manager from now on: `backup` as MP_PRIO's flag (RFC 8684 §3.3.8), `gone`: remove its
   * endpoint. `path`: a neighbour's member id, or 0 for the own link, which is never gone.
   */
  | {
      readonly kind: 'path-priority';
      readonly path: number;
      readonly priority: 'normal' | 'backup' | 'gone';
    };

/** What the job `update` asks for. The platform has two slots for firmware: one it runs from, and the spare one. */
export type UpdateEffect =
  /**
   * Get bytes `from` … `size` − 1 of what is at `uri`, which has `size` in all, and append them to the spare slot; `from` 0 begins
   * the slot anew. Whatever is fetched already ends. The bytes do not pass through the agent on their way to the slot: so none can
   * be lost between the hash and the slot, and nobody keeps copies.
   */
  | { readonly kind: 'image-fetch'; readonly uri: string; readonly from: number; readonly size: number }
  | { readonly kind: 'image-stop' }
  /**
   * `activate`: the image in the spare slot is whole; restart with it, on trial. `confirm`: what runs is good; `roll-back`: it is
   * not, restart with what is in the other slot. What restarts on trial without being confirmed is rolled back, too.
   */
  | { readonly kind: 'slot'; readonly action: 'activate' | 'confirm' | 'roll-back' };

export type LogLevel = 'error' | 'warn' | 'info';
