import { computeQuantile } from './figures.js';

/** A line of a drawing. */
export interface Line {
  readonly name: string;
  readonly values: readonly number[];
}

const [WIDTH, HEIGHT] = [640, 300];
const [LEFT, RIGHT, TOP, BOTTOM] = [60, 150, 40, 40];
const COLORS = ['#1a7f37', '#0969da', '#9a6700', '#cf222e'];

/** Quantiles on the horizontal axis: the slower half of the calls. Their distance grows towards the slowest calls, which are what a picker changes. */
const QUANTILES = [0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999];

/** Draws the quantiles of durations in ms as lines, with a logarithmic vertical axis. Returns an SVG. */
export function drawQuantiles(title: string, lines: readonly Line[]): string {
  const curves = lines.map(({ values }) => QUANTILES.map((fraction) => Math.max(1, computeQuantile(values, fraction))));
  const maxMs = Math.max(...curves.flat()) * 1.2;
  const minMs = Math.max(1, Math.min(...curves.flat()) / 1.5);
  const toX = (index: number): number => LEFT + (index / (QUANTILES.length - 1)) * (WIDTH - LEFT - RIGHT);
  const toY = (ms: number): number =>
    HEIGHT - BOTTOM - (Math.log(ms / minMs) / Math.log(maxMs / minMs)) * (HEIGHT - TOP - BOTTOM);
  const ticks = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].filter((ms) => ms >= minMs && ms <= maxMs);
  const grid = ticks.flatMap((ms) => [
    `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${toY(ms).toFixed(1)}" y2="${toY(ms).toFixed(1)}" stroke="#8c959f" stroke-opacity="0.3"/>`,
    formatText(LEFT - 8, toY(ms) + 4, `${ms} ms`, 'end'),
  ]);
  const axis = QUANTILES.map((fraction, index) =>
    formatText(toX(index), HEIGHT - BOTTOM + 18, `${fraction * 100} %`, 'middle'),
  );
  const paths = curves.flatMap((curve, at) => {
    const points = curve.map((ms, index) => `${toX(index).toFixed(1)},${toY(ms).toFixed(1)}`).join(' ');
    const y = TOP + 16 + at * 20;
    return [
      `<polyline points="${points}" fill="none" stroke="${COLORS[at]}" stroke-width="2"/>`,
      `<line x1="${WIDTH - RIGHT + 12}" x2="${WIDTH - RIGHT + 32}" y1="${y - 4}" y2="${y - 4}" stroke="${COLORS[at]}" stroke-width="2"/>`,
      formatText(WIDTH - RIGHT + 38, y, lines[at]?.name ?? '', 'start'),
    ];
  });
  const body = [
    formatText(LEFT, 22, `${title}: part of the calls that were done within this time`, 'start'),
    ...grid,
    ...axis,
    ...paths,
  ];
  const size = `viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size}>\n<title>${title}</title>\n<rect width="100%" height="100%" fill="#fff"/>\n${body.join('\n')}\n</svg>\n`;
}

function formatText(x: number, y: number, text: string, anchor: 'start' | 'middle' | 'end'): string {
  const style = 'font-family="system-ui, sans-serif" font-size="12" fill="#1f2328"';
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" ${style}>${text}</text>`;
}
