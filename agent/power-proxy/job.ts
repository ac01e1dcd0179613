/**
 * The power proxy with all of its parts, for whoever hears frames: the gateway, the simulator.
 */

import type { JobFactory } from '../job.js';
import { etherTypeArp } from '../wire/ethernet.js';
import { networkIpv4 } from '../wire/headers.js';
import { protocolIcmp, protocolIcmpv6, protocolIgmp, protocolTcp, protocolUdp } from '../wire/ipv4.js';
import { llmnrPort, ssdpPort } from '../wire/udp-ports.js';
import { addressVoice } from './address-voice.js';
import { datagramParts } from './datagram-parts.js';
import { learnFrom, learnTo } from './learn.js';
import type { Parts } from './parts.js';
import { type PowerProxyOptions, powerProxyOf } from './power-proxy.js';
import { respondArp } from './respond/arp.js';
import { keepDhcp } from './respond/dhcp-renewal.js';
import { keepDhcpv6 } from './respond/dhcpv6-renewal.js';
import { respondEcho, respondEchoV6 } from './respond/echo.js';
import { igmpMembership } from './respond/igmp.js';
import { respondLlmnr } from './respond/llmnr.js';
import { Membership } from './respond/membership.js';
import { mldMembership } from './respond/mld.js';
import { keepNatMapping } from './respond/nat-keepalive.js';
import { respondNd } from './respond/nd.js';
import { respondSnmp, snmpPort } from './respond/snmp.js';
import { SsdpSearch } from './respond/ssdp.js';
import { respondTcpKeepalive } from './respond/tcp-keepalive.js';
import { SleepProxy, sleepProxyOutcomes } from './sleep-proxy.js';

/** Of IGMP, in its first byte: a query, and the reports of IGMPv1 and v2 (RFC 2236 §2.1); RFC 3376 has no more of them. */
const igmpQuery = 0x11;
const igmpReports = [0x12, 0x16];
const icmpv6Echo = 128;
const icmpv6Solicitation = 135;
const icmpv6Query = 130;
/** MLDv1 (RFC 2710 §3). */
const icmpv6Report = 131;

export const everyPart: Parts = {
  responders: {
    ...datagramParts.responders,
    arp: {
      isAsked: ({ etherType }) => etherType === etherTypeArp,
      respond: respondArp,
    },
    nd: {
      isAsked: ({ protocol, icmpType }) => protocol === protocolIcmpv6 && icmpType === icmpv6Solicitation,
      respond: respondNd,
    },
    echo: {
      isAsked: ({ protocol, icmpType }) =>
        protocol === protocolIcmp || (protocol === protocolIcmpv6 && icmpType === icmpv6Echo),
      respond: (question, send) =>
        question.headers.network === networkIpv4
          ? respondEcho(question, send)
          : respondEchoV6(question, send),
    },
    igmp: {
      isAsked: ({ protocol, l4Offset }, frame) => protocol === protocolIgmp && frame[l4Offset] === igmpQuery,
      isAnswer: ({ protocol, l4Offset }, frame) =>
        protocol === protocolIgmp && igmpReports.indexOf(frame[l4Offset]) >= 0,
      make: (random, limit) => new Membership(igmpMembership, random, limit),
    },
    mld: {
      isAsked: ({ protocol, icmpType }) => protocol === protocolIcmpv6 && icmpType === icmpv6Query,
      isAnswer: ({ protocol, icmpType }) => protocol === protocolIcmpv6 && icmpType === icmpv6Report,
      make: (random, limit) => new Membership(mldMembership, random, limit),
    },
    llmnr: {
      isAsked: ({ protocol, dstPort }) => protocol === protocolUdp && dstPort === llmnrPort,
      respond: respondLlmnr,
    },
    ssdp: {
      isAsked: ({ protocol, dstPort }) => protocol === protocolUdp && dstPort === ssdpPort,
      make: (random, limit) => new SsdpSearch(random, limit),
    },
    snmp: {
      isAsked: ({ protocol, dstPort }) => protocol === protocolUdp && dstPort === snmpPort,
      respond: respondSnmp,
    },
    'tcp-keepalive': {
      isAsked: ({ protocol }) => protocol === protocolTcp,
      respond: respondTcpKeepalive,
    },
  },
  keepers: {
    dhcp: keepDhcp,
    dhcpv6: keepDhcpv6,
    'nat-keepalive': () => keepNatMapping,
  },
  learning: { from: learnFrom, to: learnTo },
  voice: addressVoice,
  sleepProxy: {
    outcomes: sleepProxyOutcomes,
    make: (options, registrar) => new SleepProxy(options, registrar),
  },
};

export const powerProxy: JobFactory = powerProxyOf(everyPart);

export function powerProxyWith(options: PowerProxyOptions): JobFactory {
  return powerProxyOf(everyPart, options);
}
