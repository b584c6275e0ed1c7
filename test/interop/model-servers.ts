import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Running, startProgram } from '../support/binary.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';
import { getInteropPath, PYTHON } from './python.js';

/** A ready model server of another project. */
export interface ModelServer {
  readonly running: Running;
  /** Its endpoints for gRPC and for HTTP. */
  readonly grpc: string;
  readonly http: string;
}

/** Starts MLServer with the models in `mlserver`. */
export async function startMlserver(): Promise<ModelServer> {
  const [grpcPort, httpPort] = [await findFreePort(), await findFreePort()];
  const env = {
    MLSERVER_GRPC_PORT: String(grpcPort),
    MLSERVER_HTTP_PORT: String(httpPort),
    PYTHONPATH: getInteropPath('mlserver'),
  };
  const command = [join(dirname(PYTHON), 'mlserver'), 'start', getInteropPath('mlserver')];
  return waitUntilReady(startProgram(command, { env, cwd: createFolder() }), grpcPort, httpPort);
}

/**
 * Starts Triton with the models in `triton`. The package nvidia-pytriton contains the server and, for each version of Python,
 * the program that runs the models. That program uses the first `python3` on the PATH.
 */
export async function startTriton(): Promise<ModelServer> {
  const [grpcPort, httpPort] = [await findFreePort(), await findFreePort()];
  const { packages, libraries, version } = findPythonPaths();
  const server = join(packages, 'pytriton/tritonserver');
  const backends = createFolder();
  const stub = join(backends, 'python/triton_python_backend_stub');
  cpSync(join(server, 'backends'), backends, { recursive: true });
  cpSync(join(server, 'python_backend_stubs', version, 'triton_python_backend_stub'), stub);
  chmodSync(stub, 0o755);
  const env = {
    LD_LIBRARY_PATH: [join(packages, 'nvidia_pytriton.libs'), libraries].join(':'),
    PATH: `${dirname(PYTHON)}:${process.env['PATH']}`,
  };
  const command = [
    join(server, 'bin/tritonserver'),
    `--model-repository=${getInteropPath('triton')}`,
    `--backend-directory=${backends}`,
    `--backend-config=python,shm-region-prefix-name=anyserve-${grpcPort}-`,
    '--allow-metrics=false',
    '--grpc-address=127.0.0.1',
    `--grpc-port=${grpcPort}`,
    '--http-address=127.0.0.1',
    `--http-port=${httpPort}`,
  ];
  return waitUntilReady(startProgram(command, { env }), grpcPort, httpPort);
}

function createFolder(): string {
  return mkdtempSync(join(tmpdir(), 'anyserve-models-'));
}

/** Returns the folders of the Python's packages and shared library, and its version, such as `3.11`. */
function findPythonPaths(): { readonly packages: string; readonly libraries: string; readonly version: string } {
  const code =
    'import json, sysconfig as s; print(json.dumps([s.get_path("purelib"), s.get_config_var("LIBDIR"), s.get_python_version()]))';
  const [packages = '', libraries = '', version = ''] = JSON.parse(
    execFileSync(PYTHON, ['-c', code], { encoding: 'utf8' }),
  ) as string[];
  return { packages, libraries, version };
}

/** Waits until a server reports over HTTP that it is ready. */
export async function waitUntilReady(running: Running, grpcPort: number, httpPort: number): Promise<ModelServer> {
  const http = `127.0.0.1:${httpPort}`;
  const isReady = async (): Promise<boolean> =>
    running.child.exitCode !== null ||
    (await fetch(`http://${http}/v2/health/ready`).catch(() => undefined))?.ok === true;
  const readOutput = (): string => `${running.stdout()}${running.stderr()}`.slice(-4000);
  await until(() => `the model server is ready; so far: ${readOutput()}`, isReady, 90_000);
  if (running.child.exitCode !== null) throw new Error(`the model server has ended: ${readOutput()}`);
  return { running, grpc: `127.0.0.1:${grpcPort}`, http };
}
