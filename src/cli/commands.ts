import type { Command } from './command.js';

/** Entry in the list of commands. The command itself is loaded on demand. */
export interface CommandEntry {
  readonly name: string;
  readonly listSummary: string;
  load(): Promise<Command>;
}

/** All commands, in the order that the help lists them. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'serve',
    listSummary: 'run an API server that replicas register with',
    load: async () => (await import('./serve-command.js')).serveCommand,
  },
  {
    name: 'register',
    listSummary: 'keep a model server registered',
    load: async () => (await import('./register-command.js')).registerCommand,
  },
  {
    name: 'route',
    listSummary: 'find a replica by capability',
    load: async () => (await import('./route-command.js')).routeCommand,
  },
  {
    name: 'registry',
    listSummary: 'list replicas',
    load: async () => (await import('./registry-command.js')).registryCommand,
  },
  {
    name: 'models',
    listSummary: 'list the models that replicas offer',
    load: async () => (await import('./models-command.js')).modelsCommand,
  },
  {
    name: 'events',
    listSummary: 'list or follow what happens to replicas',
    load: async () => (await import('./events-command.js')).eventsCommand,
  },
  {
    name: 'cordon',
    listSummary: 'stop routing calls to a replica',
    load: async () => (await import('./cordon-command.js')).cordonCommand,
  },
  {
    name: 'uncordon',
    listSummary: 'route calls to a cordoned replica again',
    load: async () => (await import('./cordon-command.js')).uncordonCommand,
  },
  {
    name: 'describe',
    listSummary: 'show the inputs and outputs of a model',
    load: async () => (await import('./describe-command.js')).describeCommand,
  },
  {
    name: 'infer',
    listSummary: 'call a model',
    load: async () => (await import('./infer-command.js')).inferCommand,
  },
  {
    name: 'chat',
    listSummary: 'chat with a model',
    load: async () => (await import('./chat-command.js')).chatCommand,
  },
  {
    name: 'worker',
    listSummary: 'serve models of an engine or your own module, and keep them registered',
    load: async () => (await import('./worker-command.js')).workerCommand,
  },
  {
    name: 'gateway',
    listSummary: "serve OpenAI's API with the replicas of a fleet",
    load: async () => (await import('./gateway-command.js')).gatewayCommand,
  },
  {
    name: 'doctor',
    listSummary: 'check this machine, the API servers and the replicas',
    load: async () => (await import('./doctor-command.js')).doctorCommand,
  },
  {
    name: 'completion',
    listSummary: 'print a completion script for bash, zsh or fish',
    load: async () => (await import('./completion-command.js')).completionCommand,
  },
];
