/**
 * The slots of a board for firmware, and what its firmware was built with, through slots-esp32.js or slots-linux.js: the manifest makes
 * one of them the module `edge/moddable/slots`. Types only; nothing is kept here.
 */

import type { Slots } from '../../agent/update/job.js';
import type { NativeEcdsa } from './es256.js';

/** An image on its way into the spare slot. Each throws if the slot does not take it. */
export interface ImageWriter {
  append(bytes: Uint8Array): void;
  /** The image is whole: the next start is with it, on trial. */
  activate(): void;
  /** Nothing comes of it. */
  cancel(): void;
}

/** The public key in hex, the platform that manifests must name if not the SDK's, and the sequence number; empty or 0: none. */
export function builtWith(): { readonly key: string; readonly platform: string; readonly sequence: number };
/** Asked once, at the start. A text says why there is no second slot. */
export function readSlots(): Slots | string;
export function beginImage(): ImageWriter;
/** What runs is good. */
export function confirm(): void;
/** Restarts with the firmware in the other slot. Throws if there is none. */
export function rollBack(): void;
export function restart(): void;

export const ecdsa: NativeEcdsa;
