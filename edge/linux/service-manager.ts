/**
 * What the daemon tells systemd, or whoever started it with NOTIFY_SOCKET (sd_notify(3)): that it is ready, that it reads its
 * configuration again, that it stops, and, where a watchdog was asked for (sd_watchdog_enabled(3)), that it still runs.
 *
 * Each is one datagram to a Unix socket that does not wait: one that does not get through is not sent again.
 */

import { openDatagramSocket, sendDatagram } from './unix-datagram.js';

/** Node takes a longer span for 1 ms. */
const longestTimerMs = 0x7fffffff;

export interface ServiceManager {
  ready(): void;
  /** Until `ready`. */
  reloading(): void;
  /** No more signs of life are sent: who hangs while it stops is ended by the manager's own limit. */
  stopping(): void;
}

/**
 * `environment` as the manager sets it: NOTIFY_SOCKET, a path or, after `@`, an abstract name (unix(7)); WATCHDOG_USEC, after so
 * many microseconds of silence it starts us anew. Without the first nobody is told. Throws if there can be no socket.
 */
export function serviceManager(environment: NodeJS.ProcessEnv): ServiceManager {
  const path = environment['NOTIFY_SOCKET'];
  if (!path) return { ready() {}, reloading() {}, stopping() {} };
  const socket = openDatagramSocket('service manager');
  const tell = (state: string) => sendDatagram(socket, path.replace(/^@/, '\0'), Buffer.from(state));
  const watchdogMs = Number(environment['WATCHDOG_USEC'] ?? 0) / 1000;
  let alive: NodeJS.Timeout | undefined;
  return {
    ready() {
      tell('READY=1');
      // Half of it, as sd_watchdog_enabled(3) advises.
      const everyMs = Math.min(watchdogMs / 2, longestTimerMs);
      if (everyMs > 0) alive ??= setInterval(() => tell('WATCHDOG=1'), everyMs).unref();
    },
    reloading() {
      tell(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
    },
    stopping() {
      clearInterval(alive);
      tell('STOPPING=1');
    },
  };
}
