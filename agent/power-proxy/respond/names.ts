/**
 * Names compared as RFC 1035 §2.3.3 and RFC 6762 §16 ask: the letters A … Z without regard to case, all else as it is.
 */

import { encodeUtf8 } from '../../core/bytes.js';
import { encodeDnsName } from '../../wire/dns.js';

/** Whether two names in the form of dns.ts are the same. */
export function sameName(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (fold(a.charCodeAt(i)) !== fold(b.charCodeAt(i))) return false;
  return true;
}

/** Whether a name in the form of dns.ts is the one label `label`, which is plain text. */
export function isLabel(name: string, label: string): boolean {
  const encoded = encodeDnsName(name);
  const bytes = encodeUtf8(label);
  if (!encoded || bytes.length === 0 || encoded.length !== bytes.length + 2) return false;
  if (encoded[0] !== bytes.length) return false;
  for (let i = 0; i < bytes.length; i++) if (fold(encoded[i + 1]) !== fold(bytes[i])) return false;
  return true;
}

/** The domain an address is looked up by: in-addr.arpa (RFC 1035 §3.5) or ip6.arpa (RFC 3596 §2.5). */
export function reverseName(address: Uint8Array): string {
  let name = '';
  for (let i = address.length - 1; i >= 0; i--)
    name +=
      address.length === 4
        ? `${address[i]}.`
        : `${(address[i] & 15).toString(16)}.${(address[i] >>> 4).toString(16)}.`;
  return name + (address.length === 4 ? 'in-addr.arpa' : 'ip6.arpa');
}

function fold(code: number): number {
  return code >= 65 && code <= 90 ? code + 32 : code;
}
