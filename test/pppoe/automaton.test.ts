/** The automaton against RFC 1661's own table, and its timer and counters against §4.6. */

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../../agent/core/random.js';
import { never } from '../../agent/core/time.js';
import {
  Automaton,
  type AutomatonEvent,
  automatonState,
  maxConfigure,
  maxTerminate,
  restartMs,
  transitionOf,
} from '../../agent/pppoe/automaton.js';

/**
 * RFC 1661 §4.1, typed anew in the RFC's two halves: the states 0…5, and below them the states 6…9.
 * A blank line in the RFC's table is one here.
 */
const firstHalf: readonly (readonly [AutomatonEvent, string])[] = [
  ['Up', '2 | irc,scr/6 | - | - | - | -'],
  ['Down', '- | - | 0 | tls/1 | 0 | 1'],
  ['Open', 'tls/1 | 1 | irc,scr/6 | 3r | 5r | 5r'],
  ['Close', '0 | tlf/0 | 2 | 2 | 4 | 4'],

  ['TO+', '- | - | - | - | str/4 | str/5'],
  ['TO-', '- | - | - | - | tlf/2 | tlf/3'],

  ['RCR+', '- | - | sta/2 | irc,scr,sca/8 | 4 | 5'],
  ['RCR-', '- | - | sta/2 | irc,scr,scn/6 | 4 | 5'],
  ['RCA', '- | - | sta/2 | sta/3 | 4 | 5'],
  ['RCN', '- | - | sta/2 | sta/3 | 4 | 5'],

  ['RTR', '- | - | sta/2 | sta/3 | sta/4 | sta/5'],
  ['RTA', '- | - | 2 | 3 | tlf/2 | tlf/3'],

  ['RUC', '- | - | scj/2 | scj/3 | scj/4 | scj/5'],
  ['RXJ+', '- | - | 2 | 3 | 4 | 5'],
  ['RXJ-', '- | - | tlf/2 | tlf/3 | tlf/2 | tlf/3'],

  ['RXR', '- | - | 2 | 3 | 4 | 5'],
];
const secondHalf: readonly (readonly [AutomatonEvent, string])[] = [
  ['Up', '- | - | - | -'],
  ['Down', '1 | 1 | 1 | tld/1'],
  ['Open', '6 | 7 | 8 | 9r'],
  ['Close', 'irc,str/4 | irc,str/4 | irc,str/4 | tld,irc,str/4'],

  ['TO+', 'scr/6 | scr/6 | scr/8 | -'],
  ['TO-', 'tlf/3p | tlf/3p | tlf/3p | -'],

  ['RCR+', 'sca/8 | sca,tlu/9 | sca/8 | tld,scr,sca/8'],
  ['RCR-', 'scn/6 | scn/7 | scn/6 | tld,scr,scn/6'],
  ['RCA', 'irc/7 | scr/6x | irc,tlu/9 | tld,scr/6x'],
  ['RCN', 'irc,scr/6 | scr/6x | irc,scr/8 | tld,scr/6x'],

  ['RTR', 'sta/6 | sta/6 | sta/6 | tld,zrc,sta/5'],
  ['RTA', '6 | 6 | 8 | tld,scr/6'],

  ['RUC', 'scj/6 | scj/7 | scj/8 | scj/9'],
  ['RXJ+', '6 | 6 | 8 | 9'],
  ['RXJ-', 'tlf/3 | tlf/3 | tlf/3 | tld,irc,str/5'],

  ['RXR', '6 | 7 | 8 | ser/9'],
];

/** The table as the RFC has it: event → ten cells, without the letters of footnotes. */
const rfc: { readonly [event: string]: readonly string[] } = Object.fromEntries(
  firstHalf.map(([event, left], i) => {
    assert.is(secondHalf[i][0], event);
    const cells = `${left} | ${secondHalf[i][1]}`.split('|').map(cell => cell.trim().replace(/[rpx]$/, ''));
    return [event, cells];
  }),
);
const events = Object.keys(rfc) as AutomatonEvent[];

/** Notes what the automaton has done. */
class Recorder {
  done: string[] = [];
  tlu = () => void this.done.push('tlu');
  tld = () => void this.done.push('tld');
  tls = () => void this.done.push('tls');
  tlf = () => void this.done.push('tlf');
  scr = () => void this.done.push('scr');
  sca = () => void this.done.push('sca');
  scn = () => void this.done.push('scn');
  str = () => void this.done.push('str');
  sta = () => void this.done.push('sta');
  scj = () => void this.done.push('scj');
  ser = () => void this.done.push('ser');

  /** What was done since the last call. */
  take(): string {
    const done = this.done.join();
    this.done = [];
    return done;
  }
}

function automatonIn(state: number): { automaton: Automaton; recorder: Recorder } {
  const recorder = new Recorder();
  const automaton = new Automaton(recorder);
  automaton.state = state;
  return { automaton, recorder };
}

test('the table is that of RFC 1661 §4.1 in each of its 160 cells', () => {
  assert.is(events.length, 16);
  for (const event of events) {
    assert.is(rfc[event].length, 10, event);
    for (let state = 0; state < 10; state++) {
      const transition = transitionOf(event, state);
      const cell =
        transition === undefined
          ? '-'
          : [transition.actions.join(), transition.next].filter(part => part !== '').join('/');
      assert.is(cell, rfc[event][state], `${event} in state ${state}`);
    }
  }
});

test('each cell is performed: the actions in their order, and the new state', () => {
  for (const event of events)
    for (let state = 0; state < 10; state++) {
      const { automaton, recorder } = automatonIn(state);
      const cell = rfc[event][state];
      const happened = automaton.handle(0, event);
      assert.is(happened, cell !== '-', `${event} in state ${state}`);
      const actions = cell.includes('/') ? cell.split('/')[0] : '';
      const visible = actions.split(',').filter(action => action !== 'irc' && action !== 'zrc');
      assert.is(recorder.take(), visible.join(), `${event} in state ${state}`);
      assert.is(
        automaton.state,
        happened ? Number(cell.split('/').pop()) : state,
        `${event} in state ${state}`,
      );
    }
});

test('a peer that never answers gets Max-Configure requests, one a restart period, and is given up', () => {
  const { automaton, recorder } = automatonIn(automatonState.starting);
  automaton.handle(0, 'Up');
  let now = 0;
  let sent = 1;
  assert.is(recorder.take(), 'scr');
  for (;;) {
    assert.is(automaton.timeoutAt, now + restartMs);
    automaton.poll(automaton.timeoutAt - 1);
    assert.is(recorder.take(), '', 'not before it is due');
    now = automaton.timeoutAt;
    automaton.poll(now);
    if (automaton.state === automatonState.stopped) break;
    assert.is(recorder.take(), 'scr');
    sent++;
  }
  assert.is(recorder.take(), 'tlf');
  assert.is(sent, maxConfigure);
  assert.is(automaton.timeoutAt, never);
});

test('a Terminate-Request is sent Max-Terminate times', () => {
  const { automaton, recorder } = automatonIn(automatonState.opened);
  automaton.handle(0, 'Close');
  while (automaton.timeoutAt !== never) automaton.poll(automaton.timeoutAt);
  assert.is(recorder.take(), `tld${',str'.repeat(maxTerminate)},tlf`);
});

test('a terminated link waits one restart period before it is finished (zrc)', () => {
  const { automaton, recorder } = automatonIn(automatonState.opened);
  automaton.handle(100, 'RTR');
  assert.is(recorder.take(), 'tld,sta');
  assert.is(automaton.timeoutAt, 100 + restartMs);
  automaton.poll(100 + restartMs);
  assert.is(recorder.take(), 'tlf');
  assert.is(automaton.state, automatonState.stopped);
});

test('an Ack starts the count of requests anew, as irc says', () => {
  const { automaton, recorder } = automatonIn(automatonState.starting);
  automaton.handle(0, 'Up');
  while (recorder.done.length < maxConfigure) automaton.poll(automaton.timeoutAt);
  automaton.handle(automaton.timeoutAt - 1, 'RCA');
  recorder.take();
  while (automaton.timeoutAt !== never) automaton.poll(automaton.timeoutAt);
  assert.is(recorder.take(), `${'scr,'.repeat(maxConfigure)}tlf`);
});

test('the timer runs exactly in the states of §4.2, whatever came before', () => {
  const seed = 1661;
  console.log(`automaton: seed ${seed}`);
  const random = new Random(seed, 'automaton');
  const { automaton } = automatonIn(automatonState.initial);
  for (let step = 0; step < 20_000; step++) {
    const timed = automaton.timeoutAt !== never;
    const inTimedState = automaton.state >= 4 && automaton.state <= 8;
    assert.is(timed, inTimedState, `state ${automaton.state} after step ${step}`);
    if (timed && random.chance(0.3)) automaton.poll(automaton.timeoutAt);
    else {
      const event = events[random.below(events.length)];
      if (event !== 'TO+' && event !== 'TO-') automaton.handle(step, event);
    }
  }
});

test.run();
