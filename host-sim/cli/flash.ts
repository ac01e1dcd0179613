/**
 * `kith flash espruino` and `kith flash moddable`: builds a board's firmware with the programs of others and puts it there.
 *
 * Espruino: the command `espruino` (npm) writes the settings into Storage and the script into flash. It exits with 0 whatever
 * happens, so the board itself is asked in the end what it holds, by CRC-32. Moddable: `mcconfig` of the SDK that MODDABLE
 * names; what is missing is said before anything is started.
 */

import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseDuration } from '../../agent/core/time.js';
import { longestLifetimeMs } from '../../agent/kibbutz/kibbutz.js';
import {
  kibbutzGroup4,
  kibbutzPort,
  registrationOf,
  registrationShape,
  type WrittenRegistration,
} from '../../agent/kibbutz/member-settings.js';
import { validate } from '../../agent/message/schema.js';
import { updateKeyOf } from './firmware.js';

export interface EspruinoOptions {
  /** As the `espruino` command takes it: /dev/ttyACM0, tcp://127.0.0.1:2400. */
  readonly port: string;
  /** Name of a board, or a JSON file; left out: the board is asked. */
  readonly board?: string;
  readonly jobs: 'power-proxy' | 'kibbutz' | 'none';
  readonly site: string;
  readonly node: string;
  /** mqtt://user:password@host:port */
  readonly broker: string;
  readonly wifi?: { readonly ssid: string; readonly password: string };
  /** For `jobs: 'kibbutz'`. */
  readonly kibbutz?: BoardMember;
}

/** What edge/espruino/small-kibbutz.ts reads. */
export interface BoardMember {
  readonly member: number;
  readonly generation: number;
  /** 16 bytes. */
  readonly key: readonly number[];
  readonly provider: { readonly host: string; readonly port: number };
  readonly group: string;
  readonly port: number;
  /** ms. */
  readonly tail: number;
  readonly credit: number;
}

export interface ModdableOptions {
  /** Of mcconfig: `esp32`, `esp32/m5atom`, `x-cli-lin` … */
  readonly platform: string;
  /** The serial port; left out: the SDK looks for one. */
  readonly port?: string;
  /** A file of `kith firmware key`, whose signature the firmware shall believe; left out: it takes no updates. */
  readonly updateKey?: string;
  /** The number that this build counts as; only a higher one takes its place. Left out: 0. */
  readonly updateSequence?: number;
  /** Only build, do not install and run. */
  readonly buildOnly: boolean;
}

type Say = (line: string) => Promise<void> | void;

/** Uploading 20 KB at 9600 baud takes 20 s; a board that reboots needs some more. */
const mostUploadMs = 180_000;
/**
 * The uploader is done when it has sent all, the board only when it has taken and written it; what is asked before, with the
 * Ctrl-C that goes ahead of it, ends that. Writing 20 KB took 1 s (Espruino for Linux); a board is slower.
 */
const questionPauseMs = 5_000;
const mostQuestions = 4;
/** An answer takes 2 s; where a character of the question is lost the uploader waits for ever. */
const mostQuestionMs = 30_000;
/** A serial line without flow control loses characters at times; the CRC says so. */
const mostUploads = 2;

/** Where the firmware's sources are: two folders up, or one more from dist/. */
const root =
  ['../../', '../../../']
    .map(up => fileURLToPath(new URL(up, import.meta.url)))
    .find(folder => existsSync(join(folder, 'edge/espruino/build.ts'))) ??
  fileURLToPath(new URL('../../', import.meta.url));

/** The words of `kith flash espruino`. */
export interface EspruinoWords extends Pick<EspruinoOptions, 'port' | 'board' | 'jobs' | 'site' | 'node'> {
  readonly to: string;
  readonly ssid?: string;
  /** Read here, so that the password stands in no list of processes. */
  readonly wifiPasswordFile?: string;
  /** Of `--jobs kibbutz`. The file is what `kith provider register --aead aes-128-ccm` printed. */
  readonly registration?: string;
  readonly provider?: string;
  readonly tail?: string;
  readonly credit?: number;
}

/** Throws as flashEspruino. */
export async function runFlashEspruino(words: EspruinoWords, say: Say): Promise<void> {
  const { to, ssid, wifiPasswordFile, registration, ...rest } = words;
  if (ssid === undefined && wifiPasswordFile !== undefined)
    throw new Error('--wifi-password-file: expected with --ssid');
  const password =
    wifiPasswordFile === undefined
      ? ''
      : ((await readFile(wifiPasswordFile, 'utf8')).split(/\r?\n/)[0] ?? '');
  const isMember = rest.jobs === 'kibbutz';
  if (isMember !== (registration !== undefined))
    throw new Error('--registration: expected with --jobs kibbutz, and only with it');
  const kibbutz =
    registration === undefined ? undefined : kibbutzOf(await readFile(registration, 'utf8'), words);
  await flashEspruino(
    {
      ...rest,
      broker: to,
      ...(ssid === undefined ? {} : { wifi: { ssid, password } }),
      ...(kibbutz === undefined ? {} : { kibbutz }),
    },
    say,
  );
}

/** Throws an Error that says what was expected if anything fails, also where the uploader does not notice. */
export async function flashEspruino(options: EspruinoOptions, say: Say): Promise<void> {
  const missing = missingForEspruino(root);
  if (missing.length > 0) throw new Error(`flash espruino: missing: ${missing.join('; ')}`);
  const program = findEspruino();
  const settings = settingsOf(options);
  const folder = await mkdtemp(join(tmpdir(), 'kith-flash-'));
  try {
    const script = join(folder, 'firmware.js');
    const builder = ['--import', 'tsx', join(root, 'edge/espruino/build.ts')];
    await run(process.execPath, [...builder, '--jobs', options.jobs, '--out', script], { cwd: root });
    const firmware = await readFile(script);
    const settingsPath = join(folder, 'kith.json');
    await writeFile(settingsPath, settings);
    const goodbye = join(folder, 'goodbye.js');
    await writeFile(goodbye, 'print("written");\n');
    const board = options.board === undefined ? [] : ['--board', options.board];
    const common = [program, '--no-ble', '--port', options.port, ...board];
    // As files, which go in pieces of 384 bytes whatever the uploader knows of the board. Sent as a script, to a board of which
    // it has not read the version, the firmware would be one text, for which 2,630 variables are too few. The script that
    // goes along makes it reset the board first, so that what ran there holds no memory.
    const files = ['--storage', `kith.json:${settingsPath}`, '--storage', `.bootcde:${script}`];
    for (let uploads = 1; ; uploads++) {
      await say(
        `writing the settings (${settings.length} bytes) and the firmware (${firmware.length} bytes)`,
      );
      await run(process.execPath, [...common, ...files, goodbye]);
      const problem = await problemOnBoard(common, { settings: Buffer.from(settings), firmware }, say);
      if (problem === undefined) return;
      if (uploads === mostUploads) throw new Error(`${options.port}: ${problem}`);
      await say(`${problem}; once more`);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Asks the board what it holds, and starts it; `undefined`: what was sent. */
async function problemOnBoard(
  common: readonly string[],
  sent: { readonly settings: Uint8Array; readonly firmware: Uint8Array },
  say: Say,
): Promise<string | undefined> {
  // The uploader stops what runs, so the board is started again.
  const question =
    'var s=require("Storage");print("kith="+["kith.json",".bootcde"].map(f=>E.CRC32(s.read(f)||"")));setTimeout(load,1000)';
  for (let asked = 1; ; asked++) {
    await sleep(questionPauseMs);
    const output = await run(process.execPath, [...common, '-e', question], {
      limitMs: mostQuestionMs,
    }).catch(String);
    const answer = /kith=(\d+),(\d+)/.exec(output);
    const problem = answer
      ? (wrong('settings', Number(answer[1]), sent.settings) ??
        wrong('firmware', Number(answer[2]), sent.firmware))
      : `expected an answer of the board, got none: ${lastLines(output)}`;
    if (answer && problem === undefined) await say(`the board holds both: CRC-32 ${answer[1]}, ${answer[2]}`);
    if (problem === undefined || asked === mostQuestions) return problem;
  }
}

/** Throws as above. Needs the SDK (MODDABLE), and for esp32 the ESP-IDF (IDF_PATH). What it says goes straight to the terminal. */
export async function flashModdable(options: ModdableOptions, say: Say): Promise<void> {
  const { platform, port, updateKey, updateSequence, buildOnly } = options;
  const environment = environmentForModdable(process.env);
  const missing = [
    ...missingSources(root, 'edge/moddable/main.ts'),
    ...missingForModdable(platform, environment),
  ];
  if (missing.length > 0) throw new Error(`flash moddable: missing: ${missing.join('; ')}`);
  if (port !== undefined) {
    if (!existsSync(port))
      throw new Error(`flash moddable: port: expected a serial port, ${port} is not there`);
    environment['UPLOAD_PORT'] = port;
  }
  const args = ['-m', '-p', platform, ...(buildOnly ? ['-t', 'build'] : []), join(root, 'manifest.json')];
  if (updateKey !== undefined) args.push(`updateKey=${await updateKeyOf(updateKey)}`);
  if (updateSequence !== undefined) args.push(`updateSequence=${updateSequence}`);
  await say(`mcconfig ${args.join(' ')}`);
  // No time limit: the first build of the ESP-IDF takes minutes.
  const child = spawn('mcconfig', args, { env: environment, stdio: 'inherit' });
  const code = await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status, signal) => resolve(status ?? signal));
  });
  if (code !== 0) throw new Error(`mcconfig ended with ${code}`);
}

/** PATH with the SDK's tools as they are built, and with our own tsc; whatever is there already comes first. */
export function environmentForModdable(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { PATH: path, MODDABLE: sdk } = environment;
  const system = { darwin: 'mac', win32: 'win' }[process.platform as string] ?? 'lin';
  const tools = sdk ? [join(sdk, 'build/bin', system, 'release')] : [];
  const folders = [...(path ? [path] : []), ...tools, join(root, 'node_modules/.bin')];
  return { ...environment, PATH: folders.join(delimiter) };
}

/** What must be installed first, and how; empty: nothing. */
export function missingForModdable(platform: string, environment: NodeJS.ProcessEnv): string[] {
  const missing: string[] = [];
  const path = (environment['PATH'] ?? '').split(delimiter);
  const has = (program: string) => path.some(folder => isExecutable(join(folder, program)));
  const { MODDABLE: sdk, IDF_PATH: idf } = environment;
  if (!sdk)
    missing.push(
      'MODDABLE, the folder of the SDK (git clone https://github.com/Moddable-OpenSource/moddable)',
    );
  else if (!existsSync(join(sdk, 'modules'))) missing.push(`the SDK in MODDABLE: ${sdk} is another folder`);
  if (!has('mcconfig')) missing.push('mcconfig on PATH: build the tools of the SDK (build/makefiles)');
  if (!has('tsc')) missing.push('tsc on PATH (npm install -g typescript)');
  if (platform.split('/')[0] === 'esp32') {
    if (!idf) missing.push('IDF_PATH, the ESP-IDF that the SDK asks for');
    else if (!existsSync(join(idf, 'export.sh')))
      missing.push(`the ESP-IDF in IDF_PATH: ${idf} is another folder`);
  }
  return missing;
}

/** What main.ts of edge/espruino reads. Throws on a broker that is none. */
export function settingsOf({ site, node, broker, wifi, kibbutz }: EspruinoOptions): string {
  if (!URL.canParse(broker)) throw new Error(`broker: expected mqtt://host:port, got ${broker}`);
  const url = new URL(broker);
  // Not every board has TLS, and none checks a certificate.
  if (url.protocol !== 'mqtt:' || url.hostname === '')
    throw new Error(`broker: expected mqtt://host:port, got ${broker.replace(/\/\/.*@/, '//')}`);
  return JSON.stringify({
    site,
    node,
    broker: {
      host: url.hostname,
      port: url.port === '' ? 1883 : Number(url.port),
      ...(url.username === ''
        ? {}
        : { user: decodeURIComponent(url.username), password: decodeURIComponent(url.password) }),
    },
    ...(wifi === undefined ? {} : { wifi }),
    ...(kibbutz === undefined ? {} : { kibbutz }),
  });
}

/** The paper's value (Fig. 2.16). */
const defaultCredit = 5;

/** What the board's member of a kibbutz is told, from its registration as the provider printed it. Throws on what is wrong. */
export function kibbutzOf(
  text: string,
  words: Pick<EspruinoWords, 'provider' | 'tail' | 'credit'>,
): BoardMember {
  const { provider = '', tail = '', credit = defaultCredit } = words;
  let written: unknown;
  try {
    written = JSON.parse(text);
  } catch (error) {
    throw new Error(`--registration: expected JSON: ${(error as Error).message}`);
  }
  const problem = validate(registrationShape, written);
  if (problem)
    throw new Error(`--registration: ${problem.field}: expected ${problem.expected}, got ${problem.got}`);
  const { member, aead, generation, key } = registrationOf(written as WrittenRegistration);
  // IANA's number of AES-128-CCM, the one suite a board's firmware has.
  if (aead !== 3 || key.length !== 16)
    throw new Error(
      `--registration: expected AES-128-CCM (kith provider register --aead aes-128-ccm), got AEAD ${aead}`,
    );
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(provider) ?? [];
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535)
    throw new Error(`--provider: expected host:port, got ${provider}`);
  const tailMs = parseDuration(tail) ?? 0;
  if (tailMs < 1 || tailMs > longestLifetimeMs) throw new Error(`--tail: expected 1ms to 60s, got ${tail}`);
  if (!(credit >= 1 && credit % 1 === 0))
    throw new Error(`--credit: expected an integer from 1, got ${credit}`);
  return {
    member,
    generation,
    key: [...key],
    provider: { host, port: Number(port) },
    group: kibbutzGroup4,
    port: kibbutzPort,
    tail: tailMs,
    credit,
  };
}

export function crc32(bytes: Uint8Array): number {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

/** What is wrong with what a board holds; `undefined`: nothing. */
function wrong(what: string, got: number, sent: Uint8Array): string | undefined {
  const expected = crc32(sent);
  if (got === expected) return undefined;
  return `${what}: expected CRC-32 ${expected} on the board, got ${got}: it was not written, or not whole`;
}

const install = 'in a checkout of the sources: npm ci';

function missingSources(folder: string, main: string): string[] {
  if (existsSync(join(folder, main))) return [];
  return [`the sources of the firmware, which an installed package does not have (${install})`];
}

/** What building the firmware needs and is not in `folder`; empty: nothing. */
export function missingForEspruino(folder: string): string[] {
  const sources = missingSources(folder, 'edge/espruino/build.ts');
  if (sources.length > 0) return sources;
  const from = createRequire(join(folder, 'package.json'));
  return ['tsx', 'esbuild', '@babel/parser']
    .filter(name => {
      try {
        from.resolve(name);
        return false;
      } catch {
        return true;
      }
    })
    .map(name => `the package ${name} (${install})`);
}

/** The path of the command's script. It is no dependency: few who use this have such a board. */
function findEspruino(): string {
  try {
    return createRequire(join(process.cwd(), 'package.json')).resolve('espruino/bin/espruino-cli.js');
  } catch {
    throw new Error('flash espruino: missing: the espruino package (npm install --no-save espruino@0.1.67)');
  }
}

/** Runs to its end; what it printed. Throws unless it exits with 0. */
function run(
  program: string,
  args: readonly string[],
  { cwd, limitMs = mostUploadMs }: { readonly cwd?: string; readonly limitMs?: number } = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      ...(cwd === undefined ? {} : { cwd }),
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: limitMs,
    });
    let output = '';
    const hear = (chunk: Buffer) => {
      output += chunk;
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) resolve(output);
      else reject(new Error(`${program} ended with ${code ?? signal}: ${lastLines(output)}`));
    });
  });
}

function lastLines(output: string): string {
  return output.trim().split('\n').slice(-4).join('\n');
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
