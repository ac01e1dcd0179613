/**
 * The charge of this machine as the kernel tells it (kernel document ABI/testing/sysfs-class-power): one directory a supply, one
 * file a property. Batteries of what is plugged in, such as a mouse, are left out (scope `Device`).
 *
 * Bounds: reads small files; several batteries count by their mean. One that cannot be read counts as empty: whatever is not
 * known counts against the neighbours (agent/kibbutz/owner-limits.ts).
 */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Charge {
  /** 0 … 100. */
  readonly percent: number;
  readonly charging: boolean;
}

export const powerSupplies = '/sys/class/power_supply';

/** A machine without a battery runs on mains: full, and charging. */
export function readCharge(directory: string = powerSupplies): Charge {
  const supplies = namesIn(directory).map(name => join(directory, name));
  const read = (supply: string, property: string) => readProperty(join(supply, property));
  const batteries = supplies.filter(
    supply => read(supply, 'type') === 'Battery' && read(supply, 'scope') !== 'Device',
  );
  if (batteries.length === 0) return { percent: 100, charging: true };
  let sum = 0;
  let isDraining = false;
  for (const battery of batteries) {
    const percent = Number(read(battery, 'capacity') || 0);
    if (percent >= 0 && percent <= 100) sum += percent;
    const status = read(battery, 'status');
    // `Full` and `Not charging` (held below full) are said of a battery that feeds nobody.
    if (status !== 'Charging' && status !== 'Full' && status !== 'Not charging') isDraining = true;
  }
  return { percent: Math.round(sum / batteries.length), charging: !isDraining };
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    // A kernel without the class has no battery.
    return [];
  }
}

/** Without the line's end; '' if there is none. */
function readProperty(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}
