// Preload with --require. When the process exits, prints to stderr, as JSON, which modules it loaded.
const { Segmenter } = Intl;
let segmenters = 0;
Intl.Segmenter = class extends Segmenter {
  constructor(...args) {
    super(...args);
    segmenters += 1;
  }
};
const before = new Set(process.moduleLoadList);

process.on('exit', () => {
  const compiled = Object.entries(require.cache).find(([path]) => path.endsWith('/bin/compiled.js'))?.[1]?.exports;
  const loaded = {
    segmenters,
    ofNode: process.moduleLoadList.filter((name) => !before.has(name)),
    files: Object.keys(require.cache),
    bundled: [...(compiled?.loaded.keys() ?? [])],
    kept: [...(compiled?.loaded.values() ?? [])].filter(({ script }) => script.cachedDataRejected === false).length,
  };
  process.stderr.write(`\n${JSON.stringify(loaded)}`);
});
