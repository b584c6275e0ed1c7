import type { Arguments, CommandOption } from './command.js';

/** One message of a conversation, as a model that chats takes it. */
export interface Message {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** What a model is told before the conversation. */
export const SYSTEM_OPTION: CommandOption = {
  type: 'text',
  value: 'TEXT',
  description: 'what the model is told first, such as how to answer',
};

/** What a conversation begins with: what {@link SYSTEM_OPTION} says, or nothing. */
export function openingMessages(args: Arguments): readonly Message[] {
  const system = args.text('system');
  return system === undefined ? [] : [{ role: 'system', content: system }];
}
