/**
 * What a host draws, and how long it sleeps, when this or that wakes it: a model of one host as three states (asleep,
 * resuming, awake) that a replay moves through time, and the energy that comes of it.
 *
 * A host that is awake falls asleep `idleMs` after it was woken or last wanted. Each policy a replay compares
 * (`always-on`, `wol-only`, `wake-on-packet`, `proxy`) has a model of its own of every host, so all are measured alike.
 * What the proxy's machine draws is not counted: the gateway is on anyway.
 */

/** Watts and spans of one kind of host. */
export interface PowerModel {
  readonly awakeWatts: number;
  readonly asleepWatts: number;
  /** From the magic packet until it speaks, ms. */
  readonly resumeMs: number;
  /** From the decision to sleep until it sleeps, ms; it draws `transitionWatts` meanwhile. */
  readonly suspendMs: number;
  readonly transitionWatts: number;
}

/**
 * A desktop that suspends to memory (ACPI S3), without its display. Idle and asleep: a Dell Optiplex 745, from memory of
 * Agarwal et al., "Somniloquy", NSDI 2009, Table 1 (102.1 W and 1.2 W; the abstract's 24 times counts the proxy's own draw).
 * The seconds of a change are from memory of such machines, rounded; what it draws meanwhile is taken to be what it does
 * when idle, for want of a measurement.
 */
export const desktopPower: PowerModel = {
  awakeWatts: 102,
  asleepWatts: 1.2,
  resumeMs: 5_000,
  suspendMs: 10_000,
  transitionWatts: 102,
};

/**
 * How long a host stays awake that nobody uses: the time after which Windows goes back to sleep when it was the network that
 * woke it ("sleep unattended idle timeout"), two minutes by default (from memory).
 */
export const defaultIdleMs = 120_000;

export const policies = ['always-on', 'wol-only', 'wake-on-packet', 'proxy'] as const;
export type Policy = (typeof policies)[number];

/** The energy and sleep of one host, or of several added up. */
export interface Usage {
  readonly asleepMs: number;
  readonly totalMs: number;
  readonly joules: number;
  /** Times it was woken, or woke by itself to say something. */
  readonly wakes: number;
}

type PowerState = 'asleep' | 'resuming' | 'awake' | 'suspending';

/** One host under one policy. Instants never fall. */
export class PoweredHost {
  state: PowerState;
  wakes = 0;
  private readonly model: PowerModel;
  private readonly idleMs: number;
  private readonly startedAt: number;
  private now: number;
  /** When the state ends by itself; `Infinity`: never. */
  private endsAt: number;
  /** Something woke it while it fell asleep: it resumes as soon as it sleeps. */
  private isWanted = false;
  private readonly spentMs = { asleep: 0, resuming: 0, awake: 0, suspending: 0 };

  constructor(now: number, isAsleep: boolean, model: PowerModel, idleMs: number) {
    this.model = model;
    this.idleMs = idleMs;
    this.startedAt = now;
    this.now = now;
    this.state = isAsleep ? 'asleep' : 'awake';
    this.endsAt = isAsleep ? Infinity : now + idleMs;
  }

  /** When its state changes next if nothing happens; `Infinity`: never. */
  get changesAt(): number {
    return this.endsAt;
  }

  /** Lets time pass; returns whether it has finished resuming meanwhile, and so is up. */
  advance(to: number): boolean {
    let isUp = false;
    while (this.endsAt <= to) {
      this.spend(this.endsAt);
      isUp = this.change() || isUp;
    }
    this.spend(to);
    return isUp;
  }

  /** Something came that its network card takes for a reason to wake it. Nothing if it is awake. */
  wake(now: number): void {
    this.advance(now);
    if (this.state === 'suspending') this.isWanted = true;
    else if (this.state === 'asleep') this.resume();
  }

  /** Somebody wants something of it: if it is awake, it stays so for another idle time. */
  use(now: number): void {
    this.advance(now);
    if (this.state === 'awake') this.endsAt = now + this.idleMs;
  }

  /** It speaks, and so it is up, whatever was thought of it: a person has woken it. */
  speak(now: number): void {
    this.advance(now);
    if (this.state === 'asleep') this.wakes++;
    this.state = 'awake';
    this.isWanted = false;
    this.endsAt = now + this.idleMs;
  }

  /** So far. */
  usage(): Usage {
    const { model, spentMs } = this;
    const watts = {
      asleep: model.asleepWatts,
      awake: model.awakeWatts,
      resuming: model.transitionWatts,
      suspending: model.transitionWatts,
    };
    let joules = 0;
    for (const state of ['asleep', 'resuming', 'awake', 'suspending'] as const)
      joules += (watts[state] * spentMs[state]) / 1000;
    return { asleepMs: spentMs.asleep, totalMs: this.now - this.startedAt, joules, wakes: this.wakes };
  }

  private spend(to: number): void {
    if (to <= this.now) return;
    this.spentMs[this.state] += to - this.now;
    this.now = to;
  }

  /** The state's time is over; whether the host has come up. */
  private change(): boolean {
    switch (this.state) {
      case 'resuming':
        this.state = 'awake';
        this.endsAt = this.now + this.idleMs;
        return true;
      case 'awake':
        this.state = 'suspending';
        this.endsAt = this.now + this.model.suspendMs;
        return false;
      case 'suspending':
        if (this.isWanted) this.resume();
        else {
          this.state = 'asleep';
          this.endsAt = Infinity;
        }
        this.isWanted = false;
        return false;
      default:
        throw new Error(`state: expected one that ends, got ${this.state}`);
    }
  }

  private resume(): void {
    this.wakes++;
    this.state = 'resuming';
    this.endsAt = this.now + this.model.resumeMs;
  }
}

/** What a host uses that never sleeps. */
export function alwaysOn(totalMs: number, model: PowerModel): Usage {
  return { asleepMs: 0, totalMs, joules: (model.awakeWatts * totalMs) / 1000, wakes: 0 };
}

export function addUsage(parts: readonly Usage[]): Usage {
  const sum = { asleepMs: 0, totalMs: 0, joules: 0, wakes: 0 };
  for (const { asleepMs, totalMs, joules, wakes } of parts) {
    sum.asleepMs += asleepMs;
    sum.totalMs += totalMs;
    sum.joules += joules;
    sum.wakes += wakes;
  }
  return sum;
}

/** The part of its time that it slept, 0 … 1; 0 where no time has passed. */
export function asleepShare({ asleepMs, totalMs }: Usage): number {
  return totalMs === 0 ? 0 : asleepMs / totalMs;
}
