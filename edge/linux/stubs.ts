/**
 * Programs beside the agent that rules redirect frames to (`redirect.stub`): each listens on a Unix datagram socket (unix(7)),
 * `<directory>/<name>.sock`, and gets one frame, with its Ethernet header, in each datagram.
 *
 * One socket sends to all; nothing waits: who is not there, or does not read, misses the frame, and that is counted.
 * Bound: what the receiver's own queue holds.
 */

import { join } from 'node:path';
import { Counters } from '../../agent/core/counters.js';
import { close } from './libc.js';
import { longestPathBytes, openDatagramSocket, sendDatagram } from './unix-datagram.js';

/** The longest directory that a stub's name of 32 characters fits behind. */
export const longestStubsBytes = longestPathBytes - 1 - '/'.length - 32 - '.sock'.length;

export class Stubs {
  readonly counters = new Counters(['sent', 'missed']);
  private readonly directory: string;
  private readonly socket: number;

  constructor(directory: string) {
    this.directory = directory;
    this.socket = openDatagramSocket('stubs');
  }

  /** `stub`: `[a-z0-9-]{1,32}`, as rules name it. */
  send(stub: string, frame: Uint8Array): void {
    const sent = sendDatagram(this.socket, join(this.directory, `${stub}.sock`), frame);
    this.counters.add(sent ? 'sent' : 'missed');
  }

  close(): void {
    close(this.socket);
  }
}
