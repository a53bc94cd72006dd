/** Lines against sigma, a panel for each set of images: what `control_lines` and `margin_lines` draw. */
import { format } from "./numbers.mjs";
import { axisX, axisY, dot, line, plot, pointerX, ruleX, ruleY } from "./plot.mjs";

const DASHES = { "-": "", "--": "6 3", "-.": "7 3 2 3", ":": "2 3" };
const SYMBOLS = {
  o: "circle",
  s: "square",
  D: "diamond",
  P: "cross",
  X: "times",
  x: "times",
  "*": "star",
  h: "hexagon",
};
const TURNS = { "^": 0, ">": 90, v: 180, "<": 270 }; // degrees, of triangles
const INK = "#1a1a1a";
const ASIDE = 4; // pixels between error bars at one noise level

export class Lines {
  constructor({ panels, x, y, lines, points }) {
    Object.assign(this, {
      name: "lines",
      hint: "Point at a noise level, or move the slider.",
      panels,
      x,
      y,
      lines,
      points,
    });
    this.choices = [x];
    const ends = points.flatMap(({ value, error }) => [value - error, value + error]); // null counts as 0
    if (y.level !== null) ends.push(y.level);
    this.range = [Math.min(...ends), Math.max(...ends)];
    this.order = lines.map((_, i) => i).sort((a, b) => lines[b].width - lines[a].width); // the thick line first
  }

  /** Nothing: the first column of the table is the key to the lines. */
  key() {
    return null;
  }

  draw(panel, width) {
    const places = this.x.values.map(Math.log);
    const margin = 0.04 * (places.at(-1) - places[0]) || 1;
    return plot({
      width,
      height: Math.round(Math.min(300, Math.max(210, 0.85 * width))),
      marginLeft: 44,
      marginBottom: 42,
      style: { background: "none", color: INK, fontSize: "12px" },
      x: { domain: [places[0] - margin, places.at(-1) + margin] },
      y: { domain: this.range, nice: true, grid: true },
      marks: [
        axisX(places, {
          tickFormat: (_, i) => String(this.x.values[i]),
          label: this.x.label,
          labelAnchor: "center",
          labelArrow: "none",
          tickSize: 4,
        }),
        axisY({ label: this.y.label, labelArrow: "none", ticks: 6, tickSize: 0 }),
        this.y.level === null ? null : ruleY([this.y.level], { stroke: INK }),
        ruleX(places, { className: "chart-rule", stroke: INK, strokeWidth: 1.5 }),
        ...this.lines.flatMap((_, i) => this.#marks(i, panel)),
        ruleX(places, pointerX({ x: (place) => place, maxRadius: 400, stroke: "none" })),
      ],
    });
  }

  /** What the reader points at, as a choice on each axis. */
  place(value) {
    return [this.x.values.map(Math.log).indexOf(value)];
  }

  mark(svg, [x]) {
    svg.querySelectorAll(".chart-rule line").forEach((rule, i) => {
      rule.classList.toggle("chart-chosen", i === x);
    });
  }

  read([x]) {
    const cell = (panel, i) => {
      const found = this.points.find((point) => point.panel === panel && point.line === i && point.x === x);
      if (!found) return "–";
      return found.error === null
        ? format(found.value)
        : `${format(found.value)} ± ${format(found.error, found.value)}`;
    };
    return {
      heading: `At ${this.x.name} = ${this.x.values[x]}: ${this.y.label}`,
      head: ["", ...this.panels],
      rows: this.order.map((i) => ({
        name: this.lines[i].name,
        sample: this.#sample(i),
        cells: this.panels.map((_, panel) => cell(panel, i)),
      })),
    };
  }

  #marks(i, panel) {
    const { color, dash, marker, hollow, width } = this.lines[i];
    const points = this.points.filter((point) => point.panel === panel && point.line === i);
    const place = { x: ({ x }) => Math.log(this.x.values[x]), y: "value" };
    if (points.some(({ error }) => error !== null)) place.dx = ASIDE * (i - (this.lines.length - 1) / 2);
    const bars = {
      x: place.x,
      dx: place.dx,
      y1: ({ value, error }) => value - error,
      y2: ({ value, error }) => value + error,
    };
    return [
      line(points, { ...place, stroke: color, strokeWidth: width, strokeDasharray: DASHES[dash] }),
      ruleX(points, { ...bars, stroke: color, strokeWidth: 1.2 }),
      dot(points, {
        ...place,
        symbol: SYMBOLS[marker] ?? triangle(TURNS[marker]),
        fill: hollow ? "#fff" : color,
        stroke: color,
        r: 4,
      }),
    ];
  }

  /** A short piece of a line, for the key. */
  #sample(i) {
    const { color, dash, marker, hollow, width } = this.lines[i];
    const look = { stroke: color, strokeWidth: width, strokeDasharray: DASHES[dash] };
    const symbol = SYMBOLS[marker] ?? triangle(TURNS[marker]);
    const options = { width: 36, height: 14, margin: 0, axis: null, x: { domain: [0, 2] }, y: { domain: [0, 2] } };
    const ends = [
      { x: 0, y: 1 },
      { x: 2, y: 1 },
    ];
    const point = dot([{ x: 1, y: 1 }], { x: "x", y: "y", symbol, fill: hollow ? "#fff" : color, stroke: color, r: 4 });
    const svg = plot({
      ...options,
      style: { background: "none" },
      marks: [line(ends, { x: "x", y: "y", ...look }), point],
    });
    svg.setAttribute("aria-hidden", "true");
    return svg;
  }
}

/** A triangle that points up, turned clockwise by some degrees. */
function triangle(degrees) {
  return {
    draw(context, size) {
      const radius = Math.sqrt((4 * size) / (3 * Math.sqrt(3))); // of the circle around it
      for (const corner of [0, 120, 240]) {
        const angle = ((degrees + corner - 90) * Math.PI) / 180;
        const [x, y] = [radius * Math.cos(angle), radius * Math.sin(angle)];
        if (corner) context.lineTo(x, y);
        else context.moveTo(x, y);
      }
      context.closePath();
    },
  };
}
