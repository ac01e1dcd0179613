/**
 * The limits of an agent on a Moddable board (agent/limits.ts): an ESP32's machine has some 70 KB; a rule or host costs about
 * 1 KB of them.
 */

import { defaultLimits, type Limits } from '../../agent/limits.js';

export const limits: Limits = {
  ...defaultLimits,
  outboxEffects: 24,
  waitingEvents: 8,
  payloadBytes: 2048,
  rules: 16,
  hosts: 8,
  waitingAnswers: 8,
  // A board has no packets of its own in a kibbutz; of each neighbour two of full length wait.
  waitingPackets: 1,
  waitingBytes: 1500,
  uplinkPackets: 2,
  uplinkBytes: 3120,
  forwardedPackets: 4,
  forwardedBytes: 3120,
};
