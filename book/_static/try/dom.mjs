/** Elements in one call. */

/**
 * @param {string} tag
 * @param {Record<string, unknown>} attributes "text" and "on" (listeners by event) apart, HTML attributes; false and
 *     undefined leave one out
 * @param {...(Node | null)} children
 * @returns {HTMLElement}
 */
export function make(tag, { text, on = {}, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter(Boolean));
  return element;
}
