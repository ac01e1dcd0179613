/**
 * The whole phone's power in a kibbutz of two (seed §2.1.3.2.5.2), page load, and the seed's outlook on LTE
 * (§2.1.3.2.5.5): a budget of components, calibrated on phones alone or idle, predicts what the seed measured with two.
 *
 * What each constant is calibrated on (all of them figures of §2.1.3.2.5, Galaxy Nexus):
 * - base 12 mW, kibbutz 60 mW           the idle phone, §2.1.3.2.5.4
 * - 3G 650 mW                           given as the radio's high-power state, §2.1.3.2.5.2
 * - 3G tail 3 J in 7.3 s, promotion 2.3 s   §2.1.3.2.1 (radio.ts, `3g-seed`)
 * - a program's own power               its phone alone (754, 978, 1,819 mW) less base and 3G
 * - stack 412 mW per Mbit/s             the app download alone, 1,300 mW at 6 MB in 31 s
 * - Bluetooth                           the 169 mW of the ping through the neighbour, and "4 times" of Fig. 2.12 d
 *                                       (local-link.ts); no figure of streaming or pages
 * - page: rendering                     the page alone, 5.6 s
 * The powers and times in the kibbutz of two (1,047, 403, 723 mW; 3.2 s, 3.9 J; video; 480 mW) are predicted.
 *
 * Pure functions of plain numbers; nothing grows.
 */

import { localLinkModels } from '../../sim/local-link.js';
import { Radio, type RadioModel, radioModels } from '../../sim/radio.js';
import type { Row } from '../paper.js';

export type PhoneRole = 'forwarder' | 'client' | 'alone';

/** What one phone did from `fromMs` to `toMs`. Only lengths count, so shares of the time will do. */
export interface RoleSpan {
  readonly fromMs: number;
  readonly toMs: number;
  readonly role: PhoneRole;
  /** Its cellular radio is not idle: in use as forwarder or alone, in its tail as client. */
  readonly radioUp: boolean;
}

/** A program that both phones run. */
export interface PhoneApp {
  /** The whole phone alone, over 3G. */
  readonly aloneMilliwatts: number;
  readonly megabitsPerSecond: number;
}

const baseMilliwatts = 12;
const kibbutzMilliwatts = 60;

/** 48 kbit/s MP3, screen off. */
export const radio48k: PhoneApp = { aloneMilliwatts: 978, megabitsPerSecond: 0.048 };
/** 250 kbit/s video, screen on. */
export const video250k: PhoneApp = { aloneMilliwatts: 1_819, megabitsPerSecond: 0.25 };
/** A timestamp twice a second and its echo (§2.1.3.2.5.1), about 60 bytes each with headers. */
export const ping: PhoneApp = { aloneMilliwatts: 754, megabitsPerSecond: (4 * 60 * 8) / 1e6 };

const seedUplink = radioModels['3g-seed'];

/** 1,300 mW = base + 3G + 48 Mbit / 31 s of this. */
const stackMilliwattsPerMbps = (1_300 - baseMilliwatts - seedUplink.activeMilliwatts) / (48 / 31);

/**
 * What a forwarded bit costs the forwarder's stack. Between nothing and a whole pass: it goes through drivers and IP
 * but reaches no program. The middle; ±10 mW at 48 kbit/s.
 */
const forwardingMilliwattsPerMbps = stackMilliwattsPerMbps / 2;

/** The phone in one role; `uplink` is its cellular radio, the program's power as calibrated over 3G. */
export function phoneMilliwatts(
  app: PhoneApp,
  { role, radioUp }: Pick<RoleSpan, 'role' | 'radioUp'>,
  uplink: RadioModel = seedUplink,
): number {
  const { megabitsPerSecond } = app;
  const { bluetooth } = localLinkModels;
  let milliwatts = app.aloneMilliwatts - baseMilliwatts - seedUplink.activeMilliwatts;
  milliwatts += role === 'alone' ? baseMilliwatts : kibbutzMilliwatts;
  if (role === 'forwarder')
    milliwatts +=
      bluetooth.activeMilliwatts +
      megabitsPerSecond * (bluetooth.sendMillijoulesPerMegabit + forwardingMilliwattsPerMbps);
  if (role === 'client')
    milliwatts += bluetooth.activeMilliwatts + megabitsPerSecond * bluetooth.receiveMillijoulesPerMegabit;
  if (!radioUp) return milliwatts;
  const highMilliwatts = uplink.activeMilliwatts + megabitsPerSecond * uplink.downMillijoulesPerMegabit;
  return milliwatts + (role === 'client' ? tailMilliwatts(uplink) : highMilliwatts);
}

/** The mean over the spans, by their length. Throws if they have none. */
export function meanMilliwatts(
  app: PhoneApp,
  spans: readonly RoleSpan[],
  uplink: RadioModel = seedUplink,
): number {
  let ms = 0;
  let sum = 0;
  for (const span of spans) {
    ms += span.toMs - span.fromMs;
    sum += (span.toMs - span.fromMs) * phoneMilliwatts(app, span, uplink);
  }
  if (!(ms > 0)) throw new Error(`spans: expected more than 0 ms in all, got ${ms}`);
  return sum / ms;
}

/**
 * One phone of two that stream, through a turn of each. A turn ends when the forwarder's counter for the other is used
 * up: one advertisement of one tail time each (§2.1.3.2.2.1). Begun at `counter`, a counter has risen by as many by the
 * time its owner's turn comes, so that turns settle at twice the counter. After its turn a radio stays up for its tail.
 */
export function alternatingRoles(uplink: RadioModel = seedUplink, counter = 5): RoleSpan[] {
  const { tailMs } = uplink;
  const turnMs = 2 * counter * tailMs;
  return [
    { fromMs: 0, toMs: turnMs, role: 'forwarder', radioUp: true },
    { fromMs: turnMs, toMs: turnMs + tailMs, role: 'client', radioUp: true },
    { fromMs: turnMs + tailMs, toMs: 2 * turnMs, role: 'client', radioUp: false },
  ];
}

/**
 * Rounds of an RTT in a search page (§2.1.3.2.5.2: DNS, index of 20–50 KB, small parts, DNS again halfway, another
 * 20–50 KB; persistent connections): DNS and TCP handshake 2, index 2 (10 packets of 1.4 KB first, then twice as many:
 * RFC 6928), parts 2, DNS and handshake 2, the last 2.
 */
const pageRounds = 10;
/** Alone, §2.1.3.2.5.2. */
const pageAloneMs = 5_600;

/** How long a page takes: alone with an idle radio, or through a neighbour whose radio is up. */
export function pageLoadMs(way: 'alone' | 'kibbutz', uplink: RadioModel = seedUplink): number {
  const renderMs = pageAloneMs - roundsMs(new Radio(seedUplink, 0), 0);
  const radio = new Radio(uplink, 0);
  if (way === 'alone') return roundsMs(radio, 0) + renderMs;
  const startAt = radio.promote(0);
  return roundsMs(radio, startAt) + pageRounds * 2 * localLinkModels.bluetooth.delayMs + renderMs;
}

/** The 48 kbit/s radio, the video and the ping in a kibbutz of two; `spans` are one phone's, over a time the two swap roles. */
export function streamingRows(spans: readonly RoleSpan[] = alternatingRoles()): Row[] {
  const level = (app: PhoneApp, role: PhoneRole) =>
    phoneMilliwatts(app, { role, radioUp: role !== 'client' });
  const saving = (app: PhoneApp) => 100 * (1 - meanMilliwatts(app, spans) / app.aloneMilliwatts);
  const overlap =
    'the paper’s average is the mean of its two levels, which leaves nothing for the tail a radio spends after its turn';
  const slope = 'the paper’s two phones pay less for 250 kbit/s of Bluetooth than its Fig. 2.12 allows';
  return [
    { id: 'energy/radio-48k/2/saving', paper: 25, ours: saving(radio48k), unit: '%', note: overlap },
    { id: 'energy/radio-48k/forwarder', paper: 1_047, ours: level(radio48k, 'forwarder'), unit: 'mW' },
    { id: 'energy/radio-48k/client', paper: 403, ours: level(radio48k, 'client'), unit: 'mW' },
    {
      id: 'energy/radio-48k/average',
      paper: 723,
      ours: meanMilliwatts(radio48k, spans),
      unit: 'mW',
      note: overlap,
    },
    { id: 'energy/video-250k/2/saving', paper: 15, ours: saving(video250k), unit: '%', note: slope },
    { id: 'energy/video-250k/forwarder', paper: 1_890, ours: level(video250k, 'forwarder'), unit: 'mW' },
    {
      id: 'energy/video-250k/client',
      paper: 1_205,
      ours: level(video250k, 'client'),
      unit: 'mW',
      note: slope,
    },
    {
      id: 'energy/video-250k/average',
      paper: 1_547,
      ours: meanMilliwatts(video250k, spans),
      unit: 'mW',
      note: slope,
    },
    { id: 'energy/ping/average', paper: 480, ours: meanMilliwatts(ping, spans), unit: 'mW' },
  ];
}

/**
 * The search page. Its energy alone (15.9 J) fixes the phone's power while loading, 1.65 W without the radio, if all but
 * the radio's own 3 J tail was drawn during the 5.6 s; or 0.72 W if the phone drew as much through the 7.3 s of tail. The
 * paper does not say where its "mountain" ends, so both are given.
 */
export function pageRows(): Row[] {
  const aloneMs = pageLoadMs('alone');
  const kibbutzMs = pageLoadMs('kibbutz');
  const tailMillijoules = (tailMilliwatts(seedUplink) * seedUplink.tailMs) / 1_000;
  const phoneMillijoules = 15_900 - tailMillijoules - (aloneMs * seedUplink.activeMilliwatts) / 1_000;
  const kibbutzJoules = (drawnMs: number) => {
    const milliwatts =
      (1_000 * phoneMillijoules) / drawnMs +
      (kibbutzMilliwatts - baseMilliwatts) +
      localLinkModels.bluetooth.activeMilliwatts;
    return (milliwatts * kibbutzMs) / 1e6;
  };
  return [
    {
      id: 'page/sooner',
      paper: 2.4,
      ours: (aloneMs - kibbutzMs) / 1_000,
      unit: 's',
      note: 'the measured promotion, 2.3 s, less the way over Bluetooth; the paper gains more than the promotion',
    },
    { id: 'page/kibbutz', paper: 3.2, ours: kibbutzMs / 1_000, unit: 's' },
    {
      id: 'page/energy/load-only',
      paper: 3.9,
      ours: kibbutzJoules(aloneMs),
      unit: 'J',
      note: 'if the 15.9 J alone hold the phone for 5.6 s',
    },
    {
      id: 'page/energy/with-tail',
      paper: 3.9,
      ours: kibbutzJoules(aloneMs + seedUplink.tailMs),
      unit: 'J',
      note: 'if they hold the phone for the tail too',
    },
  ];
}

/** §2.1.3.2.5.5, which predicts in words: the same share of the radio's power, more watts, a shorter delay gained. */
export function lteRows(): Row[] {
  const lte = radioModels['lte-huang'];
  const aloneMilliwatts = phoneMilliwatts(radio48k, { role: 'alone', radioUp: true }, lte);
  const savedMilliwatts = aloneMilliwatts - meanMilliwatts(radio48k, alternatingRoles(lte), lte);
  return [
    {
      id: 'lte/radio-48k/2/radio-saving',
      paper: 40,
      ours: (100 * savedMilliwatts) / lte.activeMilliwatts,
      unit: '% of the radio',
      note: 'predicted in the paper as for its 3G, where 250 of 650 mW are 38 %',
    },
    {
      id: 'lte/radio-48k/2/saved',
      paper: 0.4 * 1_000,
      ours: savedMilliwatts,
      unit: 'mW',
      note: 'the paper’s 40 % of the least of “1 to 3 watts”; of the most, 1,200',
    },
    {
      id: 'lte/page/sooner',
      paper: 0.75,
      ours: (pageLoadMs('alone', lte) - pageLoadMs('kibbutz', lte)) / 1_000,
      unit: 's',
      note: 'the paper reckons with a promotion of 0.5–1 s; Huang et al. measured 0.26 s, and Bluetooth takes half of it',
    },
  ];
}

/** Mean power from the last packet until idle. */
function tailMilliwatts({ tail, tailMs }: RadioModel): number {
  let sum = 0;
  for (const [i, state] of tail.entries())
    sum += ((tail[i + 1]?.afterMs ?? tailMs) - state.afterMs) * state.powerMilliwatts;
  return sum / tailMs;
}

/** How long the page's rounds take from `startAt`. Bandwidth is left out: pages are bound by the RTT (§2.1.3.2.5.2). */
function roundsMs(radio: Radio, startAt: number): number {
  let at = startAt;
  for (let i = 0; i < pageRounds; i++) at = radio.send(at, 0, 0);
  return at - startAt;
}
