/** Whether a terminal has colours: `src/cli/output.ts` says so to chalk each time, and nobody else asks. */
export default { stdout: false, stderr: false };
