/** A capture that a command writes while it runs (`--capture`): classic pcap, Ethernet frames with the civil time. */

import { closeSync, openSync, writeSync } from 'node:fs';
import { pcapHeader, pcapRecord } from '../capture/pcap.js';

/** LINKTYPE_ETHERNET. */
const ethernet = 1;

export class CaptureFile {
  private readonly file: number;

  /** Throws if the file cannot be written. */
  constructor(path: string) {
    this.file = openSync(path, 'w');
    writeSync(this.file, pcapHeader(ethernet));
  }

  add(frame: Uint8Array): void {
    writeSync(this.file, pcapRecord(Date.now(), frame));
  }

  close(): void {
    closeSync(this.file);
  }
}
