/**
 * The option negotiation automaton (RFC 1661 §4): what LCP and every network control protocol is driven by. The table
 * below is that of §4.1, to be read beside it; a test compares the two cell by cell.
 *
 * Of the implementation options, marked by a letter behind the state: r (Open does not restart a layer that is up), p (no
 * passive wait: a peer that does not answer is given up) and x (nothing special at a crossed connection) are left out.
 *
 * Bounds: the restart timer and its counters (§4.6). One deadline, no queue.
 */

import { never } from '../core/time.js';

/** The numbers of RFC 1661 §4.1. */
export const automatonState = {
  initial: 0,
  starting: 1,
  closed: 2,
  stopped: 3,
  closing: 4,
  stopping: 5,
  requestSent: 6,
  ackReceived: 7,
  ackSent: 8,
  opened: 9,
} as const;

/** The names of RFC 1661 §4.1. */
export type AutomatonEvent =
  | 'Up'
  | 'Down'
  | 'Open'
  | 'Close'
  | 'TO+'
  | 'TO-'
  | 'RCR+'
  | 'RCR-'
  | 'RCA'
  | 'RCN'
  | 'RTR'
  | 'RTA'
  | 'RUC'
  | 'RXJ+'
  | 'RXJ-'
  | 'RXR';

export type AutomatonAction =
  | 'tlu'
  | 'tld'
  | 'tls'
  | 'tlf'
  | 'irc'
  | 'zrc'
  | 'scr'
  | 'sca'
  | 'scn'
  | 'str'
  | 'sta'
  | 'scj'
  | 'ser';

/**
 * What the automaton has its owner do. None of these may feed the same automaton another event, except `tlu` and `tlf`:
 * they are the last action of every transition that has them, and the state is already the new one.
 */
export interface AutomatonOwner {
  /** This-Layer-Up, -Down, -Started, -Finished (RFC 1661 §4.4). */
  tlu(now: number): void;
  tld(now: number): void;
  tls(now: number): void;
  tlf(now: number): void;
  /** Send Configure-Request. */
  scr(): void;
  /** Send what answers the packet just received: Configure-Ack, -Nak or -Reject, Terminate-Ack, Code-Reject, Echo-Reply. */
  sca(): void;
  scn(): void;
  sta(): void;
  scj(): void;
  ser(): void;
  /** Send Terminate-Request. */
  str(): void;
}

/** The restart timer (RFC 1661 §4.6: 3 seconds). */
export const restartMs = 3_000;
/** Configure-Requests sent without an answer before giving up (RFC 1661 §4.6: 10). */
export const maxConfigure = 10;
/** Terminate-Requests sent without an answer (RFC 1661 §4.6: 2). */
export const maxTerminate = 2;

/** Actions before the slash, the new state and perhaps the letter of a footnote behind it; `-` cannot happen. */
const rfc1661 = `
        0        1          2          3              4        5        6          7          8          9
Event   Initial  Starting   Closed     Stopped        Closing  Stopping Req-Sent   Ack-Rcvd   Ack-Sent   Opened
Up      2        irc,scr/6  -          -              -        -        -          -          -          -
Down    -        -          0          tls/1          0        1        1          1          1          tld/1
Open    tls/1    1          irc,scr/6  3r             5r       5r       6          7          8          9r
Close   0        tlf/0      2          2              4        4        irc,str/4  irc,str/4  irc,str/4  tld,irc,str/4
TO+     -        -          -          -              str/4    str/5    scr/6      scr/6      scr/8      -
TO-     -        -          -          -              tlf/2    tlf/3    tlf/3p     tlf/3p     tlf/3p     -
RCR+    -        -          sta/2      irc,scr,sca/8  4        5        sca/8      sca,tlu/9  sca/8      tld,scr,sca/8
RCR-    -        -          sta/2      irc,scr,scn/6  4        5        scn/6      scn/7      scn/6      tld,scr,scn/6
RCA     -        -          sta/2      sta/3          4        5        irc/7      scr/6x     irc,tlu/9  tld,scr/6x
RCN     -        -          sta/2      sta/3          4        5        irc,scr/6  scr/6x     irc,scr/8  tld,scr/6x
RTR     -        -          sta/2      sta/3          sta/4    sta/5    sta/6      sta/6      sta/6      tld,zrc,sta/5
RTA     -        -          2          3              tlf/2    tlf/3    6          6          8          tld,scr/6
RUC     -        -          scj/2      scj/3          scj/4    scj/5    scj/6      scj/7      scj/8      scj/9
RXJ+    -        -          2          3              4        5        6          6          8          9
RXJ-    -        -          tlf/2      tlf/3          tlf/2    tlf/3    tlf/3      tlf/3      tlf/3      tld,irc,str/5
RXR     -        -          2          3              4        5        6          7          8          ser/9
`;

export interface Transition {
  readonly actions: readonly AutomatonAction[];
  readonly next: number;
}

const table = readTable(rfc1661);

/** What an event does in a state; `undefined` if it cannot happen there. */
export function transitionOf(event: AutomatonEvent, state: number): Transition | undefined {
  return table[event][state];
}

export class Automaton {
  state: number = automatonState.initial;
  /** When the restart timer expires; `never` while it does not run. */
  timeoutAt = never;
  private restartCount = 0;
  private readonly owner: AutomatonOwner;

  constructor(owner: AutomatonOwner) {
    this.owner = owner;
  }

  /** False, and nothing done, if the event cannot happen in this state. */
  handle(now: number, event: AutomatonEvent): boolean {
    const transition = table[event][this.state];
    if (transition === undefined) return false;
    const { actions, next } = transition;
    this.state = next;
    if (!runsTimer(next)) this.timeoutAt = never;
    for (let i = 0; i < actions.length; i++) this.perform(now, actions[i], actions);
    return true;
  }

  /** The restart timer's event, if it is due. */
  poll(now: number): void {
    if (now >= this.timeoutAt) this.handle(now, this.restartCount > 0 ? 'TO+' : 'TO-');
  }

  private perform(now: number, action: AutomatonAction, among: readonly AutomatonAction[]): void {
    const { owner } = this;
    switch (action) {
      case 'irc':
        this.restartCount = among.indexOf('str') < 0 ? maxConfigure : maxTerminate;
        return;
      case 'zrc':
        // One period's pause, so that the peer gets the Terminate-Ack before the link goes (RFC 1661 §4.4).
        this.restartCount = 0;
        this.timeoutAt = now + restartMs;
        return;
      case 'scr':
      case 'str':
        if (this.restartCount > 0) this.restartCount--;
        this.timeoutAt = now + restartMs;
        owner[action]();
        return;
      case 'tlu':
      case 'tld':
      case 'tls':
      case 'tlf':
        owner[action](now);
        return;
      default:
        owner[action]();
    }
  }
}

/** RFC 1661 §4.2: the restart timer runs in Closing, Stopping, Req-Sent, Ack-Rcvd and Ack-Sent. */
function runsTimer(state: number): boolean {
  return state >= automatonState.closing && state < automatonState.opened;
}

type Table = { readonly [event in AutomatonEvent]: readonly (Transition | undefined)[] };

function readTable(text: string): Table {
  const rows: { [event: string]: (Transition | undefined)[] } = {};
  for (const line of text.split('\n').slice(3)) {
    const cells = line.split(' ').filter(cell => cell !== '');
    if (cells.length > 0) rows[cells[0]] = cells.slice(1).map(readCell);
  }
  return rows as unknown as Table;
}

function readCell(cell: string): Transition | undefined {
  if (cell === '-') return undefined;
  const slash = cell.indexOf('/');
  const actions = slash < 0 ? [] : (cell.slice(0, slash).split(',') as AutomatonAction[]);
  return { actions, next: cell.charCodeAt(slash + 1) - 48 };
}
