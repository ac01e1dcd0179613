/**
 * A PPPoE client on Linux: the gateway's job (agent/pppoe/job.ts) over a raw link, its line a TUN device that comes and goes
 * with the session. It has no bus, and so keeps to the tunnel; the daemon (main.ts) runs the same job with one.
 *
 * The device has the line's address with a prefix of 32 bits: routes over it are its owner's. Bounds: one session.
 */

import { randomBytes } from 'node:crypto';
import type { Counts } from '../../agent/core/counters.js';
import type { EventBody, JobContext } from '../../agent/job.js';
import { defaultLimits } from '../../agent/limits.js';
import type { JobEffect } from '../../agent/port/effect.js';
import type { AuthenticationMethod } from '../../agent/pppoe/credentials.js';
import { PppoeGateway } from '../../agent/pppoe/job.js';
import { formatAddress } from '../../agent/wire/address.js';
import { etherTypePppoeDiscovery } from '../../agent/wire/ethernet.js';
import { Headers } from '../../agent/wire/headers.js';
import { tpidCustomer } from '../../agent/wire/vlan.js';
import { digest } from './digest.js';
import { openRawLink, type RawLink } from './raw-link.js';
import { openTun, type Tun } from './tun.js';

export interface PppoeClientOptions {
  readonly interface: string;
  readonly user: Uint8Array;
  readonly secret: Uint8Array;
  /** '' for any. */
  readonly service: string;
  readonly acName: string;
  /** What to agree to; left out: all there is. */
  readonly authentication?: readonly AuthenticationMethod[];
  readonly ipv6: boolean;
  readonly vlanId?: number;
  /** Of the device; `%d` in it becomes a free number. */
  readonly tun: string;
}

export interface PppoeClientCalls {
  /** For the person who runs it. */
  say(text: string): void;
  /** Every frame sent and received; lent until this returns. */
  tap(frame: Uint8Array): void;
  /** A session came to its end, or to nothing. */
  over(wasUp: boolean): void;
  /** The interface or the device is gone; it has been stopped. */
  failed(error: Error): void;
}

/** setTimeout takes no longer span. */
const longestTimerMs = 2 ** 31 - 1;

export class PppoeClient {
  private readonly calls: PppoeClientCalls;
  private readonly options: PppoeClientOptions;
  private readonly link: RawLink;
  private readonly job: PppoeGateway;
  private readonly headers = new Headers();
  private tun: Tun | undefined;
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;

  /** Begins to dial. Throws, saying what is missing, if the link cannot be opened. */
  constructor(options: PppoeClientOptions, calls: PppoeClientCalls) {
    const { user, secret, service, acName, authentication, ipv6, vlanId } = options;
    this.options = options;
    this.calls = calls;
    this.link = openRawLink(
      { interface: options.interface },
      (bytes, start, end) => this.hear(bytes.subarray(start, end)),
      error => this.fail(error),
    );
    try {
      this.job = new PppoeGateway(this.now(), this.context(), {
        link: options.interface,
        user,
        secret,
        service,
        acName,
        ...(authentication && { authentication }),
        ipv6,
        ...(vlanId !== undefined && {
          vlanTags: [{ tpid: tpidCustomer, priority: 0, dropEligible: false, vlanId }],
        }),
        mtuBytes: this.link.mtuBytes,
        plain: false,
        entropy: { uint32: () => randomBytes(4).readUInt32BE() },
        digest,
      });
    } catch (error) {
      this.link.close();
      throw error;
    }
    this.arm();
  }

  /** Of the link and the job, without zeros. */
  counts(): Counts {
    return { ...this.link.counts(), ...this.job.counters.snapshot() };
  }

  /** Says goodbye to the AC and gives everything back. */
  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    clearTimeout(this.timer);
    this.job.shutdown(this.now());
    this.link.close();
    this.tun?.close();
  }

  private now(): number {
    return Math.floor(performance.now());
  }

  private context(): JobContext {
    return {
      boot: '00000000',
      limits: defaultLimits,
      links: [{ name: this.options.interface, mac: this.link.mac }],
      saved: {},
      canPublish: () => false,
      publish: () => {},
      event: (_now, name, body) => this.event(name, body),
      transmit: (_link, frame) => {
        this.calls.tap(frame);
        this.link.send(frame);
      },
      save: () => false,
      perform: effect => this.perform(effect),
      room: () => 1,
      log: (_level, text) => this.calls.say(text),
      uptime: now => now,
    };
  }

  private hear(frame: Uint8Array): void {
    // What is malformed was not made for us.
    if (this.headers.scan(frame, 0, frame.length) !== 'ok') return;
    if (this.headers.pppoeSession >= 0 || this.headers.etherType === etherTypePppoeDiscovery)
      this.calls.tap(frame);
    this.job.frame(this.now(), this.options.interface, frame, this.headers);
    this.arm();
  }

  private event(name: string, { session, text = '' }: EventBody): void {
    if (name === 'session-up') return;
    const [what, how] = name.split('-');
    this.calls.say(`${what}${session === undefined ? '' : ` ${session}`} ${how}: ${text}`);
    if (name !== 'session-refused') this.calls.over(name === 'session-down');
  }

  private perform(effect: JobEffect): boolean {
    if (effect.kind === 'line-deliver') this.tun?.send(effect.packet);
    else if (effect.kind === 'line') {
      this.tun?.close();
      this.tun = undefined;
      if (effect.state === 'up') this.lineUp(effect);
      else this.calls.say('line down');
    }
    return true;
  }

  private lineUp(line: Extract<JobEffect, { kind: 'line'; state: 'up' }>): void {
    const { address, peerAddress, dnsAddresses, mtuBytes } = line;
    try {
      this.tun = openTun(
        { name: this.options.tun, mtuBytes, addresses: [`${formatAddress(address)}/32`] },
        (bytes, start, end) => {
          this.job.line(this.now(), { kind: 'line-packet', packet: bytes.subarray(start, end) });
          this.arm();
        },
        error => this.fail(error),
      );
    } catch (error) {
      this.fail(error as Error);
      return;
    }
    const dns = dnsAddresses.length > 0 ? `, DNS ${dnsAddresses.map(formatAddress).join(' ')}` : '';
    this.calls.say(
      `line up: ${formatAddress(address)} on ${this.tun.name}, peer ${formatAddress(peerAddress)}, ${mtuBytes} bytes${dns}`,
    );
  }

  private fail(error: Error): void {
    this.stop();
    this.calls.failed(error);
  }

  /** Sees to it that the job is polled in time. */
  private arm(): void {
    clearTimeout(this.timer);
    const at = this.job.pollAt();
    if (this.stopped || at === Infinity) return;
    const delayMs = Math.min(longestTimerMs, Math.max(0, at - this.now()));
    this.timer = setTimeout(() => {
      this.job.poll(this.now());
      this.arm();
    }, delayMs);
  }
}
