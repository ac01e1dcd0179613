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
  /** The platform is about to stop the agent in an orderly way. */
  | { readonly kind: 'shutdown' };

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
  | { readonly kind: 'log'; readonly level: LogLevel; readonly text: string };

export type LogLevel = 'error' | 'warn' | 'info';
