/**
 * A rules file: the rules of a power proxy as one JSON object (RFC 8259), by their ids, each as people publish it on
 * `rule/<id>` (`rule` in agent/message/messages.cddl):
 *
 *     { "ssh": { "trigger": { "tcp": { "dstPort": 22, "flags": "syn" } }, "action": "wake" },
 *       "rest": { "trigger": { "any": true }, "action": "drop", "priority": 0 } }
 *
 * Of duplicate ids the last counts. Bounds: `mostRules`, each within the agent's limits.
 */

import { encodeUtf8 } from '../../../agent/core/bytes.js';
import { descriptors, type Rule } from '../../../agent/message/messages.js';
import { validate } from '../../../agent/message/schema.js';
import { isId } from '../../../agent/message/topic.js';
import { parseJson, wrongEntry } from './hosts-file.js';

/** The agent holds each against all others for its warnings: so many take about a second. */
export const mostRules = 1_000;

export interface DeclaredRule {
  readonly id: string;
  /** Where it was read, for the texts of errors: `rules.json: ssh`. */
  readonly entry: string;
  /** As published. */
  readonly payload: Uint8Array;
}

/**
 * The rules in a text. Throws an Error that names the file, the rule, the field at fault, what was expected there and what
 * came: `rules.json: ssh.trigger.tcp.dstPort: expected …, got "ssh"`. What is only found when a rule is compiled, the replay
 * tells in the same words.
 */
export function parseRules(name: string, text: string): DeclaredRule[] {
  const rules = parseJson(name, text);
  if (typeof rules !== 'object' || rules === null || Array.isArray(rules))
    throw new Error(`${name}: expected an object of rules by their ids, got ${shortly(rules)}`);
  const entries = Object.entries(rules as { [id: string]: Rule });
  if (entries.length > mostRules)
    throw new Error(`${name}: expected at most ${mostRules} rules, got ${entries.length}`);
  return entries.map(([id, rule]) => {
    if (!isId(id))
      throw new Error(
        `${name}: expected rule ids of 1 to 32 characters of a-z, 0-9 and -, got ${JSON.stringify(id.slice(0, 40))}`,
      );
    const entry = `${name}: ${id}`;
    const problem = validate(descriptors.rule, rule);
    if (problem) throw wrongEntry(entry, problem);
    return { id, entry, payload: encodeUtf8(JSON.stringify(rule)) };
  });
}

function shortly(value: unknown): string {
  return Array.isArray(value) ? 'a list' : JSON.stringify(value).slice(0, 40);
}
