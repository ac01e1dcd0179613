/**
 * The SDK's modules on an ESP32, for sdk.d.ts.
 */

import Listener from 'embedded:io/socket/listener';
import TCP from 'embedded:io/socket/tcp';
import TLSSocket from 'embedded:io/socket/tcp/tls';
import UDP from 'embedded:io/socket/udp';
// biome-ignore lint/style/useNodejsImportProtocol: the SDK's module
import Net from 'net';
import Preference from 'preference';
import SNTP from 'sntp';
import Time from 'time';
import Timer from 'timer';
import WiFi from 'wifi';

export * from './sdk-common.js';

export const platformName = 'esp32';
export const tlsFault = undefined;
export const setupPort = 80;
export * as crypt from 'crypt';
export { Preference as store };

/** Between two tries to join a Wi-Fi network. */
const rejoinMs = 5_000;
/** A date before this was never set. */
const earliestDate = Date.UTC(2026, 0);
const timeServer = 'pool.ntp.org';

export function connect({ host, address, port, tls, onReadable, onWritable, onError }) {
  const options = { host, address, port, nodelay: true, onReadable, onWritable, onError };
  if (!tls) return new TCP(options);
  return new TLSSocket({
    ...options,
    TCP: { io: TCP },
    secure: tls.ca ? { certificate: tls.ca } : {},
  });
}

export function openUdp(port, multicast, onReadable) {
  const socket = new UDP({ port, onReadable });
  if (multicast) socket.add(multicast.group);
  return socket;
}

export function listen(port, take) {
  return new Listener({
    port,
    onReadable(count) {
      for (; count > 0; count--) {
        const from = this.read();
        if (from) take(calls => new TCP({ from, ...calls }));
      }
    },
  });
}

export function resolve(host, done) {
  if (/^[0-9.]+$/.test(host)) done(host);
  else Net.resolve(host, (_name, address) => done(address));
}

export function joinNetwork(wifi, done) {
  if (!wifi) {
    done(false);
    return;
  }
  const credentials = wifi.password ? wifi : { ssid: wifi.ssid };
  WiFi.mode = WiFi.Mode.station;
  new WiFi(credentials, message => {
    if (message === WiFi.gotIP) done(true);
    else if (message === WiFi.lostIP || message === WiFi.disconnected) {
      done(false);
      if (message === WiFi.disconnected) Timer.set(() => WiFi.connect(credentials), rejoinMs);
    }
  });
}

export function openAccessPoint(ssid) {
  WiFi.accessPoint({ ssid });
  return `http://192.168.4.1/, in the open Wi-Fi network ${ssid}`;
}

export function macAddress() {
  return Net.get('MAC');
}

export function setDate(done) {
  if (Date.now() >= earliestDate) {
    done();
    return;
  }
  new SNTP({ host: timeServer }, (message, value) => {
    if (message === SNTP.time) {
      Time.set(value);
      done();
    }
  });
}
