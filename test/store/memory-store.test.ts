import { MemoryStore } from '../../src/store/memory-store.js';
import { registrationStoreContract } from '../contract/registration-store.js';
import { TEST_REGISTRY } from '../support/replicas.js';

registrationStoreContract('the memory store', () => new MemoryStore(TEST_REGISTRY));
