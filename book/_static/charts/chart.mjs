/**
 * The interactive forms of the book's figures, from data that the chapters export (`lemmse.figures.charts`).
 *
 * A chart takes the place of the picture on the screen; the picture stays in the page for paper. The reader chooses a
 * noise level, or a cell of a map, by pointing, touching or with a slider, and reads the numbers there in a table.
 */
import { make } from "../try/dom.mjs";
import { Lines } from "./lines.mjs";
import { Maps } from "./maps.mjs";

const KINDS = { lines: Lines, maps: Maps };

/**
 * Draw the chart of each element that holds data; a figure whose chart fails keeps its picture.
 * @param {Iterable<HTMLElement>} elements whose text is JSON and whose data-figure names the figure
 */
export function showCharts(elements) {
  for (const element of elements) {
    const figure = document.getElementById(element.dataset.figure);
    const data = JSON.parse(element.textContent);
    const chart = new Chart(new KINDS[data.kind](data), figure.querySelector("img").alt);
    figure.insertBefore(chart.element, figure.querySelector("figcaption"));
    figure.classList.add("has-chart");
    chart.fit();
  }
}

class Chart {
  /**
   * @param {Lines | Maps} kind what is drawn in each panel and what the table says
   * @param {string} alt what the figure shows
   */
  constructor(kind, alt) {
    this.kind = kind;
    this.chosen = kind.choices.map(({ values }) => values.length >> 1);
    this.sliders = kind.choices.map(({ name, values }, axis) => slider(name, values, (i) => this.#choose(axis, i)));
    this.slots = kind.panels.map((title) => {
      return make("div", { class: "chart-panel" }, make("b", { text: title }), make("div"));
    });
    this.table = make("table");
    const values = make(
      "div",
      { class: "chart-values", tabindex: "0", role: "region", "aria-label": "Values" },
      this.table,
    );
    this.heading = make("p", { class: "chart-heading", role: "status" });
    this.element = make(
      "div",
      { class: `chart chart-${kind.name}`, role: "group", "aria-label": alt },
      make("div", { class: "chart-panels" }, ...this.slots),
      kind.key(),
      make("p", { class: "chart-hint", text: kind.hint }),
      make("div", { class: "chart-sliders" }, ...this.sliders.map(({ element }) => element)),
      this.heading,
      values,
    );
    new ResizeObserver(() => this.fit()).observe(this.element);
  }

  /** Draw all panels at the width that they have. */
  fit() {
    const width = Math.floor(this.slots[0].clientWidth);
    if (width === this.width || width < 100) return;
    this.width = width;
    this.drawn = this.slots.map((slot, panel) => {
      const svg = this.kind.draw(panel, width);
      svg.setAttribute("aria-hidden", "true"); // the table says it
      svg.addEventListener("input", () => {
        const place = svg.value && this.kind.place(svg.value);
        place?.forEach((i, axis) => {
          this.#choose(axis, i);
        });
      });
      slot.lastElementChild.replaceChildren(svg);
      return svg;
    });
    this.#show();
  }

  #choose(axis, i) {
    if (this.chosen[axis] === i) return;
    this.chosen[axis] = i;
    this.#show();
  }

  #show() {
    this.sliders.forEach(({ show }, axis) => {
      show(this.chosen[axis]);
    });
    for (const svg of this.drawn) this.kind.mark(svg, this.chosen);
    const { heading, head, rows } = this.kind.read(this.chosen);
    this.heading.textContent = heading;
    this.table.replaceChildren(
      make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col", text })))),
      make(
        "tbody",
        {},
        ...rows.map(({ name, sample, cells }) => {
          const first = make("span", { class: "chart-name" }, sample ?? null, make("span", { text: name }));
          return make("tr", {}, make("th", { scope: "row" }, first), ...cells.map((text) => make("td", { text })));
        }),
      ),
    );
  }
}

/** A slider over the values of a list, named as in the figure. */
function slider(name, values, chosen) {
  const output = make("output", { "aria-hidden": "true" }); // the slider says it
  const input = make("input", { type: "range", min: 0, max: values.length - 1, step: 1, "aria-label": name });
  input.addEventListener("input", () => chosen(input.valueAsNumber));
  return {
    element: make("label", {}, make("span", { text: name }), input, output),
    show(i) {
      input.value = String(i);
      input.setAttribute("aria-valuetext", String(values[i]));
      output.textContent = String(values[i]);
    },
  };
}
