/**
 * Updates of a Moddable board: joins the agent's job `update` to HTTP (http-get.ts) over the SDK's sockets and to the board's slots
 * (slots.d.ts). An image goes from the socket into the slot as it comes, and is then told to the job, which hashes it.
 *
 * Bounds: one connection; what the socket holds at once (some 6 KB on an ESP32) passes through memory.
 */

import { parseHex } from '../../agent/core/bytes.js';
import type { UpdateEffect, UpdateInput } from '../../agent/port/effect.js';
import type { Slots, UpdateOptions } from '../../agent/update/job.js';
import { imageCrypto } from './es256.js';
import { HttpAnswer, type HttpFault, isFault, parsePlace, requestBytes } from './http-get.js';
import type { Stream } from './sdk.js';
import {
  beginImage,
  builtWith,
  confirm,
  ecdsa,
  type ImageWriter,
  readSlots,
  restart,
  rollBack,
} from './slots.js';

/** What is used of sdk.d.ts. */
export interface UpdateSdk {
  connect: typeof import('./sdk.js').connect;
  resolve: typeof import('./sdk.js').resolve;
  setDate: typeof import('./sdk.js').setDate;
  readonly tlsFault: string | undefined;
}

/** `stop`: the agent is to end in good order, and what it still has to say to leave. */
export interface UpdateCalls {
  give(input: UpdateInput): void;
  stop(): void;
  later(call: () => void, afterMs: number): void;
}

/** The last publications are on their way by then. */
const leaveMs = 1000;

/** What the job is made with, or why this firmware has none. */
export function updateOptions(platformName: string): UpdateOptions | string {
  const { key, platform, sequence } = builtWith();
  if (key === '') return 'built without updateKey';
  const publicKey = parseHex(key);
  if (publicKey?.length !== 65 || publicKey[0] !== 4)
    return 'updateKey: expected 65 bytes in hex that begin with 04';
  if (!(sequence >= 0 && sequence % 1 === 0)) return 'updateSequence: expected an integer from 0';
  const found: Slots | string = readSlots();
  if (typeof found === 'string') return found;
  const crypto = imageCrypto(ecdsa);
  return { crypto, publicKey, platform: platform === '' ? platformName : platform, sequence, slots: found };
}

export class Updater {
  /** False: the store did not take what the job keeps. Then nothing would tell, after the restart, what became of an update. */
  isOnRecord = true;
  private readonly sdk: UpdateSdk;
  private readonly calls: UpdateCalls;
  private image: ImageWriter | undefined;
  private heldBytes = 0;
  /** Of the image that was asked for last. */
  private sizeBytes = 0;
  private stream: Stream | undefined;
  /** Of the fetch under way; what comes of an earlier one is left aside. */
  private fetch = 0;

  constructor(sdk: UpdateSdk, calls: UpdateCalls) {
    this.sdk = sdk;
    this.calls = calls;
  }

  perform(effect: UpdateEffect): void {
    try {
      if (effect.kind === 'image-fetch') this.begin(effect);
      else if (effect.kind === 'image-stop') this.close();
      else if (effect.action === 'activate') this.activate();
      else if (effect.action === 'confirm') confirm();
      else this.leave(rollBack);
    } catch (error) {
      this.refuse(String(error));
    }
  }

  private begin(effect: UpdateEffect & { readonly kind: 'image-fetch' }): void {
    const { uri, from, size } = effect;
    const { sdk } = this;
    this.close();
    this.sizeBytes = size;
    const place = parsePlace(uri);
    if (!place) {
      this.refuse('uri: expected http or https, a host name or IPv4 address, and no user');
      return;
    }
    if (place.tls && sdk.tlsFault !== undefined) {
      this.refuse(sdk.tlsFault);
      return;
    }
    if (from === 0) {
      this.image?.cancel();
      this.image = undefined;
      this.image = beginImage();
      this.heldBytes = 0;
    } else if (!this.image || this.heldBytes !== from) {
      this.refuse(`slot: expected ${from} bytes in it, got ${this.heldBytes}`);
      return;
    }
    const fetch = this.fetch;
    const isCurrent = () => this.fetch === fetch;
    const { host, port, tls } = place;
    const open = () =>
      sdk.resolve(host, address => {
        if (!isCurrent()) return;
        if (address === undefined) this.break(`${host} has no address`);
        else
          this.connect(
            fetch,
            { host, address, port, ...(tls ? { tls: {} } : {}) },
            requestBytes(place, from),
            from,
            size,
          );
      });
    if (tls) sdk.setDate(() => isCurrent() && open());
    else open();
  }

  private connect(
    fetch: number,
    to: Pick<Parameters<UpdateSdk['connect']>[0], 'host' | 'address' | 'port' | 'tls'>,
    request: Uint8Array,
    from: number,
    size: number,
  ): void {
    const isCurrent = () => this.fetch === fetch;
    const answer = new HttpAnswer(from, size);
    let unsent = request;
    try {
      this.stream = this.sdk.connect({
        ...to,
        onReadable: () => {
          const data = isCurrent() ? this.stream?.read() : undefined;
          if (data) this.receive(answer, new Uint8Array(data), size);
        },
        onWritable: count => {
          if (!isCurrent() || unsent.length === 0 || !this.stream) return;
          const length = Math.min(unsent.length, count);
          this.stream.write(unsent.slice(0, length));
          unsent = unsent.subarray(length);
        },
        onError: () => {
          if (isCurrent()) this.break(`the connection to ${to.host} broke`);
        },
      });
    } catch (error) {
      this.break(String(error));
    }
  }

  private receive(answer: HttpAnswer, received: Uint8Array, size: number): void {
    const body = answer.receive(received);
    if (isFault(body)) {
      this.end(body);
      return;
    }
    const at = this.heldBytes;
    // Bytes beyond what the answer's head promised are not the image's.
    const bytes = body.subarray(0, size - at);
    if (bytes.length === 0 || !this.image) return;
    try {
      this.image.append(bytes);
    } catch (error) {
      this.end({ reason: `slot: ${String(error)}`, isFinal: true });
      return;
    }
    this.heldBytes += bytes.length;
    if (this.heldBytes === size) this.close();
    this.calls.give({ kind: 'image', state: 'chunk', at, bytes });
  }

  private activate(): void {
    const { image, heldBytes, sizeBytes } = this;
    if (!this.isOnRecord) throw new Error('store: expected room for the record of the update');
    if (!image || heldBytes !== sizeBytes)
      throw new Error(`slot: expected ${sizeBytes} bytes in it, got ${heldBytes}`);
    this.image = undefined;
    image.activate();
    this.leave(restart);
  }

  private leave(go: () => void): void {
    this.calls.stop();
    this.calls.later(() => {
      try {
        go();
      } catch {
        // There is nothing to go back to, and the agent has ended.
        restart();
      }
    }, leaveMs);
  }

  private break(reason: string): void {
    this.end({ reason, isFinal: false });
  }

  private end({ reason, isFinal }: HttpFault): void {
    this.close();
    this.calls.give({ kind: 'image', state: isFinal ? 'refused' : 'broken', reason });
  }

  private refuse(reason: string): void {
    this.end({ reason, isFinal: true });
  }

  private close(): void {
    this.fetch++;
    const { stream } = this;
    this.stream = undefined;
    try {
      stream?.close();
    } catch {
      // It was closed already.
    }
  }
}
