import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sameBytes } from '../../agent/core/bytes.js';
import { pcapHeader, pcapRecord } from '../../host-sim/capture/pcap.js';
import { Kernel } from '../../host-sim/sim/kernel.js';
import { type Recording, Replay, readRecording } from '../../host-sim/sim/replay.js';
import { Segment } from '../../host-sim/sim/segment.js';
import { capturePath } from '../support/captures.js';

function capture(linkType: number, records: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat([pcapHeader(linkType), ...records]);
}

/** Replays from t = 1000 ms until `until`; gives when each frame was heard, the switch's delay taken off. */
function replay(recording: Recording, until: number, options: { speed?: number; gapMs?: number } = {}) {
  const kernel = new Kernel();
  const segment = new Segment(kernel);
  const heard: { readonly at: number; readonly frame: Uint8Array }[] = [];
  segment.addTap({ capture: (at, frame) => heard.push({ at, frame: frame.slice() }) });
  const port = segment.attach({ receive: () => {} });
  new Replay({ kernel, port, recording, ...options }).start(1000);
  kernel.run(until);
  return heard;
}

test('a real capture is replayed byte for byte with its own timing', () => {
  const file = readFileSync(capturePath('mdns.pcap'));
  const recording = readRecording('mdns.pcap', file);
  // tshark -r mdns.pcap -T fields -e frame.time_relative
  assert.equal(
    recording.frames.slice(0, 5).map(({ afterMs }) => Math.round(afterMs * 1000)),
    [0, 167, 3_199_059, 3_199_209, 3_201_530],
  );
  assert.is(recording.frames.length, 24);
  const heard = replay(recording, 1e9);
  assert.is(heard.length, recording.frames.length);
  for (const [i, { at, frame }] of heard.entries()) {
    assert.ok(Math.abs(at - 1000 - recording.frames[i].afterMs) < 1e-6);
    assert.ok(sameBytes(frame, recording.frames[i].bytes));
  }
});

const frames = [0, 250.5, 1250.5].map((ms, i) =>
  pcapRecord(ms + 1_600_000_000_000, new Uint8Array(60).fill(i)),
);

test('timing is relative to the first frame, and speed divides it', () => {
  const recording = readRecording('three', capture(1, frames));
  const times = (speed: number) => replay(recording, 1e6, { speed }).map(({ at }) => at);
  assert.equal(times(1), [1000, 1250.5, 2250.5]);
  assert.equal(times(10), [1000, 1025.05, 1125.05]);
});

test('a loop begins again one gap after the last frame, and ends only with the run', () => {
  const recording = readRecording('three', capture(1, frames));
  const heard = replay(recording, 10_000, { gapMs: 749.5 });
  assert.equal(
    heard.slice(0, 7).map(({ at }) => at),
    [1000, 1250.5, 2250.5, 3000, 3250.5, 4250.5, 5000],
  );
  assert.is(heard.length, 14);
});

test('a clock that was set back does not reorder frames', () => {
  const set = [500, 100, 600].map((ms, i) => pcapRecord(ms, new Uint8Array(60).fill(i)));
  const heard = replay(readRecording('back', capture(1, set)), 1e6);
  assert.equal(
    heard.map(({ at, frame }) => [at, frame[0]]),
    [
      [1000, 0],
      [1000, 1],
      [1100, 2],
    ],
  );
});

test('only Ethernet is taken, the limits hold, and cut frames are counted', () => {
  assert.throws(
    () => readRecording('wifi', capture(105, frames)),
    'wifi: frame 1: link type: expected 1 (Ethernet), got 105',
  );
  const limited = readRecording('three', capture(1, frames), { mostFrames: 2 });
  assert.equal([limited.frames.length, limited.beyond], [2, 1]);
  const small = readRecording('three', capture(1, frames), { mostBytes: 60 });
  assert.equal([small.frames.length, small.beyond], [1, 2]);
  const cut = new Uint8Array(frames[1]);
  new DataView(cut.buffer).setUint32(12, 1500, true);
  assert.equal(readRecording('cut', capture(1, [frames[0], cut])).cut, 1);
  assert.throws(() => readRecording('short', capture(1, frames).subarray(0, 90)), 'truncated');
});

test('a speed or gap that makes no sense is refused', () => {
  const recording = readRecording('three', capture(1, frames));
  assert.throws(() => replay(recording, 1, { speed: 0 }), 'speed: expected a number above 0, got 0');
  assert.throws(() => replay(recording, 1, { gapMs: 0 }), 'gapMs: expected more than 0, got 0');
});

test.run();
