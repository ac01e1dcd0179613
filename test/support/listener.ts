/** What an MQTT client hears, one publication after the other, for tests that wait for one. */

import type { MqttClient } from 'mqtt';

/** A board may restart in between. */
const answerMs = 30_000;

export class Listener {
  private readonly messages: { topic: string; payload: Uint8Array }[] = [];
  private wake: () => void = () => undefined;

  constructor(client: MqttClient) {
    client.on('message', (topic, payload) => {
      this.messages.push({ topic, payload });
      this.wake();
    });
  }

  clear(): void {
    this.messages.length = 0;
  }

  /** What `take` makes of the first publication with something in it that it wants, since the last one taken. */
  async until<T>(take: (topic: string, payload: Uint8Array) => T | undefined): Promise<T> {
    const deadline = AbortSignal.timeout(answerMs);
    for (;;) {
      for (let next = this.messages.shift(); next; next = this.messages.shift()) {
        const taken = next.payload.length > 0 ? take(next.topic, next.payload) : undefined;
        if (taken !== undefined) return taken;
      }
      await new Promise<void>((resolve, reject) => {
        this.wake = resolve;
        deadline.onabort = () => reject(new Error(`nothing came within ${answerMs} ms`));
      });
    }
  }
}
