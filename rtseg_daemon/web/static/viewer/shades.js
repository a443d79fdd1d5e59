// From numbers to colours: HU through a window to grey, entropy to a colour that lets the CT shine through.

export const PRESETS = {
  "soft tissue": { level: 40, width: 400 },
  bone: { level: 400, width: 1800 },
  lung: { level: -600, width: 1500 },
  brain: { level: 40, width: 80 },
};

/** Entropy (nats) at which the heat map has its brightest colour: three members' votes evenly split. */
export const HOTTEST = 1.1;
const FAINTEST = 0.05;
const STOPS = [
  [0.0, 30, 12, 68],
  [0.25, 120, 28, 109],
  [0.5, 203, 65, 73],
  [0.75, 248, 142, 31],
  [1.0, 252, 250, 160],
];

/** Grey of every HU from -32768 on, as little endian RGBA. Kept until the window changes. */
export class Window {
  constructor() {
    this.table = new Uint32Array(65536);
    this.set(PRESETS["soft tissue"]);
  }

  set({ level, width }) {
    this.level = Math.round(Math.min(Math.max(level, -2000), 4000));
    this.width = Math.round(Math.min(Math.max(width, 1), 8000));
    const low = this.level - this.width / 2;
    for (let hu = -32768; hu <= 32767; hu += 1) {
      const shade = Math.round(Math.min(Math.max((hu - low) / this.width, 0), 1) * 255);
      this.table[hu + 32768] = 0xff000000 | (shade << 16) | (shade << 8) | shade;
    }
  }

  paint(values, pixels) {
    const table = this.table;
    for (let at = 0; at < values.length; at += 1) pixels[at] = table[values[at] + 32768];
  }
}

/** Colour at a share of HOTTEST: [red, green, blue]. */
export function heatColour(share) {
  const at = Math.min(Math.max(share, 0), 1);
  const above = Math.max(STOPS.findIndex((stop) => stop[0] >= at), 1);
  const [from, to] = [STOPS[above - 1], STOPS[above]];
  const part = (at - from[0]) / (to[0] - from[0]);
  return [1, 2, 3].map((n) => Math.round(from[n] + part * (to[n] - from[n])));
}

/** Colour of every stored step of an entropy map, as little endian RGBA. What is nearly certain is clear. */
export function heatTable(stepNats) {
  const table = new Uint32Array(256);
  for (let step = 0; step < 256; step += 1) {
    const nats = step * stepNats;
    const [red, green, blue] = heatColour(nats / HOTTEST);
    const opacity = Math.round(255 * Math.min(Math.max((nats - FAINTEST) / 0.2, 0), 1));
    table[step] = ((opacity << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  }
  return table;
}
