/**
 * Counters: one for each thing that happened and each reason something was dropped, readable over MQTT as telemetry.
 *
 * The names are given at the start and no others appear, so a flood of strange input cannot grow the table.
 */

export type Counts = { readonly [name: string]: number };

export class Counters<Name extends string> {
  /** The live values, each an integer from 0; a reader copies them (`snapshot`). */
  readonly values: { [name: string]: number } = {};

  constructor(names: readonly Name[]) {
    for (const name of names) this.values[name] = 0;
  }

  add(name: Name, by = 1): void {
    this.values[name] += by;
  }

  get(name: Name): number {
    return this.values[name];
  }

  /** A copy without the counters that are still zero. */
  snapshot(): Counts {
    const copy: { [name: string]: number } = {};
    for (const name of Object.keys(this.values)) if (this.values[name] !== 0) copy[name] = this.values[name];
    return copy;
  }
}
