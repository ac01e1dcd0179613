/**
 * Cellular and Wi-Fi radios as their energy sees them: idle, promotion, transfer and the tail after it, with times and
 * powers from measurements (the kibbutz seed §2.1.3.2.1; Huang et al., MobiSys 2012; Balasubramanian et al., IMC 2009;
 * Narayanan et al., SIGCOMM 2021). A model is plain data; a `Radio` is one device's radio under a model.
 *
 * Lazy: nothing is scheduled. Each call first accounts for the time since the last one, in as many steps as the model
 * has states, without allocating. Only times are summed; energy is those times × power + what each bit, promotion and
 * release costs, so it is exact and the states add up to the total. Times are virtual milliseconds with a fraction;
 * powers are of the radio alone, above a phone whose radio is off.
 *
 * Where the print could not be checked the comment says so. "Artifact" is the data published with the SIGCOMM 2021
 * paper (github SIGCOMM21-5G/artifact); "ARO" the open-source analyser of AT&T, co-authors of the MobiSys 2012 paper,
 * whose default LTE profile is that paper's model, rounded.
 */

/** A state the radio passes through after its last packet. */
export interface TailState {
  readonly state: string;
  /** Begins so long after the last packet, ms. The first state's is 0; they ascend. */
  readonly afterMs: number;
  readonly powerMilliwatts: number;
  /** What a packet in this state must wait for the full channel, ms; 0, as in the first state: it goes at once. */
  readonly promotionMs: number;
}

export interface RadioModel {
  readonly name: string;
  readonly idleMilliwatts: number;
  /** From idle until the first packet can go. */
  readonly promotionMs: number;
  readonly promotionMilliwatts: number;
  /** What a promotion from idle costs besides `promotionMilliwatts` × its time. */
  readonly promotionMillijoules: number;
  /** An exchange of empty packets, radio ready, ms. */
  readonly roundTripMs: number;
  /** Infinity: no limit. */
  readonly upBitsPerSecond: number;
  readonly downBitsPerSecond: number;
  /** While packets are sent, received or awaited. */
  readonly activeMilliwatts: number;
  /** On top of `activeMilliwatts`; the same number as mW per Mbit/s. */
  readonly upMillijoulesPerMegabit: number;
  readonly downMillijoulesPerMegabit: number;
  readonly tail: readonly TailState[];
  /** Idle so long after the last packet. */
  readonly tailMs: number;
  /** What dropping to idle early costs (fast dormancy). */
  readonly releaseMillijoules: number;
  /**
   * The seed's simulator (§2.1.3.2.3): the tail runs from the request, not from the answer, and a promotion delays only
   * the packet that causes it. Otherwise the tail runs from the answer and every packet waits for the promotion.
   */
  readonly simplified: boolean;
}

/** Seed §2.1.3.2.5.2: what the 3G radio draws in the high-power state. */
const seedHighMilliwatts = 650;

/** Seed §2.1.3.2.3: the simulated radio, and so the RTT and rate of models whose paper is about energy alone. */
const seedRoundTripMs = 200;
const seedBitsPerSecond = 2_000_000;

/**
 * The seed's simulator, §2.1.3.2.3: an RTT of 2 s if promoted, else 0.2 s; 2 Mbit/s; up for one tail after a request.
 * It counts time, not energy: the measured 650 mW stands for all of it. `tailMs` is its parameter, 1–30 s, 10 s unless
 * said otherwise.
 */
export function paperRadio(tailMs = 10_000): RadioModel {
  return {
    name: 'paper',
    idleMilliwatts: 0,
    promotionMs: 2_000 - seedRoundTripMs,
    promotionMilliwatts: seedHighMilliwatts,
    promotionMillijoules: 0,
    roundTripMs: seedRoundTripMs,
    upBitsPerSecond: seedBitsPerSecond,
    downBitsPerSecond: seedBitsPerSecond,
    activeMilliwatts: seedHighMilliwatts,
    upMillijoulesPerMegabit: 0,
    downMillijoulesPerMegabit: 0,
    tail: [{ state: 'high', afterMs: 0, powerMilliwatts: seedHighMilliwatts, promotionMs: 0 }],
    tailMs,
    releaseMillijoules: 0,
    simplified: true,
  };
}

/**
 * The operator and phone the seed measured, §2.1.3.2.1: 2.3 s up, 7.3 s down, 650 mW high, about 3 J to wind down.
 * Derived: 3 J over 7.3 s is less than 650 mW throughout, so part of the tail is FACH. With FACH at the share of DCH's
 * power that Qian et al. (IMC 2010) measured, 460 / 800 mW, the 3 J fix DCH at 1 s. The promotion from FACH has their
 * share of the one from idle, 1.5 s / 2 s. (Both pairs quoted from memory, not checked against the print.)
 */
const seedFachMilliwatts = (seedHighMilliwatts * 460) / 800;
const seed3g: RadioModel = {
  name: '3g-seed',
  idleMilliwatts: 0,
  promotionMs: 2_300,
  promotionMilliwatts: seedHighMilliwatts,
  promotionMillijoules: 0,
  // §2.1.3.2.3: 100–200 ms measured once the radio is up.
  roundTripMs: seedRoundTripMs,
  // §2.1.3.2.5.2: 6 MB in 31 s. No figure for the uplink: the same.
  upBitsPerSecond: 48_000_000 / 31,
  downBitsPerSecond: 48_000_000 / 31,
  // §2.1.3.2.1: flat; what rises with the rate is the phone's stack, not the radio.
  activeMilliwatts: seedHighMilliwatts,
  upMillijoulesPerMegabit: 0,
  downMillijoulesPerMegabit: 0,
  tail: [
    { state: 'dch', afterMs: 0, powerMilliwatts: seedHighMilliwatts, promotionMs: 0 },
    {
      state: 'fach',
      afterMs: (3_000_000 - 7_300 * seedFachMilliwatts) / (seedHighMilliwatts - seedFachMilliwatts),
      powerMilliwatts: seedFachMilliwatts,
      promotionMs: (2_300 * 1.5) / 2,
    },
  ],
  tailMs: 7_300,
  // §2.1.3.2.3: each of the two transitions takes 1–2 s; the middle of it, at full power.
  releaseMillijoules: 1.5 * seedHighMilliwatts,
  simplified: false,
};

/** The mean power of a receiver that is on for `onMs` of every `cycleMs`. */
function dutyCycle(
  cycleMs: number,
  onMs: number,
  { on, off }: { readonly on: number; readonly off: number },
): number {
  return off + ((on - off) * onMs) / cycleMs;
}

/**
 * Huang et al., Table 3 (promotion, tail, DRX) and Table 4 (transfer: α_u, α_d, β). ARO's profile confirms 0.26 s,
 * 1.21 W, 100 ms, 20 ms, 1.68 W, 1.06 W, 0.594 W, 43 ms, 1.28 s, 438.39 and 51.97; the digits beyond, β, T_tail and
 * the RTT are quoted from memory.
 */
const lteHuang: RadioModel = {
  name: 'lte-huang',
  // Paging: 594.3 mW for 43.2 ms of every 1280.2 ms.
  idleMilliwatts: dutyCycle(1280.2, 43.2, { on: 594.3, off: 0 }),
  promotionMs: 260.1,
  promotionMilliwatts: 1210.7,
  promotionMillijoules: 0,
  roundTripMs: 70,
  // Abstract: medians of 13 and 6 Mbit/s.
  upBitsPerSecond: 6_000_000,
  downBitsPerSecond: 13_000_000,
  activeMilliwatts: 1288.04,
  upMillijoulesPerMegabit: 438.39,
  downMillijoulesPerMegabit: 51.97,
  tail: [
    // T_i = 100 ms, at the transfer's power without a transfer.
    { state: 'continuous-reception', afterMs: 0, powerMilliwatts: 1288.04, promotionMs: 0 },
    // T_is = 20 ms: one short cycle.
    {
      state: 'short-drx',
      afterMs: 100,
      powerMilliwatts: dutyCycle(20, 1, { on: 1680.2, off: 1060 }),
      promotionMs: 0,
    },
    {
      state: 'long-drx',
      afterMs: 120,
      powerMilliwatts: dutyCycle(40.1, 1.1, { on: 1680.1, off: 1060 }),
      promotionMs: 0,
    },
  ],
  tailMs: 11_576,
  releaseMillijoules: 0,
  simplified: false,
};

/** Huang et al., Tables 3 and 4, quoted from memory; RTT and rate are the seed's, the promotion from FACH is Qian's (see `seed3g`). */
const umtsHuang: RadioModel = {
  name: '3g-huang',
  // Paging: 374.2 mW for 55.4 ms of every 5112.4 ms.
  idleMilliwatts: dutyCycle(5112.4, 55.4, { on: 374.2, off: 0 }),
  promotionMs: 582.1,
  promotionMilliwatts: 659.4,
  promotionMillijoules: 0,
  roundTripMs: seedRoundTripMs,
  upBitsPerSecond: seedBitsPerSecond,
  downBitsPerSecond: seedBitsPerSecond,
  activeMilliwatts: 817.88,
  upMillijoulesPerMegabit: 868.98,
  downMillijoulesPerMegabit: 122.12,
  tail: [
    { state: 'dch', afterMs: 0, powerMilliwatts: 803.9, promotionMs: 0 },
    { state: 'fach', afterMs: 8_088.2, powerMilliwatts: 601.3, promotionMs: (582.1 * 1.5) / 2 },
  ],
  tailMs: 8_088.2 + 824.2,
  releaseMillijoules: 0,
  simplified: false,
};

/** Their KB is taken as 1,024 bytes. */
function joulesPerKilobyte(joules: number): number {
  return (joules * 1_000) / (1_024 * 8e-6);
}

/**
 * Balasubramanian et al., the table of their energy model: a transfer of x KB costs R(x) = per KB · x + fixed, the tail
 * E per second for T seconds, being there M per second. Quoted from memory; that it is right shows in the totals the
 * same table gives for 50 KB every 20 s, 12.5 J, 5.0 J and 7.6 J, which it reproduces (radio.test.ts).
 *
 * R holds all of a transfer, so the active power is 0 and the fixed part belongs to the promotion (which their Wi-Fi
 * spends scanning and associating). The model is one of energy: promotion times, RTT and rates have no figure there.
 * Promotion: 2 s as in Qian et al. for 3G, 1 s assumed for the others.
 */
function balasubramanian(options: {
  readonly name: string;
  readonly perKilobyte: number;
  readonly fixed: number;
  readonly tailWatts: number;
  readonly tailMs: number;
  readonly maintenanceWatts: number;
  readonly promotionMs: number;
  readonly roundTripMs: number;
  readonly bitsPerSecond: number;
}): RadioModel {
  return {
    name: options.name,
    idleMilliwatts: options.maintenanceWatts * 1_000,
    promotionMs: options.promotionMs,
    promotionMilliwatts: 0,
    promotionMillijoules: options.fixed * 1_000,
    roundTripMs: options.roundTripMs,
    upBitsPerSecond: options.bitsPerSecond,
    downBitsPerSecond: options.bitsPerSecond,
    activeMilliwatts: 0,
    upMillijoulesPerMegabit: joulesPerKilobyte(options.perKilobyte),
    downMillijoulesPerMegabit: joulesPerKilobyte(options.perKilobyte),
    tail: [{ state: 'tail', afterMs: 0, powerMilliwatts: options.tailWatts * 1_000, promotionMs: 0 }],
    tailMs: options.tailMs,
    releaseMillijoules: 0,
    simplified: false,
  };
}

/**
 * Narayanan et al. Radio power above the phone's (screen on, 2,338 mW: mean of the artifact's baseline_power.csv).
 * Timers: the artifact's plot-section4-figure10.py. RTT: the artifact's RRC-Probe data, the median of each second's
 * least value while connected, because an exchange the phone starts waits for no DRX cycle. Transfer power: least
 * squares over the artifact's MN-Transfer data, means by target rate, Verizon. Rates: mean of the artifact's walks
 * (T-Mobile), and the ends of Fig. 11's axes (mmWave). The powers of Table 2 and the promotion times of Table 7 are
 * quoted from memory.
 *
 * In NSA a packet goes by LTE as soon as the phone is connected to that; it switches to 5G meanwhile, which costs
 * (switch − tail power) × the time it takes, charged to the promotion. Idle power has no figure: LTE's above.
 */
const idle5gMilliwatts = lteHuang.idleMilliwatts;
const nsaLow: RadioModel = {
  name: '5g-nsa-low',
  idleMilliwatts: idle5gMilliwatts,
  // Table 7, T-Mobile NSA: 210 ms to LTE, 1,440 ms to 5G (the probe data allow at most 314 ms for LTE).
  promotionMs: 210,
  // No figure for LTE's promotion in this paper: Huang's.
  promotionMilliwatts: lteHuang.promotionMilliwatts,
  // Table 2: switch 699 mW, tail 260 mW.
  promotionMillijoules: ((699 - 260) * (1_440 - 210)) / 1_000,
  roundTripMs: 80,
  upBitsPerSecond: 67_700_000,
  downBitsPerSecond: 107_600_000,
  // 2,883 mW at no throughput, less the phone.
  activeMilliwatts: 545,
  upMillijoulesPerMegabit: 32.2,
  downMillijoulesPerMegabit: 15.4,
  tail: [{ state: 'connected', afterMs: 0, powerMilliwatts: 260, promotionMs: 0 }],
  tailMs: 10_200,
  releaseMillijoules: 0,
  simplified: false,
};
const nsaMmwave: RadioModel = {
  name: '5g-nsa-mmwave',
  idleMilliwatts: idle5gMilliwatts,
  // The artifact's RRC-Power/README.md, mean of its three transitions: 323 ms to LTE, 1,700 ms more to 5G, tail 10,617 ms.
  promotionMs: 323,
  promotionMilliwatts: lteHuang.promotionMilliwatts,
  // Table 2: switch 1,494 mW, tail 1,092 mW.
  promotionMillijoules: ((1_494 - 1_092) * 1_700) / 1_000,
  roundTripMs: 58,
  upBitsPerSecond: 200_000_000,
  downBitsPerSecond: 2_400_000_000,
  // 5,221 mW at no throughput, less the phone.
  activeMilliwatts: 2_883,
  upMillijoulesPerMegabit: 9.2,
  downMillijoulesPerMegabit: 1.8,
  tail: [{ state: 'connected', afterMs: 0, powerMilliwatts: 1_092, promotionMs: 0 }],
  tailMs: 10_617,
  releaseMillijoules: 0,
  simplified: false,
};
const saLow: RadioModel = {
  name: '5g-sa-low',
  idleMilliwatts: idle5gMilliwatts,
  // Table 7 (the probe data allow at most 367 ms). Power: Table 2's 245 mW on top of the tail's 593 mW.
  promotionMs: 341,
  promotionMilliwatts: 593 + 245,
  promotionMillijoules: 0,
  roundTripMs: 80,
  upBitsPerSecond: 29_700_000,
  downBitsPerSecond: 38_400_000,
  // The SA walks show no slope over the throughput: the tail's power, and the slopes of NSA low band.
  activeMilliwatts: 593,
  upMillijoulesPerMegabit: nsaLow.upMillijoulesPerMegabit,
  downMillijoulesPerMegabit: nsaLow.downMillijoulesPerMegabit,
  tail: [
    { state: 'connected', afterMs: 0, powerMilliwatts: 593, promotionMs: 0 },
    // RRC_INACTIVE, TS 38.331 §4.2.1. Power: no figure; paging as in idle. Resuming: the probe's median RTT, 140 − 80 ms.
    { state: 'inactive', afterMs: 10_200, powerMilliwatts: idle5gMilliwatts, promotionMs: 60 },
  ],
  tailMs: 15_000,
  releaseMillijoules: 0,
  simplified: false,
};

/** Every model, by the name a scenario gives. */
export const radioModels = {
  paper: paperRadio(),
  '3g-seed': seed3g,
  '3g-huang': umtsHuang,
  'lte-huang': lteHuang,
  // Nokia N95 (2009).
  gsm: balasubramanian({
    name: 'gsm',
    perKilobyte: 0.036,
    fixed: 1.7,
    tailWatts: 0.25,
    tailMs: 6_000,
    maintenanceWatts: 0.03,
    promotionMs: 1_000,
    // EDGE, four slots of MCS-9 (3GPP TS 43.064); RTT assumed.
    bitsPerSecond: 236_800,
    roundTripMs: 600,
  }),
  '3g': balasubramanian({
    name: '3g',
    perKilobyte: 0.025,
    fixed: 3.5,
    tailWatts: 0.62,
    tailMs: 12_500,
    maintenanceWatts: 0.02,
    promotionMs: 2_000,
    bitsPerSecond: seedBitsPerSecond,
    roundTripMs: seedRoundTripMs,
  }),
  wifi: balasubramanian({
    name: 'wifi',
    perKilobyte: 0.007,
    fixed: 5.9,
    tailWatts: 0,
    tailMs: 0,
    maintenanceWatts: 0.05,
    promotionMs: 1_000,
    // What 802.11g carries of 54 Mbit/s, and a server nearby: assumed.
    bitsPerSecond: 20_000_000,
    roundTripMs: 50,
  }),
  '5g-nsa-low': nsaLow,
  '5g-nsa-mmwave': nsaMmwave,
  '5g-sa-low': saLow,
} satisfies { readonly [name: string]: RadioModel };

/** One state's part of what was accounted for. */
export interface StateShare {
  readonly state: string;
  readonly ms: number;
  readonly millijoules: number;
}

export class Radio {
  readonly model: RadioModel;
  /** Transitions from idle to high power, begun. */
  promotions = 0;
  /** Shorter ones, from a tail state such as FACH. */
  tailPromotions = 0;
  /** Times it was made dormant before the tail had run out. */
  releases = 0;
  /** When it falls idle if nothing more is sent; in the past if it is idle. */
  upUntil = -Infinity;
  private settledAt: number;
  private promotedAt = -Infinity;
  /** When the channel has carried what was handed to it. */
  private freeAt = -Infinity;
  private activeUntil = -Infinity;
  /** Where the tail's `afterMs` count from. */
  private tailFrom = -Infinity;
  private idleMs = 0;
  private promotingMs = 0;
  private activeMs = 0;
  private readonly tailStateMs: number[] = [];
  private megabitsMillijoules = 0;

  /** Idle at `now`. Throws, naming the field, if the model's tail is not in order. */
  constructor(model: RadioModel, now: number) {
    let afterMs = 0;
    for (const [i, state] of model.tail.entries()) {
      if (!(i === 0 ? state.afterMs === 0 : state.afterMs > afterMs))
        throw new Error(
          `tail[${i}].afterMs: expected ${i === 0 ? '0' : `more than ${afterMs}`}, got ${state.afterMs}`,
        );
      afterMs = state.afterMs;
      this.tailStateMs.push(0);
    }
    if (model.tail.length > 0 && model.tail[0].promotionMs !== 0)
      throw new Error(`tail[0].promotionMs: expected 0, got ${model.tail[0].promotionMs}`);
    if (!(model.tail.length > 0 && model.tailMs >= afterMs))
      throw new Error(`tailMs: expected a tail that lasts ${afterMs} or more, got ${model.tailMs}`);
    this.model = model;
    this.settledAt = now;
  }

  /**
   * One exchange: `upBytes` out and `downBytes` back (0 or more each; plain arguments, because an object for each packet
   * of 10,000 devices would cost more than the rest). Returns when its last byte has arrived, ms: minus `now`, the RTT.
   * What the channel still carries goes first; that backlog has no bound here. Throws if `now` lies before the last call's.
   */
  send(now: number, upBytes: number, downBytes: number): number {
    const { model } = this;
    const readyAt = this.promote(now);
    const transferMs =
      (upBytes * 8_000) / model.upBitsPerSecond + (downBytes * 8_000) / model.downBitsPerSecond;
    this.megabitsMillijoules +=
      upBytes * 8e-6 * model.upMillijoulesPerMegabit + downBytes * 8e-6 * model.downMillijoulesPerMegabit;
    if (model.simplified) {
      this.freeAt = Math.max(this.freeAt, now) + transferMs;
      this.restartTail(this.freeAt);
      return this.freeAt + (readyAt - now) + model.roundTripMs;
    }
    this.freeAt = Math.max(this.freeAt, readyAt) + transferMs;
    const finishedAt = this.freeAt + model.roundTripMs;
    this.restartTail(finishedAt);
    return finishedAt;
  }

  /**
   * Begins the promotion a packet would need now, without one, and returns when a packet could go, ms; `now` if it needs
   * none, and then nothing changes. The tail counts from the end of the promotion (`simplified`: from `now`).
   */
  promote(now: number): number {
    this.settle(now);
    const { model } = this;
    if (now >= this.upUntil) {
      this.promotions++;
      return this.beginPromotion(now, model.promotionMs);
    }
    if (now < this.promotedAt) return model.simplified ? now : this.promotedAt;
    if (model.tail.length > 1) {
      const { promotionMs } = model.tail[this.tailIndex(now)];
      if (promotionMs > 0) {
        this.tailPromotions++;
        return this.beginPromotion(now, promotionMs);
      }
    }
    return now;
  }

  /**
   * Fast dormancy: asks the network to release the connection (3GPP TS 25.331 §8.1.14, signalling connection release
   * indication) and is idle at once, whatever was under way. False, and nothing changed, if it is idle already.
   */
  dormant(now: number): boolean {
    this.settle(now);
    if (now >= this.upUntil) return false;
    this.releases++;
    this.upUntil = now;
    this.freeAt = now;
    return true;
  }

  /** Accounts for the time up to `now`; the figures below are as of the last call. Throws if `now` lies before that. */
  settle(now: number): void {
    let at = this.settledAt;
    if (!(now >= at)) throw new Error(`now: expected a time from ${at} on, got ${now}`);
    this.settledAt = now;
    if (at < this.upUntil) {
      const until = Math.min(now, this.upUntil);
      if (at < this.promotedAt) {
        const end = Math.min(until, this.promotedAt);
        this.promotingMs += end - at;
        at = end;
      }
      if (at < this.activeUntil && at < until) {
        const end = Math.min(until, this.activeUntil);
        this.activeMs += end - at;
        at = end;
      }
      const { tail } = this.model;
      for (let i = 0; at < until; i++) {
        const endAt = i + 1 < tail.length ? this.tailFrom + tail[i + 1].afterMs : this.upUntil;
        if (at >= endAt) continue;
        const end = Math.min(until, endAt);
        this.tailStateMs[i] += end - at;
        at = end;
      }
    }
    this.idleMs += now - at;
  }

  /** `idle`, `promoting`, `active`, or the name of a tail state. `now` is not before the last call's. */
  state(now: number): string {
    if (now >= this.upUntil) return 'idle';
    if (now < this.promotedAt) return 'promoting';
    if (now < this.activeUntil) return 'active';
    return this.model.tail[this.tailIndex(now)].state;
  }

  /** Time not idle, promotions included: what the seed calls the time up, ms. */
  get upMs(): number {
    return this.highMs + this.promotingMs;
  }

  /** Time not idle, promotions left out, ms. */
  get highMs(): number {
    let ms = this.activeMs;
    for (const tailMs of this.tailStateMs) ms += tailMs;
    return ms;
  }

  get energyMillijoules(): number {
    let millijoules = 0;
    for (const share of this.shares()) millijoules += share.millijoules;
    return millijoules;
  }

  /** Time and energy by state. Releases count as idle, bits as active. */
  shares(): StateShare[] {
    const { model } = this;
    const share = (state: string, ms: number, milliwatts: number, more = 0): StateShare => ({
      state,
      ms,
      millijoules: (ms * milliwatts) / 1_000 + more,
    });
    return [
      share('idle', this.idleMs, model.idleMilliwatts, this.releases * model.releaseMillijoules),
      share(
        'promoting',
        this.promotingMs,
        model.promotionMilliwatts,
        this.promotions * model.promotionMillijoules,
      ),
      share('active', this.activeMs, model.activeMilliwatts, this.megabitsMillijoules),
      ...model.tail.map((tail, i) => share(tail.state, this.tailStateMs[i], tail.powerMilliwatts)),
    ];
  }

  private beginPromotion(now: number, promotionMs: number): number {
    this.promotedAt = now + promotionMs;
    this.restartTail(this.model.simplified ? now : this.promotedAt);
    return this.promotedAt;
  }

  private restartTail(from: number): void {
    this.activeUntil = from;
    this.tailFrom = from;
    this.upUntil = from + this.model.tailMs;
  }

  /** The tail state at `now`, before the radio is idle; the first one if the tail has not begun. */
  private tailIndex(now: number): number {
    const { tail } = this.model;
    let i = tail.length - 1;
    while (i > 0 && now < this.tailFrom + tail[i].afterMs) i--;
    return i;
  }
}
