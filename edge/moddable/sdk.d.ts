/**
 * What the boards' code uses of the Moddable SDK, through sdk-esp32.js or sdk-linux.js: the manifest makes one of them the
 * module `edge/moddable/sdk`. Types only; nothing is kept here.
 */

/** A TCP connection, with TLS or without. */
export interface Stream {
  /** All that can be read now. */
  read(): ArrayBuffer | undefined;
  /** Never more than may be written; returns how much more may be. Throws if there is no room for it. */
  write(bytes: Uint8Array): number;
  close(): void;
}

export interface StreamCalls {
  readonly onReadable: (count: number) => void;
  /** How many bytes may be written; the first call says that the connection stands. */
  readonly onWritable: (count: number) => void;
  /** Broken, or closed by the other side. */
  readonly onError: () => void;
}

export interface ConnectOptions extends StreamCalls {
  /** For the certificate. */
  readonly host: string;
  /** Dotted IPv4. */
  readonly address: string;
  readonly port: number;
  /** `ca`: a certificate in DER that is trusted beside those in the firmware. */
  readonly tls?: { readonly ca?: ArrayBuffer };
}

export interface UdpSocket {
  read(): (ArrayBuffer & { readonly address: string; readonly port: number }) | undefined;
  /** Throws if it cannot be sent. */
  write(bytes: Uint8Array, address: string, port: number): void;
  close(): void;
}

/** Of the SDK, such as `esp32`. */
export const platformName: string;
/** Why `ConnectOptions.tls` cannot be; undefined: it can. */
export const tlsFault: string | undefined;
/** Where the form is served when there are no settings. */
export const setupPort: number;

export function connect(options: ConnectOptions): Stream;
/**
 * Throws if the port is taken or the group cannot be joined. What is sent to a group goes out by `interface`, or the one that
 * routes say; a board has only one. It may send to all (broadcast).
 */
export function openUdp(
  port: number,
  multicast: { readonly group: string; readonly interface?: string | undefined } | undefined,
  onReadable: (this: UdpSocket, count: number) => void,
): UdpSocket;
/** Hands over each connection that comes in. */
export function listen(port: number, take: (open: (calls: StreamCalls) => Stream) => void): { close(): void };
/** An address for the name, or none. */
export function resolve(host: string, done: (address: string | undefined) => void): void;

/** The SDK's module `crypt`. */
export const crypt: import('./aead.js').NativeCrypt;

/** Calls `done` with true when there is an address, with false whenever it is lost or not to be had. */
export function joinNetwork(
  wifi: { readonly ssid: string; readonly password?: string } | undefined,
  done: (isUp: boolean) => void,
): void;
/** An access point of that name, where the board has Wi-Fi; where to find the form, in words. */
export function openAccessPoint(ssid: string): string;
export function macAddress(): string;
/** Asks a time server for the date, which certificates need; calls when it is known. */
export function setDate(done: () => void): void;

/** The store of the board. Throws when it is full. */
export const store: {
  get(domain: string, key: string): ArrayBuffer | string | undefined;
  set(domain: string, key: string, value: ArrayBuffer | string): void;
  delete(domain: string, key: string): void;
  keys(domain: string): string[];
};

export function repeat(call: () => void, everyMs: number): void;
/** Milliseconds of a clock that wraps; `elapsedMs` takes two of its readings. */
export function ticks(): number;
export function elapsedMs(from: number, to: number): number;
/** 0 … 1. */
export function random(): number;
export function print(text: string): void;
