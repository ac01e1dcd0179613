/**
 * The SDK's modules on its Linux command-line platform (x-cli-lin), for sdk.d.ts: the network is the machine's, the store is
 * modpreferences.json in the current folder. Groups and broadcasts are linux-main.c's, for the SDK's Linux sockets have none. No TLS.
 */

import Listener from 'embedded:io/socket/listener';
import TCP from 'embedded:io/socket/tcp';
import UDP from 'embedded:io/socket/udp';
// biome-ignore lint/style/useNodejsImportProtocol: the SDK's module
import Net from 'net';
import Preference from 'preference';

export * from './sdk-common.js';

export const platformName = 'x-cli-lin';
export const tlsFault = 'the Linux build of this firmware has no TLS';
export const setupPort = 8080;
export * as crypt from 'crypt';
export { Preference as store };

export function connect({ address, port, onReadable, onWritable, onError }) {
  return new TCP({ address, port, nodelay: true, onReadable, onWritable, onError });
}

export function openUdp(port, multicast, onReadable) {
  const socket = new UDP({ port, onReadable });
  try {
    native('xs_kith_open_udp').call(undefined, port, multicast?.group ?? '', multicast?.interface ?? '');
  } catch (error) {
    socket.close();
    throw error;
  }
  return socket;
}

export function listen(port, take) {
  return new Listener({
    port,
    address: '127.0.0.1',
    onReadable(count) {
      for (; count > 0; count--) {
        const from = this.read();
        if (from) take(calls => new TCP({ from, ...calls }));
      }
    },
  });
}

export function resolve(host, done) {
  if (host === 'localhost') done('127.0.0.1');
  else if (/^[0-9.]+$/.test(host)) done(host);
  else Net.resolve(host, (_name, address) => done(address));
}

export function joinNetwork(_wifi, done) {
  done(true);
}

export function openAccessPoint() {
  return `http://127.0.0.1:${setupPort}/`;
}

export function macAddress() {
  return '026b69746800';
}

export function setDate(done) {
  done();
}
