/** Maps over data set size N and patch size P, a panel for each noise level: what `cell_maps` draws. */
import { make } from "../try/dom.mjs";
import { format } from "./numbers.mjs";
import { axisX, axisY, cell, legend, plot, pointer, text } from "./plot.mjs";

const INK = "#1a1a1a";
const CHOSEN = "#d55e00";
const CELL_HEIGHT = 26; // pixels

export class Maps {
  constructor({ panels, columns, rows, labels, shade, border, cells }) {
    Object.assign(this, {
      name: "maps",
      hint: "Point at a cell, or move the sliders.",
      panels,
      columns,
      rows,
      labels,
      shade,
      border,
      cells,
    });
    this.choices = [columns, rows];
    this.color = { type: shade.log ? "log" : "linear", scheme: "greys", domain: [shade.low, shade.high], clamp: true };
  }

  /** What the shades mean. */
  key() {
    const ramp = legend({
      color: this.color,
      label: this.labels[0],
      width: 220,
      style: { background: "none", color: INK },
    });
    return make("div", { class: "chart-key", "aria-hidden": "true" }, ramp);
  }

  draw(panel, width) {
    const cells = this.cells.filter((one) => one.panel === panel);
    const place = { x: ({ column }) => this.columns.values[column], y: ({ row }) => this.rows.values[row] };
    const numbers = (bold) => {
      const own = cells.filter(({ values: [value] }) => bold === (this.border !== null && value > this.border));
      return text(own, {
        ...place,
        text: (one) => one.text.replace("-", "−"),
        fill: ({ values: [value] }) => (this.#depth(value) > 0.5 ? "white" : "black"),
        fontWeight: bold ? "bold" : "normal",
        pointerEvents: "none",
      });
    };
    return plot({
      width,
      height: CELL_HEIGHT * this.rows.values.length + 46,
      marginLeft: 48,
      marginTop: 6,
      marginBottom: 40,
      style: { background: "none", color: INK, fontSize: "12px" },
      x: { type: "band", domain: this.columns.values, padding: 0 },
      y: { type: "band", domain: this.rows.values.toReversed(), padding: 0 },
      color: this.color,
      marks: [
        axisX({ label: this.columns.label, labelArrow: "none", tickSize: 3, tickFormat: String }),
        axisY({ label: this.rows.label, labelArrow: "none", tickSize: 3, tickFormat: String }),
        cell(cells, { ...place, fill: ({ values }) => values[0] }),
        numbers(false),
        numbers(true),
        cell(cells, { ...place, className: "chart-frame", fill: "none", stroke: CHOSEN, strokeWidth: 3, inset: 1.5 }),
        cell(cells, pointer({ ...place, fill: "none", stroke: "none", maxRadius: 80 })),
      ],
    });
  }

  /** What the reader points at, as a choice on each axis. */
  place({ column, row }) {
    return [column, row];
  }

  mark(svg, [column, row]) {
    const panel = this.cells[0].panel; // the order of the cells is the same in all panels
    const cells = this.cells.filter((one) => one.panel === panel);
    svg.querySelectorAll(".chart-frame rect").forEach((frame, i) => {
      frame.classList.toggle("chart-chosen", cells[i].column === column && cells[i].row === row);
    });
  }

  read([column, row]) {
    const at = (panel) => this.cells.find((one) => one.panel === panel && one.column === column && one.row === row);
    return {
      heading: `At ${this.columns.name} = ${this.columns.values[column]}, ${this.rows.name} = ${this.rows.values[row]}`,
      head: ["", ...this.labels],
      rows: this.panels.map((name, panel) => ({ name, cells: at(panel)?.values.map((value) => format(value)) ?? [] })),
    };
  }

  /** Where a value lies between the lightest shade, 0, and the darkest, 1. */
  #depth(value) {
    const scale = this.shade.log ? Math.log : Number;
    const [low, high] = [scale(this.shade.low), scale(this.shade.high)];
    return Math.min(1, (scale(value) - low) / (high - low || 1));
  }
}
