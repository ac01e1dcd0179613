/**
 * The client's side of MQTT 3.1.1 (OASIS, 2014), as much as an agent needs: CONNECT with a will, SUBSCRIBE, PUBLISH both ways
 * with QoS 0 and 1, PINGREQ. Sans-I/O: bytes in, bytes out. One connection; the next one is a new object.
 *
 * Bounds: one publication under way at a time (`isReady`), so that nothing is kept but by whoever publishes; an incoming
 * packet of more than `mostPacketBytes` ends the connection, as does anything a broker must not send.
 */

import {
  decodeUtf8,
  encodeUtf8,
  readUint16,
  writeBytes,
  writeUint8,
  writeUint16,
} from '../../agent/core/bytes.js';

export interface MqttCalls {
  send(bytes: Uint8Array): void;
  /** The broker took us. */
  up(): void;
  /** It did not, or does no more; why. */
  down(reason: string): void;
  message(topic: string, payload: Uint8Array, retained: boolean): void;
}

export interface MqttOptions {
  readonly clientId: string;
  /** '' for none. */
  readonly user: string;
  readonly password: string;
  readonly will: { readonly topic: string; readonly payload: Uint8Array };
  /** 1 … 65,535. */
  readonly keepAliveS: number;
}

const mostPacketBytes = 4096;
const connack = 0x20;
const publish = 0x30;
const puback = 0x40;
const subscribe = 0x82;
const suback = 0x90;
const pingRequest = 0xc0;
const pingResponse = 0xd0;
/** A broker that does not answer what must be answered within so long is gone. */
const answerMs = 20_000;

export class Mqtt {
  private readonly options: MqttOptions;
  private readonly calls: MqttCalls;
  private unread: Uint8Array = new Uint8Array(0);
  private isOpen = false;
  private isDown = false;
  private packetId = 0;
  /** Of the publication under way; 0: none. */
  private awaited = 0;
  private sentAt: number;
  /** Something must have come by then; 0: nothing is awaited. */
  private answerBy: number;

  constructor(now: number, options: MqttOptions, calls: MqttCalls) {
    this.options = options;
    this.calls = calls;
    this.sentAt = now;
    this.answerBy = now + answerMs;
    const { clientId, user, password, will, keepAliveS } = options;
    // Clean session; a will that is retained, with QoS 1 (§3.1.2.3).
    let flags = 0x02 | 0x04 | 0x08 | 0x20;
    if (user !== '') flags |= 0xc0;
    const parts = [
      text('MQTT'),
      bytesOf(4, flags),
      short(keepAliveS),
      text(clientId),
      text(will.topic),
      framed(will.payload),
    ];
    if (user !== '') parts.push(text(user), text(password));
    this.emit(0x10, parts);
  }

  /** Whether a publication may be handed in. */
  get isReady(): boolean {
    return this.isOpen && this.awaited === 0;
  }

  publish(now: number, topic: string, payload: Uint8Array, retain: boolean): void {
    this.awaited = this.nextId();
    this.answerBy = now + answerMs;
    this.sentAt = now;
    this.emit(publish | 2 | (retain ? 1 : 0), [text(topic), short(this.awaited), payload]);
  }

  subscribe(now: number, filter: string): void {
    this.sentAt = now;
    this.emit(subscribe, [short(this.nextId()), text(filter), bytesOf(1)]);
  }

  /** Call every second or so: keeps the connection alive, and finds that it is dead. */
  poll(now: number): void {
    if (this.isDown) return;
    if (this.answerBy > 0 && now >= this.answerBy) {
      this.fail('the broker does not answer');
    } else if (this.isOpen && this.answerBy === 0 && now - this.sentAt >= this.options.keepAliveS * 500) {
      this.sentAt = now;
      this.answerBy = now + answerMs;
      this.emit(pingRequest, []);
    }
  }

  receive(bytes: Uint8Array): void {
    if (this.isDown) return;
    this.unread = joined(this.unread, bytes);
    for (;;) {
      // §2.2.3: the remaining length, 7 bits a byte.
      let length = 0;
      let scale = 1;
      let at = 1;
      for (;;) {
        if (at >= this.unread.length) return;
        const byte = this.unread[at++];
        length += (byte & 127) * scale;
        scale *= 128;
        if (byte < 128) break;
        if (at > 4) {
          this.fail('a length that is none');
          return;
        }
      }
      if (length > mostPacketBytes) {
        this.fail(`a packet of ${length} bytes`);
        return;
      }
      if (at + length > this.unread.length) return;
      const first = this.unread[0];
      const body = joined(this.unread.subarray(at, at + length), new Uint8Array(0));
      this.unread = joined(this.unread.subarray(at + length, this.unread.length), new Uint8Array(0));
      this.take(first, body);
      if (this.isDown) return;
    }
  }

  private take(first: number, body: Uint8Array): void {
    const kind = first & 0xf0;
    // First CONNACK, and that once (§3.2).
    if ((kind === connack) === this.isOpen) this.fail(`a packet of type ${first >> 4}`);
    else if (kind === connack) {
      if (body.length !== 2 || body[1] !== 0) {
        this.fail(`the broker refuses us, code ${body[1]}`);
        return;
      }
      this.answerBy = 0;
      this.isOpen = true;
      this.calls.up();
    } else if (kind === publish) {
      this.hear(first, body);
    } else if (kind === puback) {
      if (body.length !== 2 || this.isReady || readUint16(body, 0) !== this.awaited) return;
      this.awaited = 0;
      this.answerBy = 0;
    } else if (kind === suback) {
      if (body[2] === 0x80) this.fail('the broker refuses a subscription');
    } else if (kind === pingResponse) {
      // It does not answer a publication.
      if (this.isReady) this.answerBy = 0;
    } else this.fail(`a packet of type ${first >> 4}`);
  }

  private hear(first: number, body: Uint8Array): void {
    const qos = (first >> 1) & 3;
    const topicEnd = 2 + readUint16(body, 0);
    const at = topicEnd + (qos > 0 ? 2 : 0);
    const isWhole = body.length >= 2 && at <= body.length && qos <= 1;
    const topic = isWhole ? decodeUtf8(body.subarray(2, topicEnd)) : undefined;
    if (topic === undefined) {
      this.fail('a publication that is none');
      return;
    }
    this.calls.message(topic, body.subarray(at, body.length), (first & 1) === 1);
    // After it was taken: what is acknowledged is safe.
    if (qos === 1) this.emit(puback, [body.subarray(topicEnd, at)]);
  }

  private fail(reason: string): void {
    this.isDown = true;
    this.isOpen = false;
    this.calls.down(reason);
  }

  private nextId(): number {
    this.packetId = (this.packetId % 65535) + 1;
    return this.packetId;
  }

  private emit(first: number, parts: readonly Uint8Array[]): void {
    let length = 0;
    for (const part of parts) length += part.length;
    const head = [first];
    let rest = length;
    do {
      head.push((rest & 127) | (rest > 127 ? 128 : 0));
      rest >>= 7;
    } while (rest > 0);
    const packet = new Uint8Array(head.length + length);
    let at = 0;
    for (const byte of head) at = writeUint8(packet, at, byte);
    for (const part of parts) at = writeBytes(packet, at, part);
    this.calls.send(packet);
  }
}

function bytesOf(first: number, second?: number): Uint8Array {
  return new Uint8Array(second === undefined ? [first] : [first, second]);
}

function short(value: number): Uint8Array {
  const bytes = new Uint8Array(2);
  writeUint16(bytes, 0, value);
  return bytes;
}

function framed(bytes: Uint8Array): Uint8Array {
  return joined(short(bytes.length), bytes);
}

function text(value: string): Uint8Array {
  return framed(encodeUtf8(value));
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a, 0);
  both.set(b, a.length);
  return both;
}
