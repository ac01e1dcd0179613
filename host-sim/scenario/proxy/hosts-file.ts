/**
 * A hosts file: the hosts a power proxy stands in for, as a JSON array (RFC 8259) of what people publish on `host/<id>`
 * (`host` in agent/message/messages.cddl):
 *
 *     [ { "mac": "3c:22:fb:01:02:03", "ipv4": ["192.168.1.10"], "names": ["desktop"], "state": "asleep" } ]
 *
 * Ids are made: `host-1` is the first entry. Bounds: `mostHosts` entries, each within the agent's limits.
 */

import { encodeUtf8 } from '../../../agent/core/bytes.js';
import { descriptors, type Host } from '../../../agent/message/messages.js';
import { type Problem, validate } from '../../../agent/message/schema.js';

/** An office's. */
export const mostHosts = 1_000;

export interface DeclaredHost {
  readonly id: string;
  /** Where it was read, for the texts of errors: `hosts.json: [0]`. */
  readonly entry: string;
  readonly host: Host;
  /** As published. */
  readonly payload: Uint8Array;
}

/**
 * The hosts in a text. Throws an Error that names the file, the entry, the field at fault, what was expected there and what
 * came: `hosts.json: [2].ipv4[0]: expected an IPv4 address such as 192.168.1.10, got "desk"`.
 */
export function parseHosts(name: string, text: string): DeclaredHost[] {
  const list = parseJson(name, text);
  if (!Array.isArray(list) || list.length > mostHosts)
    throw new Error(
      `${name}: expected a list of at most ${mostHosts} hosts, got ${Array.isArray(list) ? list.length : typeof list}`,
    );
  const seen = new Map<string, number>();
  return list.map((host: Host, i) => {
    const entry = `${name}: [${i}]`;
    const problem = validate(descriptors.host, host);
    if (problem) throw wrongEntry(entry, problem);
    const mac = host.mac.toLowerCase();
    const before = seen.get(mac);
    if (before !== undefined)
      throw new Error(`${entry}.mac: expected another than that of [${before}], got ${host.mac}`);
    seen.set(mac, i);
    return { id: `host-${i + 1}`, entry, host, payload: encodeUtf8(JSON.stringify(host)) };
  });
}

/** The value of a JSON text; throws an Error that names the file. */
export function parseJson(name: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${name}: expected JSON: ${(error as Error).message}`, { cause: error });
  }
}

/** The problem of one entry, `hosts.json: [0]` or `rules.json: ssh`, in words. */
export function wrongEntry(entry: string, { field, expected, got }: Problem): Error {
  const at = field === '' ? '' : /^\[/.test(field) ? field : `.${field}`;
  return new Error(`${entry}${at}: expected ${expected}, got ${got}`);
}
