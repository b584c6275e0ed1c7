import type { Clock } from '../core/ports.js';

/** How often it is looked whether a value has become another. */
const LOOK_EVERY_MS = 1000;

/** Hands each new value on to those who are not asked at every use of it. The returned function ends that. */
export function pollChanges<T>(present: () => T, clock: Clock, take: (value: T) => void): () => void {
  let taken = present();
  let cancel = clock.schedule(LOOK_EVERY_MS, look);
  function look(): void {
    cancel = clock.schedule(LOOK_EVERY_MS, look);
    const value = present();
    if (value === taken) return;
    taken = value;
    take(value);
  }
  return () => cancel();
}
