import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeUtf8 } from '../../agent/core/bytes.js';
import { parseUsers } from '../../host-sim/bras/aaa-file.js';
import { formatIpv4 } from '../../host-sim/bras/address-pool.js';

test('users, quoted words, addresses and options are read; comments and other servers’ lines are not', () => {
  const users = parseUsers(
    [
      '# client  server  secret  address  options',
      'ada * "top \\"secret\\" #1" 10.1.0.9 rate=fast timeout=1h # hers',
      '',
      "bob\tac\ts3cret'é\t*",
      'eve other-ac hidden',
      '"with space" * x',
    ].join('\r\n'),
    'ac',
  );
  assert.equal([...users.keys()], ['ada', 'bob', 'with space']);
  const ada = users.get('ada')!;
  assert.equal(
    [decodeUtf8(ada.secret), formatIpv4(ada.ipv4!), ada.rateClass, ada.sessionTimeoutS],
    ['top "secret" #1', '10.1.0.9', 'fast', 3600],
  );
  assert.is(decodeUtf8(users.get('bob')!.secret), "s3cret'é");
});

test('a fault is told by line and field, and the secret is not', () => {
  const rows: [line: string, message: RegExp][] = [
    ['ada', /^line 2, server: expected/],
    ['ada *', /^line 2, secret: expected/],
    ['ada * ""', /^line 2, secret: expected/],
    ['ada * "hush hush', /^line 2, words: expected a closing quote$/],
    ['ada * hush 10.0.0.300', /^line 2, address: expected an IPv4 address or \*$/],
    ['ada * hush * speed=3', /^line 2, options: expected rate=/],
    ['ada * hush * timeout=1', /^line 2, options: expected/],
    ['zoe * hush', /^line 2, client: expected a name that has not been before/],
  ];
  for (const [line, message] of rows) {
    try {
      parseUsers(`zoe * first\n${line}`, 'ac');
      assert.unreachable(line);
    } catch (error) {
      const text = (error as Error).message;
      assert.match(text, message);
      assert.not.match(text, /hush|first/);
    }
  }
});

test.run();
