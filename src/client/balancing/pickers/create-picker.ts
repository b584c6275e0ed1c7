import { AnyserveError } from '../../../core/errors.js';
import type { Random } from '../../../core/ports.js';
import { quote } from '../../../core/quoting.js';
import type { PickerName } from '../../client-options.js';
import { createAffinityPicker } from './affinity.js';
import { createLeastRequestPicker } from './least-request.js';
import { createP2cPicker } from './p2c.js';
import type { Picker } from './picker.js';
import { createRandomPicker } from './random.js';
import { createRoundRobinPicker } from './round-robin.js';

const CREATE: Readonly<Record<PickerName, (random: Random) => Picker>> = {
  p2c: createP2cPicker,
  random: createRandomPicker,
  'round-robin': createRoundRobinPicker,
  'least-request': createLeastRequestPicker,
  affinity: (random) => createAffinityPicker(createP2cPicker(random)),
};

/** Creates the picker with a name. Throws `usage` for a name that doesn't exist. */
export function createPicker(name: PickerName, random: Random): Picker {
  if (Object.hasOwn(CREATE, name)) return CREATE[name](random);
  throw new AnyserveError('usage', `option pick: ${quote(name)} is not one of ${Object.keys(CREATE).join(', ')}`);
}
