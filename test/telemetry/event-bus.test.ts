import { expect, it } from 'vitest';
import { asReplicaId } from '../../src/core/ids.js';
import type { RegistryEvent } from '../../src/core/ports.js';
import { EventBus } from '../../src/telemetry/event-bus.js';

it('delivers each event to every subscriber before emit returns, and nothing to one that unsubscribed', () => {
  const bus = new EventBus<RegistryEvent>();
  const received: string[] = [];
  const unsubscribe = bus.subscribe(({ kind }) => received.push(`first ${kind}`));
  bus.subscribe(({ kind }) => received.push(`second ${kind}`));
  bus.emit({ kind: 'self_preservation_entered' });
  unsubscribe();
  bus.emit({ kind: 'id_conflict', replicaId: asReplicaId('r1') });
  expect(received).toEqual([
    'first self_preservation_entered',
    'second self_preservation_entered',
    'second id_conflict',
  ]);
});
