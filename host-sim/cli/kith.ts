#!/usr/bin/env node
/**
 * The `kith` command. Each subcommand's work is in a file of its own; here are only the words it takes.
 *
 * Errors go to standard error as one sentence that says what to do, and the exit code is 1.
 */

import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Command, InvalidArgumentError, Option } from 'commander';
import { parseDuration } from '../../agent/core/time.js';

const defaultBroker = process.env['KITH_BROKER'] ?? 'mqtt://127.0.0.1:1883';

const brokerOption = () =>
  new Option('--broker <url>', 'the broker: mqtt(s)://[user:password@]host[:port], ws(s)://…').default(
    defaultBroker,
    `$KITH_BROKER or ${defaultBroker}`,
  );
const siteOption = () => new Option('--site <site>', 'the site of nodes named without one').default('home');
const authOption = () =>
  new Option('--auth <methods>', 'of pap, chap-md5, ms-chap-v2 and none, separated by commas').argParser(
    toMethods,
  );
const controlOption = () =>
  new Option('--control <path>', 'what kith bras --control names').makeOptionMandatory();
const storeOption = () =>
  new Option('--store <directory>', "the provider's keys and accounts").default('/var/lib/kith/provider');
const jsonOption = () => new Option('--json', 'one JSON object a line');

export function program(): Command {
  const kith = new Command('kith')
    .description(
      'Agents for the kibbutz, the power proxy and PPPoE offload, and their coordinator over MQTT.',
    )
    .version(packageVersion())
    // An option belongs to the command it stands behind: `sim` and its subcommands have some of the same name.
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .showHelpAfterError('(kith --help lists the commands)');

  for (const [name, about] of [
    ['up', 'coordinator, broker and a street of live simulated homes'],
    ['coordinator', 'coordinator and broker alone'],
  ] as const) {
    const command = kith
      .command(name)
      .description(about)
      .option('--data <directory>', 'what must survive is kept here', '.kith')
      .option('--broker <url>', "somebody else's broker; left out: an embedded one")
      .addOption(new Option('--mqtt <version>', 'with --broker: 4 is 3.1.1').choices(['4', '5']).default('4'))
      .addOption(
        new Option('--keep <duration>', 'telemetry older than this is deleted')
          .argParser(toDuration)
          .default(30 * 86_400_000, '30d'),
      )
      .option(
        '--host <address>',
        'the embedded broker listens here; beyond loopback, anyone there can connect',
        '127.0.0.1',
      )
      .option('--port <port>', 'MQTT over TCP; 0 is any free one', toPort, 1883)
      .option('--ws-port <port>', 'MQTT over WebSocket; 0 is any free one', toPort, 8083);
    if (name === 'up')
      command
        .option('--homes <n>', 'simulated homes', toInteger(1, 1000), 20)
        .option(
          '--seed <n>',
          'seed of everything random; left out: another every time, printed',
          toInteger(0, Number.MAX_SAFE_INTEGER),
        )
        .option('--speed <factor>', 'simulated seconds per second', toSpeed, 1);
    command.action(async options =>
      (await import('./up.js')).up({ homes: 0, ...options }, interrupted(), print),
    );
  }

  kith
    .command('watch')
    .description('what the nodes and people say, decoded, as it happens')
    .argument('[node]', '<node> or <site>/<node>; left out: all')
    .addOption(siteOption())
    .addOption(brokerOption())
    .addOption(jsonOption())
    .action(async (node, { site, broker, json }) => {
      const { describeSeen, watch } = await import('./watch.js');
      const { parseNode } = await import('./rule.js');
      const where = node === undefined ? {} : parseNode(node, site);
      const hear = (seen: Parameters<typeof describeSeen>[0]) =>
        print(json ? toLine({ at: new Date().toISOString(), ...seen }) : describeSeen(seen, new Date()));
      await watch(broker, where, hear, interrupted());
    });

  const node = kith.command('node').description('the nodes');
  node
    .command('ls')
    .description('every node, its state and jobs')
    .addOption(brokerOption())
    .addOption(jsonOption())
    .action(async ({ broker, json }) => {
      const { describeNode, listNodes } = await import('./watch.js');
      for (const row of await listNodes(broker)) await print(json ? toLine(row) : describeNode(row));
    });

  node
    .command('get')
    .description('all the coordinator keeps of a node: birth, totals over its boots, latest telemetry')
    .argument('<node>', '<node> or <site>/<node>')
    .option('--limit <n>', 'telemetry messages', toInteger(0, 1000), 10)
    .addOption(siteOption())
    .addOption(brokerOption())
    .action(async (name, { site, broker, limit }) => {
      const { askNode } = await import('./watch.js');
      const { parseNode } = await import('./rule.js');
      const { node: record, totals, telemetry } = await askNode(broker, parseNode(name, site), limit);
      print(JSON.stringify({ node: record, totals, telemetry }, null, 2));
    });

  const rule = kith.command('rule').description('the rules of a node');
  rule
    .command('ls')
    .description('every rule, how it stands and what it did')
    .argument('[node]', '<node> or <site>/<node>; left out: all')
    .addOption(siteOption())
    .addOption(brokerOption())
    .addOption(jsonOption())
    .action(async (nodeName, { site, broker, json }) => {
      const { describeRule, listRules, parseNode, ruleToJson } = await import('./rule.js');
      const rules = await listRules(broker, nodeName === undefined ? undefined : parseNode(nodeName, site));
      for (const one of rules) await print(json ? toLine(ruleToJson(one)) : describeRule(one));
    });
  rule
    .command('get')
    .description('one rule as JSON: desired and reported')
    .argument('<node>')
    .argument('<rule>')
    .addOption(siteOption())
    .addOption(brokerOption())
    .action(async (nodeName, id, { site, broker }) => {
      const { listRules, parseNode, ruleToJson } = await import('./rule.js');
      const found = (await listRules(broker, parseNode(nodeName, site))).find(one => one.rule === id);
      if (!found)
        throw new Error(`there is no rule ${id} at ${nodeName}: kith rule ls ${nodeName} lists them`);
      print(JSON.stringify(ruleToJson(found), null, 2));
    });
  rule
    .command('put')
    .description("publish a rule and wait for the node's answer")
    .argument('<node>', '<node> or <site>/<node>')
    .argument('<rule>', 'its id')
    .argument('<text>', 'the rule as JSON, @file, or - for standard input')
    .option(
      '--dry-run',
      'publish nothing; say what the rule would have done, from what is recorded of the node',
    )
    .option('--capture <file>', 'with --dry-run: from this capture (pcap or pcapng)')
    .option('--hosts <file>', 'with --capture: the hosts in it (JSON); left out: those declared at the node')
    .addOption(siteOption())
    .addOption(brokerOption())
    .action(async (nodeName, id, text, { site, broker, dryRun, ...words }) => {
      const { dryRunRule, parseNode, putRule, readRule } = await import('./rule.js');
      const node = parseNode(nodeName, site);
      if (dryRun) {
        for (const line of await dryRunRule(broker, node, id, await readRule(text), words)) await print(line);
        return;
      }
      if (words.capture !== undefined || words.hosts !== undefined)
        throw new Error('--capture and --hosts: expected with --dry-run');
      const status = await putRule(broker, node, id, await readRule(text));
      if (status.status !== 'accepted')
        throw new Error(`${status.status}: ${status.reason ?? 'no reason given'}`);
      print(`accepted, revision ${status.revision}`);
    });
  rule
    .command('rm')
    .description('remove a rule')
    .argument('<node>')
    .argument('<rule>')
    .addOption(siteOption())
    .addOption(brokerOption())
    .action(async (nodeName, id, { site, broker }) => {
      const { parseNode, removeRule } = await import('./rule.js');
      await removeRule(broker, parseNode(nodeName, site), id);
      print('removed');
    });

  rule
    .command('load')
    .description('publish all rules of a file, such as host-sim/scenario/proxy/rules/recommended.json')
    .argument('<node>', '<node> or <site>/<node>')
    .argument('<file>', 'a JSON object of rules by id')
    .addOption(siteOption())
    .addOption(brokerOption())
    .action(async (nodeName, file, { site, broker }) => {
      const { loadRules, parseNode } = await import('./rule.js');
      await loadRules(broker, parseNode(nodeName, site), file, print);
    });

  kith
    .command('proxy')
    .description('the power proxy, offline')
    .command('replay')
    .description(
      'what it would have made of a capture (pcap or pcapng; - is standard input), frame by frame and in sum',
    )
    .argument('<capture>')
    .requiredOption(
      '--hosts <file>',
      'the hosts it stands in for: a JSON list of what is published on host/<id>',
    )
    .requiredOption('--rules <file>', 'its rules: a JSON object of what is published on rule/<id>, by id')
    .option('--write <file>', 'what it would have sent, as pcap')
    .addOption(
      new Option('--idle <duration>', 'a host that nobody uses falls asleep after this')
        .argParser(toDuration)
        .default(120_000, '2m'),
    )
    .option('--seed <n>', 'of the delays of answers', toInteger(0, 2 ** 32), 1)
    .addOption(jsonOption())
    .action(async (capture, options) => (await import('./proxy.js')).printReplay(capture, options, print));

  const agent = kith
    .command('agent')
    .description('the gateway daemon (Linux), until SIGTERM; SIGHUP reads its configuration again')
    .enablePositionalOptions()
    .option('--config <file>', 'what it does (docs/gateway.md)', '/etc/kith/agent.json')
    .action(async ({ config }) => (await import('../../edge/linux/main.js')).runAgent(config));
  agent
    .command('check')
    .description('what is wrong with a configuration, by field')
    .option('--config <file>', 'the configuration', '/etc/kith/agent.json')
    .action(async ({ config }) => {
      (await import('../../edge/linux/main.js')).checkAgent(config);
      print(`${config}: ok`);
    });

  const sim = kith
    .command('sim')
    .description('run a scenario offline, as fast as it goes')
    .enablePositionalOptions()
    .argument(
      '<scenario>',
      'home (one), street (many homes), or wake (home, and after a minute the rule that wakes)',
    )
    .option('--seed <n>', 'the same seed gives the same bytes', toInteger(0, Number.MAX_SAFE_INTEGER), 1)
    .addOption(
      new Option('--duration <duration>', 'simulated time').argParser(toDuration).default(600_000, '10m'),
    )
    .option('--homes <n>', 'homes in the scenario street', toInteger(1, 1000))
    .option('--pcap <file>', 'write the frames of the first home here')
    .addOption(jsonOption())
    .action(async (scenario, options) =>
      (await import('./sim.js')).printSimulation(scenario, options, print),
    );
  sim
    .command('kibbutz')
    .description('kibbutzim by the thousand, on every core')
    .argument(
      '[file]',
      'a scenario (JSON); left out: kibbutzim of five, 2 streaming, 2 web, 1 background, 2h, 10000 devices',
    )
    .option(
      '--devices <n>',
      'how many in all, a multiple of those in a kibbutz; this and the next three: instead of what the scenario says',
      toInteger(1, 1_000_000),
    )
    .addOption(new Option('--duration <duration>', 'simulated time').argParser(toDuration))
    .option('--seed <n>', 'the same seed gives the same bytes', toInteger(0, Number.MAX_SAFE_INTEGER))
    .addOption(new Option('--policy <policy>', "the paper's protocol, or ours").choices(['paper', 'kith']))
    .option('--workers <n>', 'threads', toInteger(1, 256), availableParallelism())
    .option('--shard <i/n>', 'only the i-th of n parts, as JSON for kith sim merge')
    .option('--json', 'the result as one JSON object')
    .action(async (file, options) =>
      (await import('./sim-kibbutz.js')).printKibbutzim(file, options, print, interrupted()),
    );
  sim
    .command('merge')
    .description('all parts of a run (kith sim kibbutz --shard): prints what one run would have')
    .argument('<part...>', 'files')
    .option('--json', 'the result as one JSON object')
    .action(async (files, options) => (await import('./sim-kibbutz.js')).printMerged(files, options, print));

  const paper = kith.command('paper').description("a paper's experiments, ours beside its figures");
  paper
    .command('kibbutz')
    .description('the mobile kibbutz: Fig. 2.14 to 2.16 and 2.20, Table 2.2, energy (some seconds)')
    .addOption(
      new Option('--policy <policy>', "the paper's protocol, or ours beside it and beside what theory allows")
        .choices(['paper', 'kith'])
        .default('paper'),
    )
    .option('--runs <n>', 'runs of each mix', toInteger(1, 1000), 20)
    .option('--seed <n>', 'of the first run', toInteger(0, 2 ** 32), 1)
    .addOption(
      new Option('--wait <duration>', 'policy kith: background traffic waits for a radio at most this long')
        .argParser(toDuration)
        .default(30_000, '30s'),
    )
    .option('--out <directory>', 'draw the plots here, as SVG')
    .addOption(new Option('--json', 'one JSON object'))
    .action(async options => (await import('./paper.js')).printKibbutzPaper(options, print));
  paper
    .command('proxy')
    .description(
      'the power proxy: how long hosts of a home and an office sleep, by what wakes them (some 15 s)',
    )
    .option('--runs <n>', 'days of each place', toInteger(1, 1000), 3)
    .option('--seed <n>', 'of the first day', toInteger(0, 2 ** 32), 1)
    .option('--out <directory>', 'draw the plots here, as SVG')
    .addOption(jsonOption())
    .action(async options => (await import('./paper.js')).printProxyPaper(options, print));
  paper
    .command('bras')
    .description('the software BRAS: sessions a second, and memory, measured on this machine (some 20 s)')
    .option('--out <directory>', 'draw Fig. 3.7 and 3.8 here, as SVG')
    .addOption(jsonOption())
    .action(async options => (await import('./paper.js')).printBrasPaper(options, print));

  kith
    .command('pppoe')
    .description('dial in to an access concentrator; the line becomes a TUN device (root, Linux)')
    .requiredOption('--interface <interface>', 'the Ethernet of the access network')
    .requiredOption('--user <name>')
    .requiredOption('--secret-file <file>', 'the secret is its first line')
    .option('--service <name>', 'the service to ask for; left out: any', '')
    .option('--ac <name>', 'the only access concentrator to take; left out: any', '')
    .addOption(authOption().default(undefined, 'all, the strongest first'))
    .option('--no-ipv6', 'IPv4 alone')
    .option('--vlan <id>', 'of the access network', toInteger(1, 4094))
    .option('--tun <name>', 'of the device', 'kith%d')
    .option('--once', 'end with the first session')
    .option('--capture <file>', 'write the PPPoE frames here (pcap)')
    .action(async options => (await import('./pppoe.js')).dial(options, interrupted(), print));

  kith
    .command('bras')
    .description('a software BRAS on an Ethernet; subscribers are reached over a TUN device (root, Linux)')
    .requiredOption('--interface <interface>', 'the Ethernet of the access network')
    .option('--mac <mac>', "ours there; left out: the interface's")
    .option(
      '--users <file>',
      'who may come in: lines of user, AC or *, secret, address or * (host-sim/bras/aaa-file.ts)',
    )
    .option('--radius <server...>', 'or ask these: ADDRESS or ADDRESS:PORT')
    .option('--radius-secret-file <file>', 'the secret is its first line')
    .option(
      '--coa-port <port>',
      'let these servers end sessions and change their rates at this UDP port, usually 3799; left out: they may not',
      toInteger(1, 65_535),
    )
    .option(
      '--rates <file>',
      'rate classes: {"slow":{"up":1000000,"down":8000000,"burst":16000}}, bits a second and bytes; "line" is the default one',
    )
    .requiredOption(
      '--pool <network>',
      "subscribers' addresses, such as 10.64.0.0/16; the first is the BRAS's own",
    )
    .option(
      '--prefixes <prefix>',
      'a /64 of this for each subscriber, such as 2001:db8::/48; left out: no IPv6',
    )
    .option('--dns <address...>', 'told to subscribers')
    .option('--tun <name>', 'of the device', 'bras%d')
    .option('--ac-name <name>', 'of the access concentrator', 'kith')
    .option('--service <name...>', 'services; left out: any one')
    .addOption(authOption().default(['ms-chap-v2', 'chap-md5', 'pap'], 'ms-chap-v2,chap-md5,pap'))
    .option('--sessions <n>', 'at most', toInteger(1, 65_534), 65_534)
    .addOption(
      new Option('--echo <duration>', 'ask sessions not heard for so long whether they live, whole seconds')
        .argParser(toDuration)
        .default(30_000, '30s'),
    )
    .option(
      '--broker <url>',
      'install access lists on gateways whose agents can do without the tunnel, by this broker; left out: the tunnel alone',
    )
    .addOption(siteOption())
    .addOption(
      new Option(
        '--acl-expiry <duration>',
        'an access list that is not renewed ends after this, whole seconds',
      )
        .argParser(toDuration)
        .default(60_000, '1m'),
    )
    .option('--capture <file>', 'write the frames of the access network here (pcap)')
    .option('--control <path>', 'a socket for kith session; left out: none')
    .option('--standby', 'hear and say nothing until sessions are imported')
    .action(async options => (await import('./bras.js')).runBras(options, interrupted(), print));

  const provider = kith
    .command('provider')
    .description(
      'the kibbutz provider; its members reach the Internet over a TUN device (root, Linux; docs/kibbutz.md)',
    )
    .enablePositionalOptions()
    .addOption(storeOption())
    .option('--listen <address...>', 'UDP, at these addresses; left out: at every one')
    .option('--port <port>', 'UDP; 0 is any free one', toPort, 49_498)
    .option(
      '--ipv4 <network>',
      "members' inner addresses, such as 10.107.0.0/16; the first is the provider's own",
    )
    .option('--ipv6 <network>', 'the same, such as fd6b:6974:68::/64; at least one of the two')
    .option('--tun <name>', 'of the device', 'kibbutz%d')
    .option(
      '--allowance <bytes>',
      'refuse who has taken so much more than given; left out: nobody',
      toInteger(0, Number.MAX_SAFE_INTEGER),
    )
    .option(
      '--charge <price>',
      'for each 1,000,000 bytes taken beyond those given, in millionths',
      toInteger(0, 1e9),
    )
    .option(
      '--pay <price>',
      'for each 1,000,000 bytes given beyond those taken, in millionths',
      toInteger(0, 1e9),
    )
    .option('--members <n>', 'at most', toInteger(1, 1_000_000), 100_000)
    .option(
      '--pairs <n>',
      'of neighbours with an account of their own, at most',
      toInteger(1, 4_000_000),
      400_000,
    )
    .action(async options => (await import('./provider.js')).runProvider(options, interrupted(), print));
  provider
    .command('register')
    .description("take a member in, or give it new keys; prints what its device's registrationFile takes")
    .argument('<name>', 'the same name, the same member and account')
    .addOption(storeOption())
    .option('--group <group>', 'everybody in it is introduced to everybody else in it', 'home')
    .addOption(
      new Option('--aead <ciphers>', 'that the device has, best first')
        .argParser(toAeads)
        .default([1, 29, 3], 'aes-128-gcm,chacha20-poly1305,aes-128-ccm'),
    )
    .action(async (name, options) => (await import('./provider.js')).register(name, options, print));
  provider
    .command('accounts')
    .description('what each member has given and taken, and what was carried by whom for whom')
    .addOption(storeOption())
    .addOption(jsonOption())
    .action(async options => (await import('./provider.js')).printAccounts(options, print));

  const session = kith.command('session').description('live sessions, moved from one kith bras to another');
  session
    .command('export')
    .description(
      'take all sessions from a BRAS, which falls silent, as JSON; asked again, it gives the same again',
    )
    .addOption(controlOption())
    .action(async ({ control }) => (await import('./session.js')).exportSessions(control, print));
  session
    .command('import')
    .description(
      'give a BRAS what was exported (standard input), all or nothing; it must have the same MAC, pool, services and rates',
    )
    .addOption(controlOption())
    .action(async ({ control }) =>
      (await import('./session.js')).importSessions(control, process.stdin, print),
    );

  const flash = kith.command('flash').description("build a board's firmware and put it there");
  flash
    .command('espruino')
    .description('Espruino boards (docs/espruino.md); from a checkout of the sources')
    .requiredOption('--port <port>', 'as the espruino command has it: /dev/ttyACM0, tcp://127.0.0.1:2400')
    .option('--board <board>', "the board's name, or its JSON file; left out: the board is asked")
    .addOption(
      new Option('--jobs <jobs>', 'what it shall do; none: only report')
        .choices(['power-proxy', 'kibbutz', 'none'])
        .default('power-proxy'),
    )
    .option(
      '--registration <file>',
      'for --jobs kibbutz: what kith provider register --aead aes-128-ccm printed',
    )
    .option('--provider <host:port>', 'for --jobs kibbutz: the provider as the board reaches it')
    .option('--tail <duration>', "for --jobs kibbutz: how long its uplink's radio stays up after a packet")
    .option(
      '--credit <periods>',
      'for --jobs kibbutz: in how many of its tails each neighbour is carried; left out: 5',
      toInteger(1, 1_000_000),
    )
    .addOption(siteOption())
    .requiredOption('--node <node>', 'its name')
    .requiredOption('--to <url>', 'the broker as the board reaches it: mqtt://[user:password@]host[:port]')
    .option('--ssid <ssid>', 'the Wi-Fi to join; left out: the board has a network already')
    .option('--wifi-password-file <file>', 'the password is its first line; left out: an open Wi-Fi')
    .action(async options => (await import('./flash.js')).runFlashEspruino(options, print));
  flash
    .command('moddable')
    .description('boards with XS, by the Moddable SDK (MODDABLE); from a checkout of the sources')
    .option('--platform <platform>', 'as mcconfig has it: esp32, esp32/m5atom, x-cli-lin', 'esp32')
    .option('--port <port>', "the board's serial port (UPLOAD_PORT); left out: the SDK looks for one")
    .option('--update-key <file>', 'take updates signed with this key (kith firmware key); left out: none')
    .option(
      '--update-sequence <n>',
      'what this build counts as: only a higher one takes its place',
      toInteger(1, Number.MAX_SAFE_INTEGER),
    )
    .option('--build-only', 'build, do not install', false)
    .action(async options => (await import('./flash.js')).flashModdable(options, print));

  const firmware = kith.command('firmware').description('signed updates of nodes over the air');
  firmware
    .command('key')
    .description('make the key that signs, and say what firmware is built with to believe it')
    .requiredOption('--out <file>', 'the private key goes here; left alone if it is there already')
    .action(async ({ out }) => (await import('./firmware.js')).makeKey(out, print));
  firmware
    .command('sign')
    .description('the signed manifest of an image, as one line of hex digits')
    .argument('<image>', 'what mcconfig built: xs_esp32.bin')
    .requiredOption('--key <file>', 'as kith firmware key made it')
    .requiredOption('--platform <platform>', 'what it is for: esp32, or its updatePlatform')
    .requiredOption('--image-version <version>', 'for people; 1 to 32 bytes')
    .requiredOption(
      '--sequence <n>',
      'higher than that of the firmware it takes the place of',
      toInteger(1, Number.MAX_SAFE_INTEGER),
    )
    .requiredOption('--url <url>', 'where nodes get the image: http:// or https://')
    .option('--out <file>', 'the manifest goes here; left out: standard output')
    .action(async (image, options) => (await import('./firmware.js')).printManifest(image, options, print));
  firmware
    .command('update')
    .description('ask a node to update itself, and say what it tells until it runs the image, or does not')
    .argument('<node>', '<node> or <site>/<node>')
    .requiredOption('--manifest <file>', 'as kith firmware sign made it')
    .addOption(
      new Option('--wait <duration>', 'for the outcome').argParser(toDuration).default(1_800_000, '30m'),
    )
    .addOption(siteOption())
    .addOption(brokerOption())
    .action(async (name, { site, broker, manifest, wait }) => {
      const { updateNode } = await import('./firmware.js');
      const { parseNode } = await import('./rule.js');
      if (!(await updateNode(broker, parseNode(name, site), manifest, wait, print)))
        throw new Error(`${name} does not run it`);
    });

  kith
    .command('decode')
    .description('print every frame of a capture (pcap or pcapng; - is standard input)')
    .argument('<file>')
    .addOption(jsonOption())
    .option('-v, --verbose', 'every field')
    .option(
      '--no-checksums',
      'do not verify TCP and UDP checksums (captures taken where the card computes them)',
    )
    .action(async (path, options) =>
      (await import('./decode.js')).decode(path, { json: false, verbose: false, ...options }, print),
    );
  return kith;
}

/** Resolves at the first Ctrl-C or SIGTERM. npm hands Ctrl-C on a second time, which must not end an orderly end. */
export function interrupted(): Promise<void> {
  return new Promise(resolve => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => resolve());
  });
}

/** Waits while the reader of a pipe is slower than we are. */
function print(line: string): Promise<void> | void {
  if (!process.stdout.write(`${harmless(line)}\n`))
    return new Promise(resolve => process.stdout.once('drain', resolve));
}

/** What strangers publish must not steer the terminal: control characters are shown as escapes. */
function harmless(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, character => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

function toLine(value: unknown): string {
  return JSON.stringify(value, (_, inner) =>
    inner instanceof Uint8Array ? Buffer.from(inner).toString('hex') : inner,
  );
}

function toInteger(least: number, most: number): (text: string) => number {
  return text => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most)
      throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}`);
    return value;
  };
}

function toMethods(text: string): string[] {
  const methods = text.split(',');
  const known = ['pap', 'chap-md5', 'ms-chap-v2', 'none'];
  if (!methods.every((method, i) => known.includes(method) && methods.indexOf(method) === i))
    throw new InvalidArgumentError(`expected some of ${known.join(', ')}, separated by commas`);
  return methods;
}

/** Numbers of IANA's AEAD registry. */
function toAeads(text: string): number[] {
  const known = new Map([
    ['aes-128-gcm', 1],
    ['aes-128-ccm', 3],
    ['chacha20-poly1305', 29],
  ]);
  const numbers = text.split(',').map(name => known.get(name));
  if (numbers.includes(undefined) || new Set(numbers).size < numbers.length)
    throw new InvalidArgumentError(`expected some of ${[...known.keys()].join(', ')}, separated by commas`);
  return numbers as number[];
}

function toPort(text: string): number {
  return toInteger(0, 65_535)(text);
}

function toSpeed(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 10_000))
    throw new InvalidArgumentError('expected a number above 0, at most 10000');
  return value;
}

function toDuration(text: string): number {
  const ms = parseDuration(text);
  if (!ms) throw new InvalidArgumentError('expected a whole number and a unit (ms, s, m, h, d) such as 10m');
  return ms;
}

function packageVersion(): string {
  // From the source tree and from dist/ alike the package's root is the nearest folder with its package.json.
  for (const up of ['../../', '../../../']) {
    try {
      const { name, version } = JSON.parse(
        readFileSync(new URL(`${up}package.json`, import.meta.url), 'utf8'),
      );
      if (name === 'kith-agents') return version;
    } catch {
      // not here
    }
  }
  return 'unknown';
}

process.stdout.on('error', error => {
  // The reader of a pipe has seen enough (`kith decode … | head`).
  if ((error as NodeJS.ErrnoException).code === 'EPIPE') process.exit(0);
  console.error(`kith: the output cannot be written: ${error.message}`);
  process.exit(1);
});
program()
  .parseAsync()
  .catch(error => {
    console.error(`kith: ${harmless((error as Error).message)}`);
    process.exitCode = 1;
  });
