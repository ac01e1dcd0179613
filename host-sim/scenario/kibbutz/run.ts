/**
 * Simulates the kibbutzim of a scenario (scenario-file.ts), any range of them, and adds up what came of their devices.
 *
 * Each kibbutz has a seed of its own, from the scenario's and its number, so it does the same in whatever range it is
 * run. Totals are whole numbers that are added or compared, never averaged: in whatever order and portions they are
 * added, they are the same to the last digit, and so is the digest, a sum modulo 2^256 of one SHA-256 per kibbutz over
 * its number and all results of its devices (AdHash: Bellare and Micciancio, EUROCRYPT 1997, for sets whose parts come
 * in any order). It changes if a kibbutz is missing, counted twice, or has another's number. It guards against mistakes,
 * not against somebody who makes results up.
 *
 * A download (`{"download": bytes}`) is one request, answered with its last byte. It goes where the kibbutz sends the
 * device's packets: before each window of TCP's (flow.ts) the kibbutz says whether a neighbour carries it or the own
 * link. One path at a time, without the bandwidth watchdog: downloads.ts has both. The local link takes a window as one
 * burst, before or behind what else is on it.
 *
 * Bounds: a kibbutz at a time; each sum stays below 2^53, or an Error says which does not.
 */

import { createHash } from 'node:crypto';
import { Random } from '../../../agent/core/random.js';
import { never } from '../../../agent/core/time.js';
import { own } from '../../../agent/kibbutz/path-selection.js';
import { AppTraffic, TraceTraffic, type Traffic } from '../../sim/app.js';
import { Flow, FlowPath, segmentBytes } from '../../sim/flow.js';
import { type Device, type DeviceResult, SimulatedKibbutz } from '../../sim/kibbutz.js';
import { localLinkModels } from '../../sim/local-link.js';
import { type RadioModel, radioModels } from '../../sim/radio.js';
import { neighbourLike } from './downloads.js';
import type { KibbutzScenario, ScenarioApp, ScenarioDevices } from './scenario-file.js';

/** What is added up of a device as it came out. */
const outcomeFields = [
  'upMs',
  'promotions',
  'requests',
  'answered',
  'rttMs',
  'waited',
  'waitedMs',
  'unsent',
  'taken',
  'given',
  'timeouts',
  'advertisements',
  'signals',
  'radioMillijoules',
  'localMillijoules',
  'takenBytes',
  'givenBytes',
  'downloadedBytes',
] as const satisfies readonly (keyof Outcome)[];

/** Added when totals are. */
const sumFields = [
  'devices',
  'presentMs',
  ...outcomeFields,
  'upBasisPoints',
  'upBasisPointsSquared',
] as const;
/** Of these the least, and the most, counts. */
const leastFields = ['leastUpBasisPoints'] as const;
const mostFields = ['mostUpBasisPoints', 'longestWaitMs'] as const;

/** Every field of `DeviceTotals`, in their order. */
export const deviceTotalFields = [...sumFields, ...leastFields, ...mostFields] as const;

/**
 * Totals over devices. Besides those of `DeviceResult`: `devices`; `presentMs`, from joining to leaving, blackouts
 * included; bytes of packets sent through neighbours (`takenBytes`) and carried for them; `downloadedBytes`; and for
 * fairness a device's time up as a share of `presentMs` in basis points (1/100 %, whole): their sum, the sum of their
 * squares, the least and the most.
 */
export type DeviceTotals = { readonly [field in (typeof deviceTotalFields)[number]]: number };

export interface Totals {
  readonly kibbutzim: number;
  /** Events the kernels fired. */
  readonly events: number;
  /** 64 hex digits; see above. */
  readonly digest: string;
  /** One for each entry of the scenario's `devices`. */
  readonly devices: readonly DeviceTotals[];
}

/** Policy kith: how long requests that may wait are kept; as `kith paper` has it. */
const deferMs = 30_000;
const noDigest = '0'.repeat(64);

/** Runs kibbutzim number `from` … `to` − 1 of the scenario. */
export function runKibbutzim(scenario: KibbutzScenario, from: number, to: number): Totals {
  let totals = emptyTotals(scenario.devices.length);
  for (let number = from; number < to; number++) totals = addTotals(totals, runKibbutz(scenario, number));
  return totals;
}

/** Of no kibbutz, in a scenario with so many entries. */
export function emptyTotals(entries: number): Totals {
  return { kibbutzim: 0, events: 0, digest: noDigest, devices: Array(entries).fill(noDevices) };
}

/** Of both; of the same scenario. Throws if a sum is no exact whole number. */
export function addTotals(a: Totals, b: Totals): Totals {
  return {
    kibbutzim: a.kibbutzim + b.kibbutzim,
    events: exact('events', a.events + b.events),
    digest: addDigests(a.digest, b.digest),
    devices: a.devices.map((devices, i) => addDevices(devices, b.devices[i])),
  };
}

export function addDevices(a: DeviceTotals, b: DeviceTotals): DeviceTotals {
  const sum: { -readonly [field in keyof DeviceTotals]: number } = { ...a };
  for (const field of sumFields) sum[field] = exact(field, a[field] + b[field]);
  for (const field of leastFields) sum[field] = Math.min(a[field], b[field]);
  for (const field of mostFields) sum[field] = Math.max(a[field], b[field]);
  return sum;
}

/** Jain's index of the devices' time up, (Σx)² / (n Σx²) (Jain, Chiu and Hawe 1984); 1 if none was up at all. */
export function jainIndexOf({ devices, upBasisPoints, upBasisPointsSquared }: DeviceTotals): number {
  return upBasisPoints === 0 ? 1 : (upBasisPoints * upBasisPoints) / (devices * upBasisPointsSquared);
}

const noDevices: DeviceTotals = Object.fromEntries([
  ...[...sumFields, ...mostFields].map(field => [field, 0]),
  ...leastFields.map(field => [field, Infinity]),
]);

function exact(field: string, sum: number): number {
  if (Number.isSafeInteger(sum)) return sum;
  throw new Error(`${field}: expected a sum below 2^53, got ${sum}: simulate fewer devices or less time`);
}

function addDigests(a: string, b: string): string {
  const sum = BigInt(`0x${a}`) + BigInt(`0x${b}`);
  return BigInt.asUintN(256, sum).toString(16).padStart(64, '0');
}

function runKibbutz(scenario: KibbutzScenario, number: number): Totals {
  const { policy, durationMs, initialCredit } = scenario;
  const seed = seedOf(scenario.seed, number);
  const radio: RadioModel = { ...radioModels[scenario.radio], tailMs: scenario.tailMs };
  const entries = scenario.devices.flatMap(entry => Array<ScenarioDevices>(entry.count).fill(entry));
  const group = new SimulatedKibbutz({
    seed,
    policy,
    radio,
    local: localLinkModels[scenario.local],
    initialCredit,
    deferMs,
    devices: entries.map(({ app, joinAt, leaveAt, ...rest }) => ({
      traffic: trafficOf(app),
      joinAt,
      // At the end of the run nobody leaves.
      ...(leaveAt < durationMs && { leaveAt }),
      ...rest,
    })),
  });
  const links = group.devices.map(
    ({ index, radio: itsRadio }) =>
      new FlowPath({
        kernel: group.kernel,
        seed,
        name: `${index}`,
        conditions: neighbourLike(radio, 0),
        radio: itsRadio,
      }),
  );
  const downloads = entries.map((entry, i) =>
    entry.app.kind === 'download' ? new Download(group, { links, index: i, entry }) : undefined,
  );
  group.run(durationMs);

  const hash = createHash('sha256').update(`kibbutz ${number}, ${group.kernel.fired} events\n`);
  const devices: DeviceTotals[] = Array(scenario.devices.length).fill(noDevices);
  for (const [i, result] of group.results().entries()) {
    const { joinAt, leaveAt } = entries[i];
    const presentMs = Math.max(0, Math.min(leaveAt, durationMs) - joinAt);
    const totals = totalsOf(
      { ...result, ...bytesOf(group.devices[i]), ...downloads[i]?.result() },
      presentMs,
    );
    hash.update(deviceTotalFields.map(field => `${field} ${totals[field]}\n`).join(''));
    const place = scenario.devices.indexOf(entries[i]);
    devices[place] = addDevices(devices[place], totals);
  }
  return { kibbutzim: 1, events: group.kernel.fired, digest: hash.digest('hex'), devices };
}

/** 53 bits. */
function seedOf(seed: number, number: number): number {
  const random = new Random(seed, `kibbutz/${number}`);
  return random.below(2 ** 21) * 2 ** 32 + random.uint32();
}

function trafficOf(app: ScenarioApp): Traffic {
  if (app.kind === 'app') return new AppTraffic(app.name);
  return new TraceTraffic(app.kind === 'trace' ? app.entries : []);
}

interface Outcome extends DeviceResult {
  readonly takenBytes: number;
  readonly givenBytes: number;
  readonly downloadedBytes: number;
}

/** What a device's accounts with its neighbours say; a download adds its own. */
function bytesOf({ kibbutz }: Device): Pick<Outcome, 'takenBytes' | 'givenBytes' | 'downloadedBytes'> {
  let [takenBytes, givenBytes] = [0, 0];
  for (const neighbour of kibbutz.neighbours) {
    takenBytes += neighbour.takenBytes;
    givenBytes += neighbour.givenBytes;
  }
  return { takenBytes, givenBytes, downloadedBytes: 0 };
}

function totalsOf(outcome: Outcome, presentMs: number): DeviceTotals {
  const up = presentMs > 0 ? Math.round((10_000 * outcome.upMs) / presentMs) : 0;
  const totals: { -readonly [field in keyof DeviceTotals]: number } = { ...noDevices, devices: 1, presentMs };
  // Behind a download even the paper's radio answers at fractions of a millisecond.
  for (const field of outcomeFields) totals[field] = Math.round(outcome[field]);
  return {
    ...totals,
    upBasisPoints: up,
    upBasisPointsSquared: up * up,
    leastUpBasisPoints: up,
    mostUpBasisPoints: up,
    longestWaitMs: outcome.longestWaitMs,
  };
}

interface DownloadOptions {
  /** The cellular link of each device. */
  readonly links: readonly FlowPath[];
  /** The device that downloads, and what the scenario says of it. */
  readonly index: number;
  readonly entry: ScenarioDevices;
}

/** A device's download, from when it joins: a path that goes window by window where the kibbutz has it go. */
class Download extends FlowPath {
  private readonly group: SimulatedKibbutz;
  private readonly links: readonly FlowPath[];
  private readonly device: Device;
  private readonly entry: ScenarioDevices;
  private readonly flow: Flow;

  constructor(group: SimulatedKibbutz, { links, index, entry }: DownloadOptions) {
    const { kernel } = group;
    super({ kernel, seed: 0, name: 'unused', conditions: links[index].conditions });
    this.group = group;
    this.links = links;
    this.device = group.devices[index];
    this.entry = entry;
    const { bytes } = entry.app as { readonly bytes: number };
    this.flow = new Flow({ kernel, paths: [{ path: this, priority: 'normal' }], bytes });
    kernel.schedule(entry.joinAt, { fire: () => this.flow.pump() }, undefined);
  }

  result(): Pick<Outcome, 'requests' | 'answered' | 'rttMs' | 'downloadedBytes'> {
    const { joinAt } = this.entry;
    const { finishedAt, bytesByPath } = this.flow;
    return {
      requests: this.group.kernel.now >= joinAt ? 1 : 0,
      answered: finishedAt === undefined ? 0 : 1,
      rttMs: finishedAt === undefined ? 0 : finishedAt - joinAt,
      downloadedBytes: bytesByPath[0],
    };
  }

  override isUp(now: number): boolean {
    const { joinAt, leaveAt, blackouts } = this.entry;
    if (now < joinAt || now >= leaveAt) return false;
    for (const { fromAt, toAt } of blackouts) if (now >= fromAt && now < toAt) return false;
    return true;
  }

  override carry(now: number, ids: readonly number[], freshFrom: number): Round {
    // Away or blacked out: no radio is brought up for what nobody hears.
    if (!this.isUp(now)) return this.lose(now, ids, freshFrom);
    const { device, group } = this;
    const { kibbutz } = device;
    const lengthBytes = ids.length * segmentBytes;
    // The agent's clock is whole milliseconds: it is asked as of the last one, and what it says is heard at the next.
    const whole = Math.floor(now);
    group.kernel.schedule(Math.ceil(now), { fire: at => group.settle(at) }, undefined);
    const place = kibbutz.route(whole, 0);
    const forwarder = place === own ? device : group.devices[kibbutz.neighbours[place].member - 1];
    if (!forwarder.present) {
      kibbutz.lost(whole, place);
      return this.lose(now, ids, freshFrom);
    }
    if (forwarder !== device) {
      const back = forwarder.kibbutz.find(device.index + 1);
      // Who is refused takes the own link, and hears of it before the next window.
      if (forwarder.kibbutz.forward(whole, back, lengthBytes, false)) {
        kibbutz.sentVia(whole, place, lengthBytes, false);
        return this.throughLocalLink(now, forwarder, this.link(forwarder, now, ids, freshFrom));
      }
    }
    kibbutz.sentOwn(whole, lengthBytes, false);
    return this.link(device, now, ids, freshFrom);
  }

  /** Over the cellular link of a device. */
  private link(
    { index, radio, kibbutz }: Device,
    now: number,
    ids: readonly number[],
    freshFrom: number,
  ): Round {
    const round = this.links[index].carry(now, ids, freshFrom);
    if (!radio.model.simplified) kibbutz.upUntil = Math.floor(radio.upUntil);
    return round;
  }

  private throughLocalLink(now: number, forwarder: Device, round: Round): Round {
    const { device, group } = this;
    const { local, random } = group;
    if (!local) return round;
    const { length } = round.ids;
    const arrivesAt = local.transmit(now, forwarder.index, device.index, length * segmentBytes);
    if (arrivesAt === never) return this.lose(now, round.ids, round.freshFrom);
    const spacingMs = Math.max(round.spacingMs, (arrivesAt - now) / length);
    return {
      ...round,
      lost: round.lost.map(lost => lost || random.chance(device.loss) || random.chance(forwarder.loss)),
      spacingMs,
      endsAt: Math.max(round.endsAt, round.startAt + length * spacingMs),
    };
  }

  private lose(now: number, ids: readonly number[], freshFrom: number): Round {
    const endsAt = now + this.conditions.roundTripMs;
    return { ids, freshFrom, lost: ids.map(() => true), sentAt: now, startAt: now, spacingMs: 0, endsAt };
  }
}

type Round = ReturnType<FlowPath['carry']>;
