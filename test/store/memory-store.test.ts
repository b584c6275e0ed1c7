import { MemoryStore } from '../../src/store/memory-store.js';
import { registrationStoreContract } from '../contract/registration-store.js';

registrationStoreContract('the memory store', () => new MemoryStore());
