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
    load: async () => (await import('./serve-command.js')).serveCommand,
  },
  {
    name: 'register',
    summary: 'keep a model server registered',
    load: async () => (await import('./register-command.js')).registerCommand,
  },
  {
    name: 'route',
    summary: 'find one replica by what it can do',
    load: async () => (await import('./route-command.js')).routeCommand,
  },
  {
    name: 'registry',
    summary: 'list the replicas',
    load: async () => (await import('./registry-command.js')).registryCommand,
  },
  {
    name: 'infer',
    summary: 'call a model at a replica that has it',
    load: async () => (await import('./infer-command.js')).inferCommand,
  },
  {
    name: 'chat',
    summary: 'talk with a model',
    load: async () => (await import('./chat-command.js')).chatCommand,
  },
  {
    name: 'worker',
    summary: 'serve the models of an engine or of a module of yours, and keep them registered',
    load: async () => (await import('./worker-command.js')).workerCommand,
  },
  {
    name: 'completion',
    summary: 'print a script that completes command lines in bash, zsh or fish',
    load: async () => (await import('./completion-command.js')).completionCommand,
  },
];
