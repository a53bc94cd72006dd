// Jupyter Book adds this script to every page: it loads the modules only where a page holds the data of a chart.
(() => {
  const charts = new URL("chart.mjs", document.currentScript.src);
  document.addEventListener("DOMContentLoaded", () => {
    const data = document.querySelectorAll("script.chart-data");
    if (data.length) import(charts).then(({ showCharts }) => showCharts(data)).catch(() => {}); // the pictures stay
  });
})();
