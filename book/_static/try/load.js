// Jupyter Book adds this script to every page: it loads the modules only where a page holds a <lemmse-try>.
(() => {
  const element = new URL("element.mjs", document.currentScript.src);
  document.addEventListener("DOMContentLoaded", () => {
    if (document.querySelector("lemmse-try")) import(element).catch(() => {}); // the still picture stays
  });
})();
