/**
 * A board's settings: what the form of an unprovisioned board sends (application/x-www-form-urlencoded, WHATWG URL §5.1, over
 * HTTP/1.1, RFC 9112), and the JSON they are kept as, which is Espruino's kith.json with `broker.tls`, `broker.ca`, `knock`,
 * `wake` and `kibbutz` beside. Sans-I/O. Bounds: a request of `mostRequestBytes`, settings of `mostSettingsBytes`; what is not of
 * use is refused with the field.
 */

import { decodeUtf8, encodeUtf8 } from '../../agent/core/bytes.js';
import { fail, ok, type Result } from '../../agent/core/result.js';
import {
  isGroup,
  kibbutzGroup4,
  kibbutzPort,
  type MemberOptions,
  memberFields,
  memberOptions,
  registrationOf,
  registrationShape,
  type WrittenMember,
  type WrittenRegistration,
} from '../../agent/kibbutz/member-settings.js';
import type { Registration } from '../../agent/kibbutz/saved-state.js';
import { type Shape, validate } from '../../agent/message/schema.js';
import { isId } from '../../agent/message/topic.js';
import { parseIpv4Address } from '../../agent/wire/address.js';

export interface Settings {
  readonly site: string;
  readonly node: string;
  readonly broker: {
    readonly host: string;
    /** 1883, or with TLS 8883, if left out. */
    readonly port?: number;
    readonly user?: string;
    readonly password?: string;
    readonly tls?: boolean;
    /** A certificate in DER, in hex, that is trusted beside those of the SDK. */
    readonly ca?: string;
  };
  readonly wifi?: { readonly ssid: string; readonly password?: string };
  /** UDP ports rules may ask about, beside the one of mDNS; 8 at most. */
  readonly knock?: readonly number[];
  /** Where magic packets go; 255.255.255.255 and 9 if left out. */
  readonly wake?: { readonly address: string; readonly port: number };
  /** False: without the power proxy. */
  readonly powerProxy?: boolean;
  /** Given: the board is a member of a kibbutz. */
  readonly kibbutz?: WrittenKibbutz;
}

/** As in the gateway's `jobs.kibbutz` (docs/gateway.md), but that the registration is not in a file of its own. */
export interface WrittenKibbutz extends WrittenMember {
  readonly registration: WrittenRegistration;
  /** `interface`: on Linux. */
  readonly local?: { readonly interface?: string; readonly group?: string; readonly port?: number };
}

export interface KibbutzSettings extends MemberOptions {
  readonly registration: Registration;
  readonly local: { readonly interface?: string; readonly group: string; readonly port: number };
}

/** A text in an ESP32's store (NVS) has 4,000 bytes at most, with a zero. */
export const mostSettingsBytes = 3999;
/** Settings in full, some of it written as %xx, and what a browser says beside. */
export const mostRequestBytes = 10_240;
const mostKnocks = 8;

const kibbutzShape: Shape = [
  'closed',
  ['registration', registrationShape],
  [
    'local?',
    [
      'closed',
      ['interface?', ['size', 'tstr', 1, 15]],
      ['group?', ['size', 'tstr', 7, 15]],
      ['port?', ['range', 1, 65_535]],
    ],
  ],
  ...memberFields,
];

/** Reads the settings kept; the failure is what was expected. */
export function parseSettings(text: string): Result<Settings, string> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return fail('settings: expected JSON');
  }
  const settings = value as Settings;
  if (!isObject(settings)) return fail('settings: expected an object');
  if (!isName(settings.site)) return fail('site: expected 1 to 32 characters of a-z, 0-9 and -');
  if (!isName(settings.node)) return fail('node: expected 1 to 32 characters of a-z, 0-9 and -');
  const { broker, wifi, knock, wake } = settings;
  if (!isObject(broker) || typeof broker.host !== 'string' || broker.host === '')
    return fail('broker.host: expected a name or an address');
  if (broker.port !== undefined && !isPort(broker.port)) return fail('broker.port: expected 1..65535');
  for (const name of ['user', 'password', 'ca'] as const)
    if (broker[name] !== undefined && typeof broker[name] !== 'string')
      return fail(`broker.${name}: expected text`);
  if (broker.tls !== undefined && typeof broker.tls !== 'boolean')
    return fail('broker.tls: expected true or false');
  if (wifi !== undefined && (!isObject(wifi) || !isShort(wifi.ssid, 1, 32)))
    return fail('wifi.ssid: expected 1 to 32 characters');
  if (wifi?.password !== undefined && wifi.password !== '' && !isShort(wifi.password, 8, 63))
    return fail('wifi.password: expected 8 to 63 characters, or none');
  if (knock !== undefined && !(Array.isArray(knock) && knock.length <= mostKnocks && knock.every(isPort)))
    return fail(`knock: expected at most ${mostKnocks} UDP ports`);
  if (
    wake !== undefined &&
    !(
      isObject(wake) &&
      typeof wake.address === 'string' &&
      parseIpv4Address(wake.address) &&
      isPort(wake.port)
    )
  )
    return fail('wake: expected an IPv4 address and a port');
  const { powerProxy } = settings;
  if (powerProxy !== undefined && typeof powerProxy !== 'boolean')
    return fail('powerProxy: expected true or false');
  if (powerProxy === false && settings.kibbutz === undefined)
    return fail('powerProxy: expected true where there is no kibbutz');
  if (settings.kibbutz !== undefined) {
    const kibbutz = kibbutzOf(settings.kibbutz);
    if (!kibbutz.ok) return kibbutz;
  }
  if (encodeUtf8(text).length > mostSettingsBytes)
    return fail(`settings: expected at most ${mostSettingsBytes} bytes`);
  return ok(settings);
}

/** The member that the section `kibbutz` describes; the failure is what was expected. */
export function kibbutzOf(written: WrittenKibbutz): Result<KibbutzSettings, string> {
  const problem = validate(kibbutzShape, written);
  if (problem) {
    const field = problem.field === '' ? '' : `.${problem.field}`;
    return fail(`kibbutz${field}: expected ${problem.expected}, got ${problem.got}`);
  }
  const { registration, local = {}, ...rest } = written;
  // AES-128-GCM is all that the SDK has (aead.ts).
  if (registration.aead !== 1)
    return fail(`kibbutz.registration.aead: expected 1 (AES-128-GCM), got ${registration.aead}`);
  if (registration.key.length !== 32)
    return fail(`kibbutz.registration.key: expected 32 hex digits, got ${registration.key.length}`);
  const { group = kibbutzGroup4, port = kibbutzPort } = local;
  if (!isGroup(group, 'ipv4'))
    return fail(`kibbutz.local.group: expected an IPv4 multicast address, got ${group}`);
  const member = memberOptions(rest);
  if (!member.ok) return fail(`kibbutz.${member.reason}`);
  return ok({
    ...member.value,
    registration: registrationOf(registration),
    local: { ...local, group, port },
  });
}

export type FormAnswer =
  /** More bytes must come. */
  'more' | { readonly status: 200 | 400 | 404 | 413; readonly text: string; readonly settings?: string };

/** What a request asks for, with all bytes that came so far. */
export function answerForm(request: Uint8Array): FormAnswer {
  if (request.length > mostRequestBytes) return { status: 413, text: 'too long' };
  const text = decodeUtf8(request);
  // A character that is not there in full yet ends the same way: more is awaited.
  if (text === undefined) return 'more';
  const headEnd = text.indexOf('\r\n\r\n');
  if (headEnd < 0) return 'more';
  const head = text.substring(0, headEnd);
  if (head.indexOf('GET / ') === 0) return { status: 200, text: page('') };
  if (head.indexOf('POST / ') !== 0) return { status: 404, text: 'only / is here' };
  const length = /\r\ncontent-length: *([0-9]+)/i.exec(head);
  if (!length) return { status: 400, text: 'Content-Length: expected a number' };
  const body = text.substring(headEnd + 4);
  // A browser sends this form in ASCII alone, so characters are bytes.
  if (body.length < Number(length[1])) return 'more';
  const fields = fieldsOf(body.substring(0, Number(length[1])));
  const settings = fields['all'] ? fields['all'] : settingsOf(fields);
  const judged = parseSettings(settings);
  if (!judged.ok) return { status: 400, text: page(judged.reason) };
  return { status: 200, text: '<p>Kept. The node starts now.', settings };
}

/** The bytes that answer a request. */
export function httpAnswer({ status, text }: Exclude<FormAnswer, 'more'>): string {
  return `HTTP/1.1 ${status} ${status === 200 ? 'OK' : 'Refused'}\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
}

/** ASCII, so that its length is its bytes. */
function page(fault: string): string {
  const field = (name: string, label: string, type = 'text') =>
    `<p><label>${label}<br><input name=${name} type=${type}></label>`;
  return `<!doctype html><meta name=viewport content="width=device-width"><title>Kith</title><h1>Kith</h1>${
    fault === '' ? '' : `<p><b>${fault}</b>`
  }<form method=post>${field('ssid', 'Wi-Fi name')}${field('wifi', 'Wi-Fi password', 'password')}${field(
    'host',
    'MQTT broker',
  )}${field('port', 'Port (left out: 1883, with TLS 8883)')}<p><label><input name=tls type=checkbox> TLS</label>${field(
    'user',
    'User',
  )}${field('password', 'Password', 'password')}${field('site', 'Site')}${field(
    'node',
    'Node',
  )}<p><label>Or all settings at once, as JSON<br><textarea name=all rows=8></textarea></label><p><button>Keep</button></form>`;
}

function settingsOf(fields: { readonly [name: string]: string }): string {
  const { ssid, wifi, host, port, tls, user, password, site, node } = fields;
  return JSON.stringify({
    site,
    node,
    broker: {
      host,
      ...(port ? { port: Number(port) } : {}),
      ...(tls ? { tls: true } : {}),
      ...(user ? { user, password: password || '' } : {}),
    },
    ...(ssid ? { wifi: { ssid, password: wifi || '' } } : {}),
  });
}

function fieldsOf(body: string): { [name: string]: string } {
  const fields: { [name: string]: string } = {};
  for (const part of body.split('&')) {
    const equals = part.indexOf('=');
    if (equals < 0) continue;
    try {
      fields[part.substring(0, equals)] = decodeURIComponent(
        part
          .substring(equals + 1)
          .split('+')
          .join(' '),
      );
    } catch {
      // Not %xx: as if it had been left out, which is then said.
    }
  }
  return fields;
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isName(value: unknown): boolean {
  return typeof value === 'string' && isId(value);
}

function isShort(value: unknown, least: number, most: number): boolean {
  return typeof value === 'string' && value.length >= least && value.length <= most;
}

function isPort(value: unknown): boolean {
  return typeof value === 'number' && value % 1 === 0 && value >= 1 && value <= 65_535;
}
