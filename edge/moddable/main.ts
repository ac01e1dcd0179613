/**
 * What runs on a Moddable board: with settings in its store the agent (platform.ts), without any the way in. Then the board is
 * an access point `kith-setup`, and http://192.168.4.1/ a form (settings.ts); what it sends is kept, and the agent starts.
 *
 * The store: domain `kith.conf`, key `settings`, JSON. The way in is open while there are no settings, and never after: whoever
 * wants other settings erases the flash.
 */

import { encodeUtf8 } from '../../agent/core/bytes.js';
import { Platform } from './platform.js';
import * as sdk from './sdk.js';
import { answerForm, httpAnswer, mostRequestBytes, parseSettings, type Settings } from './settings.js';

const domain = 'kith.conf';
const key = 'settings';
/** Of the form's connections; another is turned away. */
const mostConnections = 4;

function kept(): Settings | undefined {
  const text = sdk.store.get(domain, key);
  if (typeof text !== 'string') return undefined;
  const settings = parseSettings(text);
  if (settings.ok) return settings.value;
  sdk.print(`kith: settings kept are of no use: ${settings.reason}`);
  return undefined;
}

function run(settings: Settings): void {
  sdk.print(`kith: ${settings.site}/${settings.node}`);
  new Platform(settings).start();
}

function serveForm(): void {
  let connections = 0;
  let isDone = false;
  sdk.print(`kith: no settings; the form is at ${sdk.openAccessPoint('kith-setup')}`);
  const server = sdk.listen(sdk.setupPort, open => {
    let heard = new Uint8Array(0);
    let answer: Uint8Array | undefined;
    let room = 0;
    let settings: string | undefined;
    let isOpen = true;
    const end = () => {
      if (!isOpen) return;
      isOpen = false;
      connections--;
      stream.close();
      if (settings === undefined || isDone) return;
      isDone = true;
      server.close();
      sdk.store.set(domain, key, settings);
      run(JSON.parse(settings) as Settings);
    };
    const write = () => {
      while (answer && room > 0) {
        const length = Math.min(room, answer.length);
        room = stream.write(answer.slice(0, length));
        answer = length === answer.length ? undefined : answer.subarray(length);
        if (!answer) end();
      }
    };
    connections++;
    const stream = open({
      onReadable: () => {
        const more = new Uint8Array(stream.read() ?? new ArrayBuffer(0));
        if (answer || !isOpen || more.length === 0) return;
        const all = new Uint8Array(Math.min(heard.length + more.length, mostRequestBytes + 1));
        all.set(heard);
        all.set(more.subarray(0, all.length - heard.length), heard.length);
        heard = all;
        const answered =
          connections > mostConnections ? { status: 413 as const, text: 'busy' } : answerForm(heard);
        if (answered === 'more') return;
        settings = answered.settings;
        answer = encodeUtf8(httpAnswer(answered));
        write();
      },
      onWritable: count => {
        room = count;
        write();
      },
      onError: end,
    });
  });
}

const settings = kept();
if (settings) run(settings);
else serveForm();
