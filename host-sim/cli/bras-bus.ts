/**
 * The mode without a tunnel over MQTT: what gateways' agents say (docs/mqtt.md) becomes calls of bras-acl.ts, and its access
 * lists become publications.
 *
 *     event/session-up     this gateway (`host`) has this session, and can do without the tunnel (`text`: plain)
 *     state                lost, disconnected, init: back to the tunnel until it has said so again
 *     acl/<id>/status      what it made of a list
 *
 * A gateway is believed for the session it names if that session is of the MAC it names; who may publish as which node is the
 * broker's to enforce. The first to claim a session keeps it. Bounded by the sessions: one claim each.
 */

import { decodeUtf8, digest, encodeUtf8 } from '../../agent/core/bytes.js';
import { Counters } from '../../agent/core/counters.js';
import { defaultLimits } from '../../agent/limits.js';
import { judge } from '../../agent/message/judge.js';
import { type Acl, descriptors } from '../../agent/message/messages.js';
import { filterOf, formatTopic, parseTopic } from '../../agent/message/topic.js';
import { formatMac } from '../../agent/wire/address.js';
import type { Bras } from '../bras/bras.js';
import { BrasAcl, type BrasAclOptions } from '../bras/bras-acl.js';
import { macOf } from '../bras/session-columns.js';
import type { MqttPublication } from '../mqtt/session.js';

interface Claim {
  readonly node: string;
  readonly session: number;
}

export class BrasBus {
  readonly acl: BrasAcl;
  readonly filters: readonly string[];
  readonly counters = new Counters(['bus.malformed', 'bus.wrong-host', 'bus.claimed']);
  private readonly site: string;
  private readonly bras: Bras;
  private readonly publish: (publication: MqttPublication) => void;
  /** By MAC, as text. */
  private readonly claims = new Map<string, Claim>();

  constructor(
    site: string,
    bras: Bras,
    options: BrasAclOptions,
    publish: (publication: MqttPublication) => void,
  ) {
    this.site = site;
    this.bras = bras;
    this.publish = publish;
    this.filters = ['event/session-up', 'state', 'acl/+/status'].map(levels => filterOf({ site }, levels));
    this.acl = new BrasAcl(bras, options, {
      gatewayOf: mac => this.claimOf(mac)?.node,
      publish: (_now, node, id, acl) => this.send(node, id, acl),
    });
    bras.bypass = this.acl;
  }

  receive(now: number, text: string, payload: Uint8Array): void {
    const topic = parseTopic(text);
    if (!topic.ok || topic.value.site !== this.site) {
      this.counters.add('bus.malformed');
      return;
    }
    const { node, leaf } = topic.value;
    switch (leaf.kind) {
      case 'state': {
        const state = decodeUtf8(payload);
        if (state !== 'lost' && state !== 'disconnected' && state !== 'init') return;
        for (const [mac, claim] of this.claims) if (claim.node === node) this.claims.delete(mac);
        this.acl.gatewayLost(now, node);
        return;
      }
      case 'event': {
        const event = judge(descriptors.event, payload, defaultLimits);
        if (!event.ok) this.counters.add('bus.malformed');
        else if (event.value.text === 'plain' && event.value.host && event.value.session)
          this.claim(now, event.value.host.toLowerCase(), { node, session: event.value.session });
        return;
      }
      case 'acl-status': {
        const status = judge(descriptors['acl-status'], payload, defaultLimits);
        if (status.ok) this.acl.status(now, node, leaf.name, status.value);
        else this.counters.add('bus.malformed');
        return;
      }
      default:
        this.counters.add('bus.malformed');
    }
  }

  private claim(now: number, mac: string, claim: Claim): void {
    const known = this.claimOf(mac);
    if (!this.isOf(mac, claim.session)) this.counters.add('bus.wrong-host');
    else if (known && known.session === claim.session && known.node !== claim.node)
      this.counters.add('bus.claimed');
    else {
      this.claims.set(mac, claim);
      this.acl.gatewayFound(now, claim.node, claim.session);
    }
  }

  /** Only while the session it was made for lives: the gateway may not yet have the next one up. */
  private claimOf(mac: string): Claim | undefined {
    const claim = this.claims.get(mac);
    if (!claim || this.isOf(mac, claim.session)) return claim;
    this.claims.delete(mac);
    return undefined;
  }

  private isOf(mac: string, session: number): boolean {
    const { table } = this.bras;
    const row = table.rowOf[session] ?? 0;
    return row !== 0 && formatMac(macOf(table, row)) === mac;
  }

  private send(node: string, id: string, acl: Acl | undefined): string {
    const payload = acl ? encodeUtf8(JSON.stringify(acl)) : new Uint8Array(0);
    const topic = formatTopic({ site: this.site, node }, { kind: 'acl', name: id });
    this.publish({ topic, payload, qos: 1, retain: true });
    return digest(payload);
  }
}
