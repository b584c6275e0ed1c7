import { expect, it } from 'vitest';
import { LogLines } from '../../src/cli/log-lines.js';
import type { LogDetails } from '../../src/core/ports.js';
import { createRefusalLog, type RefusedRequest } from '../../src/telemetry/refused-request.js';
import { ManualClock } from '../support/manual-clock.js';

const REFUSED: RefusedRequest = {
  method: 'POST',
  path: '/v1/chat/completions',
  status: 401,
  reason: 'this gateway needs a key',
  host: '10.0.0.9',
  caller: undefined,
};

function startLog() {
  const clock = new ManualClock();
  const written: { message: string; details: LogDetails | undefined }[] = [];
  const write = (message: string, details?: LogDetails): void => void written.push({ message, details });
  return { clock, written, record: createRefusalLog({ info: write, warn: write }, clock) };
}

it('a refused request is one line, with its caller', () => {
  const { written, record } = startLog();
  record(REFUSED);
  record({ ...REFUSED, status: 404, reason: 'not forwarded', caller: 'alice' });
  expect(written).toEqual([
    {
      message: 'refused POST /v1/chat/completions from 10.0.0.9: 401, this gateway needs a key',
      details: {
        event: 'request_refused',
        method: 'POST',
        path: '/v1/chat/completions',
        status: 401,
        reason: 'this gateway needs a key',
        host: '10.0.0.9',
        key: undefined,
      },
    },
    {
      message: 'refused POST /v1/chat/completions from 10.0.0.9, key alice: 404, not forwarded',
      details: expect.objectContaining({ status: 404, key: 'alice' }),
    },
  ]);
});

it('10 requests of a status have a line at once, and those of other statuses have theirs', async () => {
  const { clock, written, record } = startLog();
  for (let n = 0; n < 1000; n++) record({ ...REFUSED, status: 404, path: `/${n}` });
  record(REFUSED);
  expect(written.map(({ details }) => details?.['status'])).toEqual([...Array.from({ length: 10 }, () => 404), 401]);
  await clock.advance(1000);
  expect(written.at(-1)?.details).toMatchObject({ path: '/999', omitted: 989 });
});

it.each(['text', 'json'])('control characters of a path are escaped: %s', (format) => {
  const { written, record } = startLog();
  record({ ...REFUSED, path: '/a\n\u001b[31m\u009b' });
  const stderr = { write: () => true } as unknown as NodeJS.WriteStream;
  const lines = new LogLines({ stderr, env: {} }, { getText: (name) => (name === 'log-format' ? format : undefined) });
  const line = lines.format('warn', written[0]?.message ?? '', written[0]?.details);
  expect(line).toMatch(/^[ -~]+\n$/);
});
