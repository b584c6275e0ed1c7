import { escapeControls } from '../core/control-characters.js';
import { AnyserveError } from '../core/errors.js';
import type { ModelMetadata, TensorMetadata } from '../inference/inference-data.js';
import type { Command, CommandIo } from './command.js';
import { MODEL_CLIENT_OPTIONS } from './model-client-options.js';
import { formatTable } from './table.js';

/** `anyserve describe`: shows what a model declares. */
export const describeCommand: Command = {
  name: 'describe',
  usage: 'MODEL',
  summary:
    'Finds a replica that offers type=MODEL, else model=MODEL, and shows the inputs and outputs that the model declares: ' +
    'names, datatypes and shapes. -1 stands for a dimension of any size. The call uses the Open Inference Protocol (gRPC).',
  examples: [
    ['anyserve describe chat', 'show the inputs and outputs of a model'],
    ['anyserve describe resnet50 --endpoint triton:8001', 'ask a replica directly, also one that is not registered'],
    ['anyserve describe chat --json', "print JSON, in the form of the protocol's REST API"],
  ],
  options: MODEL_CLIENT_OPTIONS,
  maxWords: 1,
  words: [{ suggests: 'models' }],
  async run(args, io) {
    const [model] = args.words;
    if (!model) throw new AnyserveError('usage', 'missing MODEL: give the name of a model, such as chat');
    // Loaded on demand, because help and completion don't need it.
    const { ModelClient } = await import('./model-client.js');
    const client = new ModelClient(model, args, io, { discoveryKind: 'route' });
    try {
      const version = args.getText('model-version');
      await client.call(async (inferenceClient, stopSpinner) => {
        const metadata = await inferenceClient.modelMetadata(model, { version, signal: io.interrupted });
        stopSpinner();
        const { endpoint = '', replicaId } = inferenceClient;
        const description = { metadata, endpoint, replicaId };
        io.stdout.write(args.hasFlag('json') ? formatDescriptionJson(description) : formatDescription(description, io));
      });
      return 0;
    } finally {
      await client.close();
    }
  },
};

/** The declaration of a model by one replica. */
interface ModelDescription {
  readonly metadata: ModelMetadata;
  readonly endpoint: string;
  /** Undefined for a replica that was called directly. */
  readonly replicaId: string | undefined;
}

function formatDescription({ metadata, endpoint, replicaId }: ModelDescription, io: CommandIo): string {
  const { name, versions, platform, inputs, outputs, properties } = metadata;
  const facts: readonly (readonly [name: string, value: string])[] = [
    ['model', name],
    ['versions', versions.join(', ')],
    ['platform', platform],
    ['replica', [replicaId ?? '', endpoint].filter(Boolean).join(' at ')],
    ...properties,
  ];
  const known = facts.filter(([, value]) => value !== '');
  const width = Math.max(...known.map(([title]) => title.length));
  const lines = known.map(([title, value]) => `${escapeControls(`${title.padEnd(width)}   ${value}`)}\n`);
  if (inputs.length + outputs.length === 0) return `${lines.join('')}\nthe model declares no inputs or outputs\n`;
  const rows = [
    ...inputs.map((tensor) => ['input', ...listCells(tensor)]),
    ...outputs.map((tensor) => ['output', ...listCells(tensor)]),
  ];
  return `${lines.join('')}\n${formatTable(['TENSOR', 'NAME', 'DATATYPE', 'SHAPE'], rows, io)}`;
}

function listCells({ name, datatype, shape }: TensorMetadata): string[] {
  return [name, datatype, `[${shape.join(',')}]`];
}

/** Formats the metadata as the REST API of the Open Inference Protocol does, with the replica that declares it. */
function formatDescriptionJson({ metadata, endpoint, replicaId }: ModelDescription): string {
  const toJson = ({ name, datatype, shape }: TensorMetadata) => ({ name, datatype, shape: shape.map(Number) });
  const { name, versions, platform, inputs, outputs, properties } = metadata;
  const object = {
    name,
    versions,
    platform,
    inputs: inputs.map(toJson),
    outputs: outputs.map(toJson),
    properties: Object.fromEntries(properties),
    replica_id: replicaId,
    endpoint,
  };
  return `${escapeControls(JSON.stringify(object))}\n`;
}
