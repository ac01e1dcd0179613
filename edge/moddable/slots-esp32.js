/**
 * The slots of an ESP32, for slots.d.ts: two partitions `ota_0` and `ota_1`, which the SDK's `ota` makes of the one for the program,
 * writes and activates; slots-esp32.c asks ESP-IDF for what the SDK leaves out. The key comes with the build: mcconfig … updateKey=HEX.
 */

import { Digest } from 'crypt';
import Curve from 'curve';
import ECPoint from 'ecp';
import config from 'mc/config';
import Mont from 'mont';
import OTA from 'ota';

export function builtWith() {
  return {
    key: config.updateKey ?? '',
    platform: config.updatePlatform ?? '',
    sequence: Number(config.updateSequence ?? 0),
  };
}

export function readSlots() {
  const spareBytes = native('xs_kith_slot_bytes').call();
  if (spareBytes === 0) return 'the partition table has no second slot';
  return {
    running: native('xs_kith_slot_label').call(undefined, false),
    spare: native('xs_kith_slot_label').call(undefined, true),
    spareBytes,
    isOnTrial: native('xs_kith_slot_on_trial').call(),
  };
}

export function beginImage() {
  const image = new OTA();
  return {
    append: bytes => image.write(bytes),
    activate: () => image.complete(),
    cancel: () => image.cancel(),
  };
}

export function confirm() {
  native('xs_kith_slot_confirm').call();
}

export function rollBack() {
  native('xs_kith_slot_roll_back').call();
}

export function restart() {
  native('xs_kith_restart').call();
}

export const ecdsa = {
  Digest,
  Curve,
  ECPoint,
  Mont,
  bigInt: bytes => BigInt.fromArrayBuffer(bytes),
};
