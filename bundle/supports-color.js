/** Replaces chalk's colour detection, because `src/cli/output.ts` always sets chalk's level itself. */
export default { stdout: false, stderr: false };
