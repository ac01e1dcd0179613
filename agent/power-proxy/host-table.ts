/**
 * The hosts the power proxy stands in for, and whether each is awake.
 *
 * A host is known once a rule names it. It is awake while it was heard within `silenceMs`, waking while it is being
 * woken, and otherwise asleep. Bounds: limits.hosts; a further host pushes out the one heard longest ago.
 */

import { formatMac } from '../wire/address.js';

export type HostState =
  | { readonly kind: 'asleep' }
  | { readonly kind: 'awake'; readonly heardAt: number }
  /** Magic packets go out at `nextAt` until the host is heard or `giveUpAt` has passed. */
  | { readonly kind: 'waking'; readonly link: string; readonly nextAt: number; readonly giveUpAt: number };

export interface Host {
  readonly mac: Uint8Array;
  /** The MAC as text. */
  readonly name: string;
  state: HostState;
}

/** A host unheard for this long counts as asleep: longer than the gaps in the chatter of an idle, awake host. */
export const silenceMs = 30_000;

export class HostTable {
  readonly hosts: Host[] = [];
  private readonly capacity: number;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** The host with this MAC at `bytes[at]`, if it is known. Allocates nothing. */
  find(bytes: Uint8Array, at: number): Host | undefined {
    for (const host of this.hosts) {
      let i = 0;
      while (i < 6 && host.mac[i] === bytes[at + i]) i++;
      if (i === 6) return host;
    }
    return undefined;
  }

  /** The host with this MAC, made known. */
  know(mac: Uint8Array): Host {
    const known = this.find(mac, 0);
    if (known) return known;
    if (this.hosts.length >= this.capacity) {
      let oldest = 0;
      for (let i = 1; i < this.hosts.length; i++)
        if (heardAt(this.hosts[i]) < heardAt(this.hosts[oldest])) oldest = i;
      this.hosts.splice(oldest, 1);
    }
    const host: Host = { mac: new Uint8Array(mac), name: formatMac(mac), state: { kind: 'asleep' } };
    this.hosts.push(host);
    return host;
  }

  /** Forgets every host that `wanted` does not want any more. */
  keep(wanted: (host: Host) => boolean): void {
    for (let i = this.hosts.length - 1; i >= 0; i--) if (!wanted(this.hosts[i])) this.hosts.splice(i, 1);
  }
}

/** Whether the proxy speaks for the host now. */
export function isSilent(host: Host, now: number): boolean {
  return host.state.kind !== 'awake' || now - host.state.heardAt >= silenceMs;
}

function heardAt(host: Host): number {
  return host.state.kind === 'awake' ? host.state.heardAt : -1;
}
