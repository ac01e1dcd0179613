/**
 * Two slots for the SDK's Linux platform, which has none, for slots.d.ts: so that all of an update but ESP-IDF runs there. An image goes
 * into a file `slot-a` or `slot-b` in the current folder, a restart ends the process, and whoever starts it again plays the
 * bootloader's part: `readSlots` does with its record what ESP-IDF's bootloader does with the slots' states. Record, key, platform
 * and sequence number are in the store (modpreferences.json), domain `kith.slots`.
 */

import { Digest } from 'crypt';
import Curve from 'curve';
import ECPoint from 'ecp';
import { File } from 'file';
import Mont from 'mont';
import Preference from 'preference';

const domain = 'kith.slots';
/** As an ESP32's (docs/moddable.md). */
const spareBytes = 0x1f0000;

export function builtWith() {
  return {
    key: Preference.get(domain, 'key') ?? '',
    platform: Preference.get(domain, 'platform') ?? '',
    sequence: Preference.get(domain, 'sequence') ?? 0,
  };
}

export function readSlots() {
  const trial = Preference.get(domain, 'trial');
  if (trial === 'new') Preference.set(domain, 'trial', 'begun');
  // It restarted without having been confirmed.
  else if (trial === 'begun') goBack();
  return { running: running(), spare: spare(), spareBytes, isOnTrial: trial === 'new' };
}

export function beginImage() {
  const slot = spare();
  const path = `slot-${slot}`;
  File.delete(path);
  let file = new File(path, true);
  const close = () => {
    file?.close();
    file = undefined;
  };
  return {
    append: bytes => file.write(bytes.slice().buffer),
    activate() {
      close();
      Preference.set(domain, 'running', slot);
      Preference.set(domain, 'trial', 'new');
    },
    cancel: close,
  };
}

export function confirm() {
  Preference.delete(domain, 'trial');
}

export function rollBack() {
  goBack();
  restart();
}

export function restart() {
  native('xs_kith_exit').call();
}

function running() {
  return Preference.get(domain, 'running') ?? 'a';
}

function spare() {
  return running() === 'a' ? 'b' : 'a';
}

function goBack() {
  Preference.set(domain, 'running', spare());
  Preference.delete(domain, 'trial');
}

export const ecdsa = {
  Digest,
  Curve,
  ECPoint,
  Mont,
  bigInt: bytes => BigInt.fromArrayBuffer(bytes),
};
