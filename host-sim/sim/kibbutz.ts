/**
 * One simulated kibbutz: devices with an application, a radio and the agent's own `Kibbutz`, around one local link.
 *
 * Each request of an application is one exchange with the network (mobile kibbutz, §2.1.3.2.3): the kibbutz says which
 * way it goes, the radio it leaves by says how long it takes. Over the `perfect` local link signals and packets arrive at
 * once; over others they take their time and may be lost, and a request without an answer goes out again over the
 * own link after one retransmission timeout, which is what the bandwidth watchdog does for a single packet.
 * A device that is away sends and hears nothing; what it was to do then is unsent, what waited goes on waiting.
 *
 * Everything is counted in whole numbers, so that the sum over many kibbutzim does not depend on who adds them up.
 * Bounds: requests that wait, `mostWaiting` a device.
 */

import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import { Kibbutz, type KibbutzPort, type Policy, wait } from '../../agent/kibbutz/kibbutz.js';
import { own } from '../../agent/kibbutz/path-selection.js';
import type { Aead } from '../../agent/port/aead.js';
import type { Traffic } from './app.js';
import { type Actor, Kernel } from './kernel.js';
import { LocalLink, type LocalLinkModel, localLinkModels } from './local-link.js';
import { Radio, type RadioModel } from './radio.js';

export interface DeviceOptions {
  readonly traffic: Traffic;
  /** Virtual ms; default: there from the start to the end. */
  readonly joinAt?: number;
  readonly leaveAt?: number;
  /** While one lasts the device neither sends nor hears anything. */
  readonly blackouts?: readonly { readonly fromAt: number; readonly toAt: number }[];
  /** Probability 0 … 1 that a packet or signal between it and a neighbour is lost. */
  readonly loss?: number;
  /** Takes and does not give: its advertisements are never sent, hand-overs to it are not heard. */
  readonly leech?: boolean;
}

export interface SimulatedKibbutzOptions {
  readonly seed: number;
  readonly policy: Policy;
  readonly radio: RadioModel;
  readonly local: LocalLinkModel;
  readonly initialCredit: number;
  /** How long requests that may wait are kept, ms. */
  readonly deferMs: number;
  readonly devices: readonly DeviceOptions[];
  /** Authenticates signals; default: `unkeyed`. */
  readonly aead?: Aead;
}

/** What came of a device; times in whole virtual ms. */
export interface DeviceResult {
  /** Radio up, promotions included. */
  readonly upMs: number;
  /** Transitions from idle to high power. */
  readonly promotions: number;
  readonly requests: number;
  /** Answered ones, and the sum of their RTTs (not of what they waited before they were sent). */
  readonly answered: number;
  readonly rttMs: number;
  /** Requests that were kept for a radio to be up, for how long in all, and the longest. */
  readonly waited: number;
  readonly waitedMs: number;
  readonly longestWaitMs: number;
  /** Requests that found the device blacked out or away, or its waiting room full. */
  readonly unsent: number;
  /** Sent through neighbours, and forwarded for them. */
  readonly taken: number;
  readonly given: number;
  /** Retransmission timeouts on the way through a neighbour. */
  readonly timeouts: number;
  readonly advertisements: number;
  readonly signals: number;
  /** Of the radio and of the local link, millijoules. */
  readonly radioMillijoules: number;
  readonly localMillijoules: number;
}

/** RFC 6298 §2.4: a computed timeout below a second is rounded up to one. */
const retransmissionMs = 1000;
/** Requests a device keeps; more go unsent. */
const mostWaiting = 1000;
/** On the local link at once; ten seconds of Wi-Fi. */
const mostTransferBytes = 25_000_000;
/** Bytes of an envelope and the headers below it on the local link. */
const localOverheadBytes = 100;

/**
 * Stands in for a platform's AEAD where only time is simulated: authenticates nothing and costs nothing. Tests of
 * authenticity use a real one.
 */
export const unkeyed: Aead = {
  id: 1,
  keyBytes: 16,
  tagBytes: 16,
  nonceBytes: 12,
  seal: (_key, _nonce, _associated, plaintext) => new Uint8Array(plaintext.length + 16),
  open: (_key, _nonce, _associated, sealed) => sealed.subarray(0, sealed.length - 16),
};

export class SimulatedKibbutz {
  readonly kernel = new Kernel();
  readonly devices: Device[] = [];
  readonly local: LocalLink | undefined;
  readonly random: Random;
  /** Signals on their way over a perfect link: who hears them, and what. */
  private readonly to: Device[] = [];
  private readonly signals: Uint8Array[] = [];
  private delivered = 0;
  private readonly releases: Device[] = [];

  constructor(options: SimulatedKibbutzOptions) {
    const { seed, devices, local } = options;
    this.random = new Random(seed, 'local');
    const perfect = local === localLinkModels.perfect && devices.every(({ loss }) => !loss);
    if (!perfect && devices.length > 1)
      this.local = new LocalLink({
        // A request stands for a transfer that its acknowledgements clock: it waits at its source, and overflows no queue.
        model: { ...local, queueBytes: mostTransferBytes },
        members: devices.length,
        random: this.random,
        now: 0,
      });
    for (const device of devices) this.devices.push(new Device(this, this.devices.length, device, options));
    const aead = options.aead ?? unkeyed;
    for (const device of this.devices)
      for (const other of this.devices)
        if (other !== device)
          device.kibbutz.introduce(0, { member: other.index + 1, key: pairKey(device, other), aead });
  }

  /** Runs until `until` (virtual ms). */
  run(until: number): void {
    this.kernel.run(until);
  }

  /** What each device did up to now. */
  results(): DeviceResult[] {
    return this.devices.map(device => device.result(this.kernel.now));
  }

  /** A signal of `from` to one neighbour, or to all (`to` undefined). */
  signal(now: number, from: Device, to: Device | undefined, bytes: Uint8Array): void {
    for (const device of this.devices) {
      if (device === from || (to && device !== to)) continue;
      if (!this.local) {
        this.to.push(device);
        this.signals.push(bytes);
        continue;
      }
      const at = this.carry(now, from, device, bytes.length);
      if (at !== never) this.kernel.schedule(at, device, bytes);
    }
  }

  /** When bytes sent now from one device arrive at another; `never` if they are lost. Only without a perfect link. */
  carry(now: number, from: Device, to: Device, lengthBytes: number): number {
    const at = (this.local as LocalLink).transmit(
      now,
      from.index,
      to.index,
      lengthBytes + localOverheadBytes,
    );
    if (at === never || !from.present || !to.present) return never;
    const lost =
      (from.loss > 0 && this.random.chance(from.loss)) || (to.loss > 0 && this.random.chance(to.loss));
    return lost ? never : Math.ceil(at);
  }

  released(device: Device): void {
    this.releases.push(device);
  }

  /** Delivers what is due now; call after anything that may have made a kibbutz speak. */
  deliver(now: number): void {
    while (this.delivered < this.signals.length) {
      const device = this.to[this.delivered];
      const bytes = this.signals[this.delivered++];
      if (device.present) device.hear(now, bytes);
    }
    if (this.delivered > 0) {
      this.delivered = 0;
      this.to.length = 0;
      this.signals.length = 0;
    }
  }

  /** After an event: what it released, and the timers it changed. */
  settle(now: number): void {
    for (;;) {
      this.deliver(now);
      const device = this.releases.shift();
      if (!device) break;
      device.sendWaiting(now);
    }
    for (const device of this.devices) device.arm();
  }
}

/** What the kernel hands a device: a request is due, its kibbutz wants to be polled, it appears or vanishes, … */
type Tag = 'request' | 'poll' | 'appear' | 'vanish' | Uint8Array | Packet;

/** A request on its way over a link that takes time. */
interface Packet {
  /** At the forwarder on its way out and back, then at the sender. */
  readonly kind: 'forward' | 'back' | 'answered' | 'refused' | 'timeout';
  readonly from: Device;
  readonly place: number;
  /** When the application made it, and when it was first sent. */
  readonly madeAt: number;
  readonly sentAt: number;
  readonly upBytes: number;
  readonly downBytes: number;
  readonly mayWait: boolean;
}

interface Waiting {
  readonly madeAt: number;
  readonly upBytes: number;
  readonly downBytes: number;
  readonly mayWait: boolean;
}

export class Device implements Actor<Tag>, KibbutzPort {
  readonly index: number;
  readonly kibbutz: Kibbutz;
  readonly radio: Radio;
  readonly loss: number;
  /** Reasons to be away: not there yet, gone, or in one of its blackouts, which may overlap. */
  private away = 0;
  private readonly group: SimulatedKibbutz;
  private readonly traffic: Traffic;
  private readonly random: Random;
  private readonly leech: boolean;
  private readonly deferMs: number;
  /** Simulated exactly as the paper does; otherwise the kibbutz follows what the radio really does. */
  private readonly simplified: boolean;
  private readonly waiting: Waiting[] = [];
  private pollTimerAt = never;
  private sequence = 0;
  private requests = 0;
  private answered = 0;
  private rttMs = 0;
  private waited = 0;
  private waitedMs = 0;
  private longestWaitMs = 0;
  private unsent = 0;
  private taken = 0;
  private given = 0;
  private timeouts = 0;

  constructor(
    group: SimulatedKibbutz,
    index: number,
    { traffic, joinAt, leaveAt, blackouts, loss, leech }: DeviceOptions,
    { seed, policy, radio, initialCredit, deferMs, devices }: SimulatedKibbutzOptions,
  ) {
    this.group = group;
    this.index = index;
    this.traffic = traffic;
    this.random = new Random(seed, `device/${index}`);
    this.radio = new Radio(radio, 0);
    this.simplified = radio.simplified;
    this.loss = loss ?? 0;
    this.leech = leech ?? false;
    this.deferMs = deferMs;
    this.kibbutz = new Kibbutz(
      0,
      {
        member: index + 1,
        boot: index,
        policy,
        // A radio without a tail has the shortest the protocol knows.
        tailMs: Math.max(1, Math.round(radio.tailMs)),
        promotionMs: Math.ceil(radio.promotionMs),
        exchangeMs: Math.ceil(radio.roundTripMs),
        initialCredit,
        neighbours: Math.max(1, devices.length - 1),
      },
      this,
    );
    const { kernel } = group;
    if (joinAt) {
      this.away = 1;
      kernel.schedule(joinAt, this, 'appear');
    }
    if (leaveAt !== undefined) kernel.schedule(leaveAt, this, 'vanish');
    for (const { fromAt, toAt } of blackouts ?? []) {
      kernel.schedule(fromAt, this, 'vanish');
      kernel.schedule(toAt, this, 'appear');
    }
    const firstMs = traffic.first(this.random);
    if (firstMs !== never) kernel.schedule((joinAt ?? 0) + firstMs, this, 'request');
  }

  get present(): boolean {
    return this.away === 0;
  }

  fire(now: number, tag: Tag): void {
    if (tag === 'request') this.request(now);
    else if (tag === 'poll') {
      // A timer that an earlier one has replaced.
      if (now < this.pollTimerAt) return;
      this.pollTimerAt = never;
      if (this.kibbutz.pollAt() <= now) this.kibbutz.poll(now);
    } else if (tag === 'appear' || tag === 'vanish') this.appear(now, tag === 'appear');
    else if (tag instanceof Uint8Array) {
      if (this.present) this.hear(now, tag);
    } else this.arrive(now, tag);
    this.group.settle(now);
  }

  broadcast(signal: Uint8Array): void {
    if (this.present && !this.leech) this.group.signal(this.group.kernel.now, this, undefined, signal);
  }

  send(member: number, signal: Uint8Array): void {
    if (this.present) this.group.signal(this.group.kernel.now, this, this.group.devices[member - 1], signal);
  }

  promote(now: number): void {
    if (!this.present) return;
    // A keep-alive: with the radio up already, it starts the tail anew.
    if (this.radio.promote(now) <= now) this.radio.send(now, 0, 0);
    this.followRadio();
  }

  dormant(now: number): void {
    this.radio.dormant(now);
  }

  release(): void {
    this.group.released(this);
  }

  nextSequence(): number {
    return ++this.sequence;
  }

  hear(now: number, signal: Uint8Array): void {
    if (this.leech && signal[0] === handOver) return;
    this.kibbutz.receive(now, signal);
  }

  /** Sends again what was kept until now; what must go on waiting stays. */
  sendWaiting(now: number): void {
    if (!this.present) return;
    for (const { madeAt, upBytes, downBytes, mayWait } of this.waiting.splice(0))
      this.dispatch(now, madeAt, upBytes, downBytes, mayWait);
  }

  /** Sees to it that the kernel calls when the kibbutz wants to be polled. */
  arm(): void {
    const at = this.kibbutz.pollAt();
    if (at >= this.pollTimerAt) return;
    this.pollTimerAt = at;
    this.group.kernel.schedule(Math.max(at, this.group.kernel.now), this, 'poll');
  }

  result(now: number): DeviceResult {
    this.radio.settle(now);
    const { counters } = this.kibbutz;
    const local = this.group.local?.energyMillijoules(now, this.index) ?? 0;
    return {
      upMs: Math.round(this.radio.upMs),
      promotions: this.radio.promotions,
      requests: this.requests,
      answered: this.answered,
      rttMs: this.rttMs,
      waited: this.waited,
      waitedMs: this.waitedMs,
      longestWaitMs: this.longestWaitMs,
      unsent: this.unsent,
      taken: this.taken,
      given: this.given,
      timeouts: this.timeouts,
      advertisements: counters.get('advertisements.sent'),
      signals: counters.get('signals'),
      radioMillijoules: Math.round(this.radio.energyMillijoules),
      localMillijoules: Math.round(local),
    };
  }

  private request(now: number): void {
    const { upBytes, downBytes, mayWait } = this.traffic;
    this.requests++;
    if (this.present) this.dispatch(now, now, upBytes, downBytes, mayWait);
    else this.unsent++;
    const gapMs = this.traffic.next(this.random);
    if (gapMs !== never) this.group.kernel.schedule(now + gapMs, this, 'request');
  }

  private dispatch(now: number, madeAt: number, upBytes: number, downBytes: number, mayWait: boolean): void {
    const { kibbutz, group } = this;
    for (;;) {
      const place = kibbutz.route(now, mayWait ? madeAt + this.deferMs : 0);
      if (place === wait) {
        if (this.waiting.length < mostWaiting) this.waiting.push({ madeAt, upBytes, downBytes, mayWait });
        else this.unsent++;
        return;
      }
      if (mayWait && now > madeAt) {
        this.waited++;
        this.waitedMs += now - madeAt;
        this.longestWaitMs = Math.max(this.longestWaitMs, now - madeAt);
      }
      // What waits although it may not, for a neighbour's answer, waits as part of its RTT.
      const sentAt = mayWait ? now : madeAt;
      if (place === own) {
        this.sendOwn(now, sentAt, upBytes, downBytes, mayWait);
        return;
      }
      const forwarder = group.devices[kibbutz.neighbours[place].member - 1];
      if (group.local) {
        this.sendVia(now, forwarder, {
          kind: 'forward',
          from: this,
          place,
          madeAt,
          sentAt,
          upBytes,
          downBytes,
          mayWait,
        });
        return;
      }
      kibbutz.sentVia(now, place, upBytes + downBytes, mayWait);
      const taken =
        forwarder.present &&
        forwarder.kibbutz.forward(now, forwarder.placeOf(this), upBytes + downBytes, mayWait);
      group.deliver(now);
      if (taken) {
        forwarder.given++;
        this.taken++;
        kibbutz.answered(place);
        this.answer(now - sentAt + forwarder.exchange(now, upBytes, downBytes));
        return;
      }
      // A neighbour that is gone does not even refuse.
      if (!forwarder.present) {
        this.timeouts++;
        kibbutz.lost(now, place);
        this.sendOwn(now, sentAt - retransmissionMs, upBytes, downBytes, mayWait);
        return;
      }
    }
  }

  /** Over a local link that takes time: it arrives, or nothing comes back. */
  private sendVia(now: number, forwarder: Device, packet: Packet): void {
    this.kibbutz.sentVia(now, packet.place, packet.upBytes + packet.downBytes, packet.mayWait);
    const at = this.group.carry(now, this, forwarder, packet.upBytes);
    if (at !== never) this.group.kernel.schedule(at, forwarder, packet);
    else this.group.kernel.schedule(now + retransmissionMs, this, { ...packet, kind: 'timeout' });
  }

  /** A neighbour's packet is with us, on its way out or back; or one of ours came back, or did not in time. */
  private arrive(now: number, packet: Packet): void {
    const { kind, from, place, madeAt, sentAt, upBytes, downBytes, mayWait } = packet;
    const { kernel } = this.group;
    if (kind === 'forward') {
      if (!this.present) this.reply(now, packet, never, 'timeout');
      else if (this.kibbutz.forward(now, this.placeOf(from), upBytes + downBytes, mayWait)) {
        this.given++;
        kernel.schedule(now + this.exchange(now, upBytes, downBytes), this, { ...packet, kind: 'back' });
      } else this.reply(now, packet, this.group.carry(now, this, from, 0), 'refused');
    } else if (kind === 'back') {
      this.reply(now, packet, this.group.carry(now, this, from, downBytes), 'answered');
    } else {
      if (kind === 'timeout') {
        this.timeouts++;
        this.kibbutz.lost(now, place);
      }
      if (!this.present) this.unsent++;
      else if (kind === 'timeout') this.sendOwn(now, sentAt, upBytes, downBytes, mayWait);
      else if (kind === 'refused') this.dispatch(now, madeAt, upBytes, downBytes, mayWait);
      else {
        this.taken++;
        this.kibbutz.answered(place);
        this.answer(now - sentAt);
      }
    }
  }

  /** What the sender of a packet hears of it, at `at`; if that is `never`, that it heard nothing. */
  private reply(now: number, packet: Packet, at: number, kind: 'answered' | 'refused' | 'timeout'): void {
    const lost = at === never;
    this.group.kernel.schedule(lost ? now + retransmissionMs : at, packet.from, {
      ...packet,
      kind: lost ? 'timeout' : kind,
    });
  }

  private sendOwn(now: number, sentAt: number, upBytes: number, downBytes: number, mayWait: boolean): void {
    // First the kibbutz, which knows by its own clock whether the radio must be promoted; then what the radio really does.
    this.kibbutz.sentOwn(now, upBytes + downBytes, mayWait);
    const rttMs = this.exchange(now, upBytes, downBytes);
    this.group.deliver(now);
    this.answer(now - sentAt + rttMs);
  }

  /** One exchange through our radio; returns its RTT, ms. The paper's requests are points in time, without bytes. */
  private exchange(now: number, upBytes: number, downBytes: number): number {
    const { radio } = this;
    if (this.simplified) return radio.send(now, 0, 0) - now;
    const rttMs = radio.send(now, upBytes, downBytes) - now;
    this.followRadio();
    return Math.round(rttMs);
  }

  private followRadio(): void {
    if (!this.simplified) this.kibbutz.upUntil = Math.floor(this.radio.upUntil);
  }

  private answer(rttMs: number): void {
    this.answered++;
    this.rttMs += rttMs;
  }

  private appear(now: number, present: boolean): void {
    this.away += present ? -1 : 1;
    if (this.present) {
      this.sendWaiting(now);
      return;
    }
    this.radio.dormant(now);
    this.kibbutz.upUntil = Math.min(this.kibbutz.upUntil, now);
  }

  private placeOf(other: Device): number {
    return this.kibbutz.find(other.index + 1);
  }
}

/** First byte of a hand-over (agent/kibbutz/signal.ts). */
const handOver = 0x12;

/** Distinct for each pair, the same from both ends; no secret. */
function pairKey(a: Device, b: Device): Uint8Array {
  const key = new Uint8Array(16);
  key[0] = Math.min(a.index, b.index);
  key[1] = Math.max(a.index, b.index);
  return key;
}
