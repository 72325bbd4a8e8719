// Columns of a Table in one line: columns("name:tool:tool|n:calls:n|price.p50:price p50:$|fail:failed:%").
import { html } from "../vendor/vendor.js";
import { duration, Link, Money, number, percent, usd, When } from "./basics.js";

export const signed = (share, digits = 0) =>
  share === null ? "–" : `${share > 0 ? "+" : share < 0 ? "−" : ""}${percent(Math.abs(share), digits)}`;
/** An amount that may not be there; one that nobody knows is for Money. */
export const maybe = (amount) => (amount === null ? "–" : usd(amount));
/** A number of dollars, such as a place on an axis. */
export const dollars = (value) => usd(String(Math.round(value * 1e9) / 1e9));

export const toolLink = (name, query) => html`<${Link} to="tools/${encodeURIComponent(name)}" query=${query}><span class="tool">${name}</span><//>`;

const FIGURES = { n: (v) => number(v), $: (v) => html`<${Money} amount=${v} />`, "$?": maybe, ms: (v) => duration(v), "%": (v) => percent(v), "±": (v) => signed(v) };
const WORDS = {
  at: (at) => html`<${When} at=${at} />`, text: (text) => html`<bdi dir="auto" class="said">${text ?? "–"}</bdi>`,
  run: (id, row) => id && html`<${Link} to="runs/${id}" query=${{ step: row.step }}>${id.slice(-8)} ${row.step}<//>`,
};

/** key:title:kind; fields of fields are written with dots; `more` has cells of its own by key. */
export const columns = (text, more = {}) => text.split("|").map((one) => {
  const [key, title, kind = "text"] = one.split(":");
  const read = (row) => key.split(".").reduce((found, name) => found?.[name] ?? null, row);
  const show = more[key] ?? FIGURES[kind] ?? WORDS[kind];
  const sort = kind[0] === "$" ? (row) => (read(row) === null ? null : Number(read(row))) : read;
  return { key, title, num: kind in FIGURES, sort, cell: (row) => show(read(row), row) };
});
