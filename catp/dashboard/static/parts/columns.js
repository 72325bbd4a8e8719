// Columns of a Table in one line: columns("name:tool:tool|n:calls:n|price.p50:price p50:$|fail:failed:%").
import {html} from "../vendor/vendor.js";
import {duration, Link, Money, number, percent, usd, When} from "./basics.js";

export const signed = (share, digits = 0) =>
	share === null ? "–" : `${share > 0 ? "+" : share < 0 ? "−" : ""}${percent(Math.abs(share), digits)}`;
/** An amount that may not be there; one that nobody knows is for Money. */
export const maybe = amount => (amount === null ? "–" : usd(amount));
/** A number of dollars, such as a place on an axis. */
export const dollars = value => usd(String(Math.round(value * 1e9) / 1e9));

export const toolLink = (name, query) => html`<${Link} to="tools/${encodeURIComponent(name)}" query=${query}>
	<span class="tool">${name}</span>
<//>`;

// a number, or {p50, p95}
const middle = v => (v?.p50 === undefined ? v : v.p50);
const both = (show, v) => html`
	${show(middle(v))}${v?.p95 != null && html` <small class="muted">p95 ${show(v.p95)}</small>`}
`;

const FIGURES = {
	p$: v => both(usd, v),
	pms: v => both(duration, v),
	n: v => number(v),
	$: v => html`<${Money} amount=${v} />`,
	"$?": maybe,
	ms: v => duration(v),
	"%": v => percent(v),
	"±": v => signed(v)
};
const WORDS = {
	at: at => html`<${When} at=${at} />`,
	text: text => html`<bdi dir="auto" class="said">${text ?? "–"}</bdi>`,
	run: (id, row) => id && html`<${Link} to="runs/${id}" query=${{step: row.step}}>${id.slice(-8)} ${row.step}<//>`
};

/** key:title:kind; fields of fields are written with dots; `more` has cells of its own by key; "-" is not sorted by. */
export const columns = (text, more = {}) =>
	text.split("|").map(one => {
		const [key, title, kind = "text"] = one.split(":");
		const read = row => key.split(".").reduce((found, name) => found?.[name] ?? null, row);
		const show = more[key] ?? FIGURES[kind] ?? WORDS[kind];
		const amount = row => {
			const v = middle(read(row));
			return v === null ? null : Number(v);
		};
		return {
			key,
			title,
			num: kind in FIGURES,
			sort: kind !== "-" && (/^[$p]/.test(kind) ? amount : read),
			cell: row => show(read(row), row)
		};
	});
