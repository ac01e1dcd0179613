/**
 * Result: what every parser returns. A value, or the reason there is none.
 *
 * Nothing in agent/ throws on input; exceptions are for a programmer's error (style.md 8, 14).
 */

export interface Ok<T> {
  readonly ok: true;
  readonly value: T;
}

export interface Failure<R extends string = string> {
  readonly ok: false;
  readonly reason: R;
}

export type Result<T, R extends string = string> = Ok<T> | Failure<R>;

export function ok<T>(value: T): Ok<T> {
  return { ok: true, value };
}

export function fail<R extends string>(reason: R): Failure<R> {
  return { ok: false, reason };
}
