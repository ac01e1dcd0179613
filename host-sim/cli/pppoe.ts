/**
 * `kith pppoe`: dials in to an access concentrator over an Ethernet interface, and makes the line a TUN device. The work is in
 * edge/linux/pppoe-client.ts; here are its words, its lines and its capture.
 */

import { readFileSync } from 'node:fs';
import { encodeUtf8 } from '../../agent/core/bytes.js';
import type { AuthenticationMethod } from '../../agent/pppoe/credentials.js';
import { PppoeClient } from '../../edge/linux/pppoe-client.js';
import { CaptureFile } from './capture-file.js';

/** What the `kith pppoe` command takes. */
export interface PppoeWords {
  readonly interface: string;
  readonly user: string;
  readonly secretFile: string;
  readonly service: string;
  readonly ac: string;
  readonly auth?: readonly AuthenticationMethod[];
  readonly ipv6: boolean;
  readonly vlan?: number;
  readonly tun: string;
  readonly once?: boolean;
  readonly capture?: string;
}

type Print = (line: string) => Promise<void> | void;

/** Dials until `until` resolves; with `once`, until the first session is over, and rejects if it never was up. */
export async function dial(words: PppoeWords, until: Promise<void>, print: Print): Promise<void> {
  const secret = readSecret(words.secretFile);
  const capture = words.capture === undefined ? undefined : new CaptureFile(words.capture);
  let client: PppoeClient | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      client = new PppoeClient(
        {
          interface: words.interface,
          user: encodeUtf8(words.user),
          secret,
          service: words.service,
          acName: words.ac,
          ...(words.auth && { authentication: words.auth }),
          ipv6: words.ipv6,
          ...(words.vlan !== undefined && { vlanId: words.vlan }),
          tun: words.tun,
        },
        {
          say: text => void print(text),
          tap: frame => capture?.add(frame),
          over: wasUp => {
            if (!words.once) return;
            if (wasUp) resolve();
            else reject(new Error('the line did not come up'));
          },
          failed: reject,
        },
      );
      print(`dialling on ${words.interface} as ${words.user}; Ctrl-C stops`);
      until.then(resolve);
    });
  } finally {
    client?.stop();
    capture?.close();
  }
}

/** The first line of the file: what stands in an argument, everybody on the machine can read. */
export function readSecret(path: string): Uint8Array {
  const secret = encodeUtf8(readFileSync(path, 'utf8').split(/\r?\n/, 1)[0]);
  if (secret.length === 0) throw new Error(`${path}: expected the secret in its first line, got none`);
  return secret;
}
