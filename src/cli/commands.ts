import type { Command } from './command.js';

/** A command as the list of all shows it; the rest is loaded when it is the one that runs. */
export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  load(): Promise<Command>;
}

/** All commands, in the order of the help. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'serve',
    summary: 'run an API server that replicas register with',
    load: async () => (await import('./serve.js')).serve,
  },
  {
    name: 'register',
    summary: 'keep a model server registered',
    load: async () => (await import('./register.js')).register,
  },
  {
    name: 'route',
    summary: 'find one replica by what it can do',
    load: async () => (await import('./route.js')).route,
  },
  {
    name: 'registry',
    summary: 'list the replicas',
    load: async () => (await import('./registry.js')).registry,
  },
  {
    name: 'infer',
    summary: 'call a model at a replica that has it',
    load: async () => (await import('./infer.js')).infer,
  },
  {
    name: 'chat',
    summary: 'talk with a model',
    load: async () => (await import('./chat.js')).chat,
  },
  {
    name: 'worker',
    summary: 'serve the models of an engine or of a module of yours, and keep them registered',
    load: async () => (await import('./worker.js')).worker,
  },
  {
    name: 'completion',
    summary: 'print a script that completes command lines in bash, zsh or fish',
    load: async () => (await import('./completion.js')).completion,
  },
];
