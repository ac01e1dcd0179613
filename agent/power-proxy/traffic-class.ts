/**
 * The classes of idle-time traffic (Nedevschi et al., "Skilled in the Art of Being Idle", NSDI 2009, §4): what keeps hosts
 * awake for nothing (don't-wake), what a host loses its place in the network by missing (don't-ignore), and what its owner
 * has to decide (policy-dependent).
 *
 * The three names are the paper's. Which protocol stands where is our reading of it for the networks of today: the paper
 * names protocols of a 2008 office, and ARP, NBNS and IGMP are in it both steady noise and something to be answered; here
 * each protocol stands in one class, and what must be answered counts as don't-ignore. Rows with a ° we added.
 *
 * The rows also are what the analysis takes for chatter (analysis.ts).
 */

import type { TrafficClass, Trigger } from '../message/messages.js';

export interface TrafficRow {
  readonly name: string;
  readonly class: TrafficClass;
  readonly trigger: Trigger;
}

export const trafficRows: readonly TrafficRow[] = [
  // Spanning tree, CDP and what else is 802.3 with LLC (IEEE 802.3 §3.2.6: the type is then a length).
  { name: 'LLC', class: 'dont-wake', trigger: { ethernet: { etherType: '0-1500' } } },
  // ° IEEE 802.1AB.
  { name: 'LLDP', class: 'dont-wake', trigger: { ethernet: { etherType: 0x88cc } } },
  { name: 'IPX', class: 'dont-wake', trigger: { ethernet: { etherType: 0x8137 } } },
  // EIGRP (RFC 7868), ° OSPF (RFC 2328), PIM (RFC 7761), ° VRRP (RFC 9568).
  { name: 'routing', class: 'dont-wake', trigger: { ipv4: { protocol: [88, 89, 103, 112] } } },
  { name: 'routing', class: 'dont-wake', trigger: { ipv6: { protocol: [88, 89, 103, 112] } } },
  // RFC 2281; 2029 is its version for IPv6.
  { name: 'HSRP', class: 'dont-wake', trigger: { udp: { dstPort: [1985, 2029] } } },
  // UPnP Device Architecture 2.0 §1.
  { name: 'SSDP', class: 'dont-wake', trigger: { udp: { dstPort: 1900 } } },
  // ° Web Services Dynamic Discovery 1.1 §3.1.1.
  { name: 'WS-Discovery', class: 'dont-wake', trigger: { udp: { dstPort: 3702 } } },
  // RFC 1002 §4.4.
  { name: 'NetBIOS datagrams', class: 'dont-wake', trigger: { udp: { dstPort: 138 } } },

  { name: 'ARP', class: 'dont-ignore', trigger: { arp: {} } },
  // ° RFC 4861, and RFC 3810 with RFC 2710 for listeners.
  { name: 'ND and MLD', class: 'dont-ignore', trigger: { icmpv6: { type: ['130-137', 143] } } },
  // RFC 9776.
  { name: 'IGMP', class: 'dont-ignore', trigger: { ipv4: { protocol: 2 } } },
  // RFC 2131, ° RFC 9915.
  { name: 'DHCP', class: 'dont-ignore', trigger: { udp: { dstPort: [67, 68, 546, 547] } } },
  { name: 'NBNS', class: 'dont-ignore', trigger: { udp: { dstPort: 137 } } },
  // °
  { name: 'mDNS', class: 'dont-ignore', trigger: { udp: { dstPort: 5353 } } },
  // °
  { name: 'LLMNR', class: 'dont-ignore', trigger: { udp: { dstPort: 5355 } } },

  // Remote login, file sharing and all else that opens a connection or has one.
  { name: 'TCP', class: 'policy-dependent', trigger: { tcp: {} } },
  { name: 'ping', class: 'policy-dependent', trigger: { icmp: { type: 8 } } },
  { name: 'ping', class: 'policy-dependent', trigger: { icmpv6: { type: 128 } } },
  {
    name: 'UDP',
    class: 'policy-dependent',
    trigger: {
      ethernet: { cast: 'unicast' },
      udp: {
        dstPort: [
          '0-66',
          '69-136',
          '139-545',
          '548-1899',
          '1901-1984',
          '1986-2028',
          '2030-3701',
          '3703-5352',
          5354,
          '5356-65535',
        ],
      },
    },
  },
];
