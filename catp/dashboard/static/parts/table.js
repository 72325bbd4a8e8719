// Tables: sortable, with rows that keys can walk (j, k, Enter), and the twin of every chart.
import {html, useRef, useState} from "../vendor/vendor.js";

/**
 * columns: [{key, title, cell(row) -> what is shown, sort(row) -> what it is sorted by, num: true}];
 * rows: objects, with an `id` where they come and go.
 * open(row) makes rows openable by click and Enter; `caption` names the table;
 * `busy`: the rows are of an earlier question, its answer is under way.
 */
export function Table({caption, columns, rows, open, busy = false, sorted = null, tools = null, rowClass = () => ""}) {
	const [order, setOrder] = useState(sorted); // {key, down}
	const body = useRef(null);
	const column = order && columns.find(one => one.key === order.key);
	const value = column && (column.sort ?? (row => row[column.key]));
	const shown = column ? [...rows].sort((a, b) => compare(value(a), value(b)) * (order.down ? -1 : 1)) : rows;
	const sort = key => setOrder(order?.key === key ? {key, down: !order.down} : {key, down: true});
	const keys = event => {
		const step = {j: 1, ArrowDown: 1, k: -1, ArrowUp: -1}[event.key];
		const all = [...body.current.querySelectorAll("tr[tabindex]")];
		const at = all.indexOf(event.target);
		if (step && at >= 0 && all[at + step]) {
			event.preventDefault();
			all[at + step].focus();
		}
		if (event.key === "Enter" && at >= 0) open(shown[at]);
	};
	const click = (event, row) =>
		!event.target.closest("a, button, input, label, select") && !getSelection()?.toString() && open(row);
	return html`<div class="scroll" tabindex="0" role="region" aria-label=${caption} aria-busy=${busy}>
		${tools}
		<table>
			<caption class="sr">${caption}</caption>
			<thead>
				<tr>${columns.map(
					one => html`<th scope="col" class=${one.num ? "num" : ""}
						aria-sort=${order?.key === one.key ? (order.down ? "descending" : "ascending") : undefined}>
						${one.sort === false || typeof one.title !== "string"
							? one.title
							: html`<button class="quiet" onClick=${() => sort(one.key)}>
									${one.title}
									<span aria-hidden="true">${order?.key === one.key ? (order.down ? " ▾" : " ▴") : ""}</span>
								</button>`}
					</th>`
				)}</tr>
			</thead>
			<tbody ref=${body} onKeyDown=${open ? keys : undefined}>${shown.map(
				row => html`<tr key=${row.id} class="${rowClass(row)} ${open ? "open" : ""}" tabindex=${open ? 0 : undefined}
					onClick=${open ? event => click(event, row) : undefined}>
					${columns.map(one => html`<td class=${one.num ? "num" : ""}>${one.cell ? one.cell(row) : row[one.key]}</td>`)}
				</tr>`
			)}</tbody>
		</table>
	</div>`;
}

function compare(a, b) {
	if (a === b) return 0;
	if (a == null) return -1; // unknown sorts as the least
	if (b == null) return 1;
	return typeof a === "string" && typeof b === "string" ? a.localeCompare(b) : Number(a) - Number(b);
}

/** A picture and the table that says the same. columns and rows as for Table; children is the picture. */
export function Twin({title, columns, rows, note, children, tools = null}) {
	const [table, setTable] = useState(false);
	return html`<figure class="twin">
		<figcaption>
			<h3>${title}</h3>
			${tools}
			<button class="quiet" aria-pressed=${table} onClick=${() => setTable(!table)}>${table
				? "Show as picture"
				: "Show as table"}</button>
		</figcaption>
		${table ? html`<${Table} caption=${title} columns=${columns} rows=${rows} />` : children}
		${note && html`<p class="muted">${note}</p>`}
	</figure>`;
}
