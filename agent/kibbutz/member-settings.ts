/**
 * What a member of a kibbutz is told by the person who sets it up, as written (JSON), held against a descriptor
 * (message/schema.ts) and made the job's options: the same fields on every platform that has the job (docs/gateway.md).
 *
 * What of it is wrong is told with its field; nothing is thrown. Bounds: those of the job.
 */

import { parseHex } from '../core/bytes.js';
import { fail, ok, type Result } from '../core/result.js';
import { never, parseDuration } from '../core/time.js';
import type { Member, Shape } from '../message/schema.js';
import { parseAddress } from '../wire/address.js';
import type { KibbutzJobOptions } from './job.js';
import { longestLifetimeMs } from './kibbutz.js';
import { mostMembers, OwnerLimits, type OwnerOptions } from './owner-limits.js';
import type { Registration } from './saved-state.js';

/**
 * Transient, of the link's scope (RFC 4291 §2.7); the rest spells `kith`. And where a member has no IPv6, of the IPv4 local
 * scope, which a site's routers keep inside (RFC 2365 §6.1; the link's own 224.0.0.0/24 has no numbers to be had, RFC 5771 §4).
 */
export const kibbutzGroup6 = 'ff12::6b69:7468';
export const kibbutzGroup4 = '239.255.107.105';
/** In the dynamic range of RFC 6335 §6: nobody's. */
export const kibbutzPort = 49_497;
/** As the paper's policy is simulated (docs/kibbutz.md): a background request waits half a minute at most. */
const defaultDeferMs = 30_000;

const duration: Shape = ['say', 'a duration such as 30s or 5m', ['regexp', '[0-9]{1,11}(ms|s|m|h|d)']];

/** Of a registration, as the provider gives it. */
export const registrationShape: Shape = [
  'closed',
  ['member', ['range', 1, 4_294_967_295]],
  ['aead', ['range', 1, 255]],
  ['generation', ['range', 1, 0xffffff]],
  ['key', ['say', '32 or 64 hex digits', ['regexp', '([0-9a-fA-F]{2}){16,32}']]],
  ['addresses?', ['list', ['size', 'tstr', 4, 49], 0, 2]],
];

export interface WrittenRegistration extends Omit<Registration, 'key'> {
  /** In hex. */
  readonly key: string;
  /** The provider's other end takes these as the member's own: `10.107.0.2/16`. For who has a device to give them to. */
  readonly addresses?: readonly string[];
}

export function registrationOf({ member, aead, generation, key }: WrittenRegistration): Registration {
  return { member, aead, generation, key: parseHex(key) as Uint8Array };
}

const memberIds: Shape = ['list', ['range', 1, 4_294_967_295], 0, mostMembers];
/** `OwnerOptions`; the ranges are checked by their own. */
const ownerShape: Shape = [
  'closed',
  ['quotaBytes?', 'int'],
  ['resetDay?', 'int'],
  ['neighbourShare?', 'number'],
  ['batteryPercent?', 'number'],
  ['chargingOverrides?', 'bool'],
  ['allowed?', memberIds],
  ['blocked?', memberIds],
  ['metered?', 'bool'],
  ['minimumPacketsPerMinute?', 'number'],
];

/** The fields that do not depend on the platform. */
export const memberFields: readonly Member[] = [
  ['provider', ['closed', ['host', ['size', 'tstr', 1, 255]], ['port', ['range', 1, 65_535]]]],
  ['policy?', ['is', 'kith', 'paper']],
  ['profile?', ['is', 'save-energy', 'max-bandwidth', 'min-rtt']],
  ['owner?', ownerShape],
  ['tail', duration],
  ['promotion', duration],
  ['exchange', duration],
  ['defer?', duration],
  ['initialCredit?', 'number'],
  ['uplinkBitsPerSecond', ['range', 1, 9_007_199_254_740_991]],
  ['forwardedShare?', 'number'],
];

export interface WrittenMember
  extends Pick<KibbutzJobOptions, 'profile' | 'initialCredit' | 'uplinkBitsPerSecond' | 'forwardedShare'> {
  /** `host`: a name or an address. */
  readonly provider: { readonly host: string; readonly port: number };
  readonly policy?: KibbutzJobOptions['policy'];
  readonly owner?: OwnerOptions;
  readonly tail: string;
  readonly promotion: string;
  readonly exchange: string;
  readonly defer?: string;
}

export type MemberOptions = Omit<KibbutzJobOptions, 'aeads'> & Pick<WrittenMember, 'provider'>;

/** The job's options of what `memberFields` has found to be there; or what is wrong, its field first. */
export function memberOptions(written: WrittenMember): Result<MemberOptions, string> {
  const { policy = 'kith', tail, promotion, exchange, defer, ...rest } = written;
  const { initialCredit = 1, forwardedShare = 0, owner = {} } = written;
  const tailMs = parseDuration(tail) ?? 0;
  const promotionMs = parseDuration(promotion) ?? never;
  const exchangeMs = parseDuration(exchange) ?? never;
  const deferMs = defer === undefined ? defaultDeferMs : parseDuration(defer);
  if (tailMs < 1 || tailMs > longestLifetimeMs) return fail(`tail: expected 1ms to 60s, got ${tail}`);
  if (promotionMs > longestLifetimeMs) return fail(`promotion: expected at most 60s, got ${promotion}`);
  if (exchangeMs > longestLifetimeMs) return fail(`exchange: expected at most 60s, got ${exchange}`);
  if (deferMs === undefined) return fail(`defer: expected a duration up to ten years, got ${defer}`);
  if (!(initialCredit > 0)) return fail(`initialCredit: expected more than 0, got ${initialCredit}`);
  if (!(forwardedShare >= 0 && forwardedShare <= 0.5))
    return fail(`forwardedShare: expected 0..0.5, got ${forwardedShare}`);
  try {
    new OwnerLimits(owner);
  } catch (error) {
    return fail(`owner.${(error as Error).message}`);
  }
  return ok({ ...rest, policy, tailMs, promotionMs, exchangeMs, deferMs });
}

/** Whether it is the address of a multicast group (RFC 4291 §2.7, RFC 1112 §4), of `ipv4` or of either family. */
export function isGroup(text: string, family?: 'ipv4'): boolean {
  const bytes = parseAddress(text);
  if (!bytes) return false;
  return bytes.length === 4 ? bytes[0] >> 4 === 14 : family === undefined && bytes[0] === 0xff;
}
