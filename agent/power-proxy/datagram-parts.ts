/**
 * The parts of the power proxy for a node that hears and sends nothing but UDP over IPv4, as boards do: questions for names.
 * Nobody asks it for addresses, no host is heard to say anything of itself, and none can register.
 */

import { mdnsPort } from '../wire/dns.js';
import { protocolUdp } from '../wire/ipv4.js';
import { nbnsPort } from '../wire/nbns.js';
import type { Parts } from './parts.js';
import { Mdns } from './respond/mdns.js';
import { respondNbns } from './respond/nbns.js';

export const datagramParts: Parts = {
  responders: {
    mdns: {
      isAsked: ({ protocol, dstPort }) => protocol === protocolUdp && dstPort === mdnsPort,
      make: (random, limit) => new Mdns(random, limit),
    },
    nbns: {
      isAsked: ({ protocol, dstPort }) => protocol === protocolUdp && dstPort === nbnsPort,
      respond: respondNbns,
    },
  },
  keepers: {},
};
